"""What a function's own text says of its arguments and its answer, made into checks: resolved once, tried again where that failed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from guardrail import markers, notices
from guardrail.decision import Prediction
from guardrail.functions import inner
from guardrail.guard_upkeep import spec_of
from guardrail.policies.annotations import ANY, Check, check_for, resolve
from guardrail.policies.validation import Binding, Validation
from guardrail.spec import get

if TYPE_CHECKING:
    from guardrail.guard import Guard

STREAMS: Final = ("stream", "astream")  # kinds of function that give items, not one answer


def returns_of(guard: Guard) -> Any:
    """Return the type of a function's answer, found once; ANY where nothing says it, or what does cannot be resolved."""
    known = guard.parts.get("returns")
    if known is None:
        known = guard.parts["returns"] = _returns(guard)
    return known


def _returns(guard: Guard) -> Any:
    annotation = ANY if guard.shape is None else inspect.signature(guard.fn).return_annotation
    try:
        return resolve(_plain(guard.fn), "return", annotation, guard.local)
    except Exception:  # noqa: BLE001 - an annotation is the user's text: whatever it raises, it cannot be checked
        return ANY


def checks_of(guard: Guard) -> dict[str, Check]:
    """Return the check of each annotated parameter (and "return"); what cannot be resolved yet is tried at each compile."""
    known: dict[str, Check | None] = guard.parts.setdefault("checks", {})
    if guard.shape is None:
        return {}
    wanted = {name: parameter.annotation for name, parameter in guard.shape.parameters.items()}
    first = next(iter(wanted), None)
    if first in ("self", "cls") and wanted[first] is ANY:
        del wanted[first]
    if guard.kind not in STREAMS:
        wanted["return"] = guard.parts["returns"]
    fn = _plain(guard.fn)
    for name, annotation in wanted.items():
        if name not in known:
            known[name] = _check(guard, fn, name, annotation)
    if not get(spec_of(guard), "validate"):
        return {}  # the annotations were resolved all the same: they carry the marks of what is secret
    return {name: check for name, check in known.items() if check is not None}


def _check(guard: Guard, fn: Any, name: str, annotation: Any) -> Check | None:
    try:
        kind = resolve(fn, name, annotation, guard.local)
        guard.parts.setdefault("annotations", {})[name] = kind
        if not get(spec_of(guard), "validate"):
            return None
        if name == "return" and (get_origin(kind) or kind) is Prediction:
            of = get_args(kind)
            return check_for(of[0] if of else Any, "the answer", guard.name) or ANYTHING
        if name == "return" and kind is None:
            return check_for(type(None), "the answer", guard.name)
        return check_for(kind, name, guard.name)
    except Exception as problem:  # noqa: BLE001 - an annotation is the user's text: whatever it raises, it cannot be checked
        if isinstance(annotation, str):  # what it marks must not get out for that
            guard.parts.setdefault("annotations", {}).setdefault(name, markers.guessed(annotation))
        notices.say(
            "unresolved",
            f"{name} is not checked: its annotation cannot be resolved ({type(problem).__name__}: {problem})",
            guard=guard.name,
        )
        return None


def binding_of(guard: Guard, checks: Mapping[str, Check]) -> list[Any]:
    """Return the policy that binds the arguments, and checks them where there is anything to check."""
    if guard.shape is None:
        return []
    refuse = _refusal(guard)
    judged = {name: check for name, check in checks.items() if name != "return"}
    return [Validation(guard.shape, judged, refuse) if judged else Binding(guard.shape, refuse)]


def _refusal(guard: Guard) -> Callable[..., Any]:
    """Return what raises Python's own TypeError for a call of the wrong shape."""
    fn = guard.fn
    if inspect.isfunction(fn) and not hasattr(fn, "__wrapped__") and not hasattr(fn, "__signature__"):
        return fn  # its arguments do not fit, so calling it raises before anything runs
    return inspect.signature(fn).bind


def bound_of(fn: Any) -> tuple[Any, ...] | None:
    """Return the bound object and a partial's arguments: they are part of the question."""
    parts: list[Any] = []
    while isinstance(fn, functools.partial):
        parts += [fn.args, dict(fn.keywords)]
        fn = fn.func
    if inspect.ismethod(fn):
        parts.append(fn.__self__)
    elif not inspect.isroutine(fn):
        parts.append(fn)
    elif inspect.isbuiltin(fn) and not inspect.ismodule(getattr(fn, "__self__", None)):
        parts.append(fn.__self__)
    return tuple(parts) or None


def _plain(fn: Any) -> Any:
    """Return the function whose module an annotation's names stand in."""
    fn = inspect.unwrap(inner(fn))
    return getattr(fn, "__func__", fn) if inspect.isroutine(fn) else type(fn).__call__


def _same(value: Any) -> Any:
    return value


ANYTHING: Final = Check(None, _same, _same, frozenset())
