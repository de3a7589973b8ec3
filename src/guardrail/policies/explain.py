"""`explain`: the user's own reasons for an answer, kept with the decision."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from guardrail import notices
from guardrail.call import Call


class Explaining:
    """Asks the user's function why.

    Args:
        explain: Called as `explain(answer, *arguments)`, or `explain(answer)` if it takes one argument only; returns a text,
            texts, or names with their weights.
        guard: The guard's name, for what must be said.
    """

    def __init__(self, explain: Callable[..., Any], guard: str) -> None:
        self.explain = explain
        self.guard = guard
        self.alone = _takes_one(explain)

    def leave(self, call: Call) -> None:
        """Note the reasons. An explanation is a convenience: an error in it never costs the answer."""
        if call.error is not None:
            return
        try:
            why = self.explain(call.result) if self.alone else self.explain(call.result, *call.args, **call.kwargs)
            call.reasons = (*call.reasons, *_texts(why))
        except Exception as problem:  # noqa: BLE001 - counted and said once
            notices.say("explain", f"the explanation failed with {type(problem).__name__}", guard=self.guard)


def _takes_one(fn: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return True
    return len(parameters) == 1 and next(iter(parameters)).kind is not inspect.Parameter.VAR_POSITIONAL


def _texts(why: Any) -> tuple[str, ...]:
    if why is None:
        return ()
    if isinstance(why, str):
        return (why,)
    if isinstance(why, Mapping):
        return tuple(
            f"{name}: {weight:.3g}" if isinstance(weight, float) else f"{name}: {weight}" for name, weight in why.items()
        )
    return tuple(str(reason) for reason in why)
