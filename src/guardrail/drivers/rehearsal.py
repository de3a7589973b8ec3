"""Runs a guarded function on a sample before traffic: validated, but unrecorded, unbounded and by nobody counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guardrail import clock
from guardrail.call import Call
from guardrail.policies.table import Tabular
from guardrail.policies.validation import Binding

if TYPE_CHECKING:
    from guardrail.guard import Guard


def run(fn: Callable[..., Any], guard: Guard, sample: tuple[Any, ...]) -> None:
    """Run the user's function once on the sample; a generator up to its first item.

    Raises:
        Exception: Whatever the validation or the function raises.
    """
    call = validated(fn, guard, sample, {})
    answer = guard.fn(*call.args, **call.kwargs)
    if guard.kind == "async":
        _in_its_own_loop(answer)
    elif guard.kind == "stream":
        next(answer, None)
        answer.close()
    elif guard.kind == "astream":
        _in_its_own_loop(_first(answer))


def validated(fn: Callable[..., Any], guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Return a call whose arguments are those that the function would receive; nothing is run.

    Raises:
        InvalidInput: They are not what the annotations say.
        TypeError: They do not fit the parameters.
    """
    owner = getattr(fn, "__self__", None)
    call = Call(guard.plan, args if owner is None else (owner, *args), kwargs, None, clock.now())
    for policy in guard.plan.policies:
        if isinstance(policy, Binding):
            policy.enter(call)
        elif isinstance(policy, Tabular):
            policy.convert(call)
    return call


async def _first(items: Any) -> None:
    await anext(items, None)
    await items.aclose()


def _in_its_own_loop(coroutine: Any) -> None:
    """Run a coroutine to its end, also where a loop is running in this thread (a notebook)."""
    problem: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            problem.append(error)

    thread = threading.Thread(target=work, name="guardrail-warm", daemon=True)
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
