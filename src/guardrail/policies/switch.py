"""The kill switch: a guard that is killed does not run its function; fallback and review may still answer."""

from __future__ import annotations

from guardrail.call import Call
from guardrail.errors import InvalidInput, Stopped
from guardrail.policies.validation import Binding


class Stop:
    """Stands where the function would be reached.

    Args:
        guard: The guard's name.
        reason: Who stopped it and why, as given to the switch.
        hint: What lets it run again.
    """

    def __init__(self, guard: str, reason: str | None, hint: str) -> None:
        self.guard = guard
        self.reason = reason
        self.hint = hint

    def enter(self, call: Call) -> None:  # noqa: ARG002 - every hook gets the call
        """Refuse.

        Raises:
            Stopped: Always.
        """
        raise Stopped(
            f"{self.guard} is stopped{f': {self.reason}' if self.reason else ''}",
            guard=self.guard,
            policy="mode",
            hint=self.hint,
        )


class Leniently:
    """Validation in front of a stopped guard.

    A fallback gets the validated arguments, but the answer to a wrong one is still that the guard is stopped.

    Args:
        validation: The guard's own.
    """

    def __init__(self, validation: Binding) -> None:
        self.validation = validation

    def enter(self, call: Call) -> None:
        """Validate; what does not fit stays as it is."""
        try:
            self.validation.enter(call)
        except InvalidInput:
            return
