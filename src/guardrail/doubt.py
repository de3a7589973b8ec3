"""Whether the signature of a function that stands below another decorator is true: its first call tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardrail.guard_upkeep import reconfigure
from guardrail.shape import Misshapen, Shape
from guardrail.spec import get

if TYPE_CHECKING:
    from guardrail.guard import Guard


def settling(guard: Guard, run: Any) -> Any:
    """Return the same function, whose first call finds out whether the signature of a decorated function can be believed."""
    if guard.kind == "sync":

        def plain(*args: Any, **kwargs: Any) -> Any:
            if guard.own is None:  # settled
                return run(*args, **kwargs)
            with _Doubt(guard, args, kwargs):
                return run(*args, **kwargs)

        return plain
    if guard.kind == "async":

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            if guard.own is None:  # settled
                return await run(*args, **kwargs)
            with _Doubt(guard, args, kwargs):
                return await run(*args, **kwargs)

        return coroutine
    if guard.kind == "stream":

        def stream(*args: Any, **kwargs: Any) -> Any:
            with _Doubt(guard, args, kwargs):
                return (yield from run(*args, **kwargs))

        return stream
    return run


class _Doubt:
    """One call; the first one tells whether the signature is true."""

    __slots__ = ("guard", "shape")

    def __init__(self, guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.guard = guard
        self.shape = _settle(guard, args, kwargs)

    def __enter__(self) -> None:
        """Begin the call."""

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        """Judge, where there is a doubt."""
        if self.shape is not None:
            _believe(self.guard, self.shape, problem)


def _settle(guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Shape | None:
    """Find out by the first call whether the signature of a decorated function is true; it counts for all that follow.

    A call that fits it shows that it is. One that only the decorator below can take shows that it may not be, and its arguments
    are passed on unchecked: whoever calls then sees whether the function took them (`_believe`). Nobody turns checks
    off by a later call. A signature that marks parameters as secret, personal or as a business id is always kept: what
    stands where could not be told any more; and so is that of a guard which hides the function's own TypeError.

    Returns:
        The signature that is in doubt, None where it is believed.
    """
    own, shape = guard.own, guard.shape
    if own is None or shape is None:
        return None
    try:
        shape.bind(args, kwargs)
    except Misshapen:
        try:
            own.bind(args, kwargs)
        except Misshapen:
            return None
        _ = guard.plan  # which resolves the annotations and merges the options
        from guardrail import markers  # noqa: PLC0415 - only such guards need them

        marks = (markers.Secret, markers.PII, markers.Subject, markers.BusinessId)
        marked = any(markers.holds(kind, *marks) for kind in guard.parts.get("annotations", {}).values())
        if marked or any(get(guard.in_force or {}, name) is not None for name in ("fallback", "review")):
            return None
        with guard.lock:
            if guard.own is None:
                return None
            _trust(guard, own)
        return shape
    guard.own = None
    return None


def _believe(guard: Guard, shape: Shape, problem: BaseException | None) -> None:
    """Judge a signature that was in doubt by how the call ended.

    An answer shows that it is untrue, a TypeError that it is true after all; a refusal or any other error shows nothing.
    """
    if problem is not None:
        with guard.lock:
            own = guard.shape
            _trust(guard, shape)
            if not isinstance(problem, TypeError):
                guard.own = own
        return
    from guardrail import notices  # noqa: PLC0415 - only such guards need them

    notices.say(
        "unchecked", "arguments are not checked: a decorator below takes others than its signature says", guard=guard.name
    )


def _trust(guard: Guard, shape: Shape) -> None:
    guard.shape, guard.own = shape, None
    guard.parts.pop("checks", None)
    reconfigure(guard)
