"""`validate`: arguments by their annotations on the way in, the answer by the return annotation on the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from guardrail.call import Call
from guardrail.decision import Prediction
from guardrail.errors import InvalidInput, InvalidOutput
from guardrail.policies.annotations import Check, explain
from guardrail.shape import Misshapen, Shape

_PLAIN: Final = frozenset({int, float, str, bytes})


class Binding:
    """Puts every argument in its place, so that a keyword call, a positional call and a default are one and the same."""

    def __init__(self, shape: Shape, refuse: Callable[..., Any]) -> None:
        self.shape = shape
        self.whole = shape.whole
        self.refuse = refuse

    def enter(self, call: Call) -> None:
        """Bind, or let Python itself say what is wrong with the shape of the call."""
        if call.kwargs or len(call.args) != self.whole:
            try:
                call.args, call.kwargs = self.shape.bind(call.args, call.kwargs)
            except Misshapen:
                call.misshapen = True
                self.refuse(*call.args, **call.kwargs)
                raise TypeError("the arguments do not fit the parameters") from None


class Validation(Binding):
    """Checks and converts the bound arguments. Never retried, never counted by the breaker.

    Args:
        shape: The function's parameters.
        checks: The check of each annotated parameter, by name.
        refuse: Called with the arguments of a misshapen call; raises Python's TypeError.
        prepare: Tries annotations again that could not be resolved at decoration; called until it returns None.
    """

    def __init__(self, shape: Shape, checks: dict[str, Check], refuse: Callable[..., Any]) -> None:
        super().__init__(shape, refuse)
        self.placed = tuple(
            (at, checks[name].exact, checks[name].validate, name) for at, name in enumerate(shape.positional) if name in checks
        )
        self.by_keyword = tuple((name, checks[name].validate) for name in shape.by_keyword_only if name in checks)
        self.rest = checks.get(shape.rest) if shape.rest is not None else None
        self.extras = checks.get(shape.extras) if shape.extras is not None else None
        self.checks = checks
        self.open = bool(self.by_keyword or self.rest or self.extras)

    def enter(self, call: Call) -> None:
        """Bind, then check each value; a value that is the parameter's own default passes.

        Raises:
            InvalidInput: With the parameter and the rule, not the value.
        """
        if call.kwargs or len(call.args) != self.whole:
            super().enter(call)
        args = call.args
        defaults = self.shape.defaults
        changed = None
        name = ""
        problem = None
        try:
            for at, exact, validate, name in self.placed:  # noqa: B007 - named in the error below
                value = args[at]
                if value.__class__ is exact and (exact is not float or value - value == 0.0):
                    continue
                default = defaults[at]
                if value is default or (value.__class__ is default.__class__ and _is_default(value, default)):
                    continue
                valid = validate(value)
                if valid is not value:
                    if changed is None:
                        changed = list(args[: len(self.shape.positional)])
                    changed[at] = valid
            if self.open:
                name = self._check_open(call, args)
        except ValueError as error:
            problem = error
        if problem is not None:
            self._refuse(problem, getattr(problem, "guardrail_parameter", name))
        if changed is not None:
            call.args = (*changed, *call.args[len(changed) :])

    def _check_open(self, call: Call, args: tuple[Any, ...]) -> str:
        """Check keyword-only parameters, `*args` and `**kwargs`."""
        shape = self.shape
        name = ""
        try:
            kwargs = call.kwargs
            for name, validate in self.by_keyword:
                if not _is_default(kwargs[name], shape.keyword_defaults[name]):
                    kwargs[name] = validate(kwargs[name])
            if self.rest is not None and len(args) > len(shape.positional):
                name = shape.rest or ""
                count = len(shape.positional)
                call.args = (*args[:count], *map(self.rest.validate, args[count:]))
            if self.extras is not None:
                name = shape.extras or ""
                for extra in kwargs.keys() - set(shape.by_keyword_only):
                    kwargs[extra] = self.extras.validate(kwargs[extra])
        except ValueError as error:
            error.guardrail_parameter = name  # type: ignore[attr-defined]
            raise
        return name

    def _refuse(self, problem: ValueError, name: str) -> None:
        from pydantic import ValidationError  # noqa: PLC0415 - imported long since, by whoever made the check

        if not isinstance(problem, ValidationError):
            raise problem  # from the user's own validator, as it is
        text, hint = explain(problem, self.checks[name], name)
        raise InvalidInput(text, policy="validate", hint=hint)


def _is_default(value: Any, default: Any) -> bool:
    """Say whether a value is the parameter's default, given or left out; two equal texts or numbers need not be one object."""
    kind = value.__class__
    return value is default or (kind is default.__class__ and kind in _PLAIN and value == default)


class Output:
    """Checks the function's answer. The object itself goes on, cached or not; it is never replaced."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.exact = check.exact
        self.fits = check.fits

    def leave(self, call: Call) -> None:
        """Check the answer of an attempt that did not fail.

        Raises:
            InvalidOutput: With the rule, not the value.
        """
        if call.error is None:
            self.judge(call.result)

    def judge(self, value: Any) -> None:
        """Check one value."""
        if value.__class__ is self.exact and (self.exact is not float or value - value == 0.0):
            return
        problem = None
        try:
            self.fits(value)
        except ValueError as error:
            problem = error
        if problem is not None:
            from pydantic import ValidationError  # noqa: PLC0415 - imported long since, by whoever made the check

            if not isinstance(problem, ValidationError):
                raise problem
            text, hint = explain(problem, self.check, "the answer")
            raise InvalidOutput(text, policy="validate", hint=hint)


class PredictionOutput(Output):
    """Checks a `Prediction[T]`: the annotation's T is what must stand in it."""

    def leave(self, call: Call) -> None:
        """Check the answer of an attempt that did not fail.

        Raises:
            InvalidOutput: It is no Prediction, or its value does not fit.
        """
        if call.error is None:
            answer = call.result
            if answer.__class__ is not Prediction:
                raise InvalidOutput(
                    "the answer: should be a Prediction",
                    policy="validate",
                    hint="return Prediction(value, confidence), or annotate what the function returns",
                )
            if answer.value.__class__ is not self.exact or self.exact is float:
                self.judge(answer.value)
            # Kept with the decision also where no threshold asks for it.
            if answer.confidence.__class__ is float:
                call.confidence = answer.confidence
            if answer.reasons:
                call.reasons = tuple(map(str, answer.reasons))
