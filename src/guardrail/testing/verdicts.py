"""What a check of the self-test says, and how comparisons of many calls become one verdict."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from guardrail.testing.subject import Ran, same


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        check: Its name.
        ok: Whether it is as it should be; None where it was skipped.
        text: What was looked at or, where it was skipped, why.
    """

    check: str
    ok: bool | None
    text: str


Verdict = tuple[bool | None, str]


def calls(count: int) -> str:
    """Return a number of calls in words."""
    return f"{count} call{'' if count == 1 else 's'}"


def skipped(why: str) -> Verdict:
    """Return the verdict of a check that says nothing."""
    return None, why


class Tally:
    """Counts comparisons of what a guarded call came to with what it should have come to."""

    def __init__(self) -> None:
        self.alike = 0
        self.by_type = 0
        self.unlike: list[str] = []
        self.aside: Counter[str] = Counter()

    def compare(self, ran: Ran, wanted: Ran, *, steady: bool | None, what: str = "") -> None:
        """Take one comparison.

        Args:
            ran: What the guarded call came to.
            wanted: What it should have come to.
            steady: Whether the function itself makes the same of the same question.
            what: What is special about this call.
        """
        if not ran.own:
            self.aside[ran.outcome or ""] += 1
        elif steady:
            if same(ran, wanted) is False:
                self.unlike.append(f"{what}{_shown(ran)} instead of {_shown(wanted)}")
            else:
                self.alike += 1
        elif _kind(ran) == _kind(wanted):
            self.by_type += 1
        else:
            self.unlike.append(f"{what}{_shown(ran)} instead of {_shown(wanted)}")

    def verdict(self, what: str) -> Verdict:
        """Return the verdict over all of them.

        Args:
            what: What is the same where all is well: "the same answers".
        """
        notes = [f"{count} {outcome} by its policies" for outcome, count in self.aside.items()]
        if self.by_type:
            notes.append(f"{self.by_type} compared by type only, since the function itself varies or cannot be compared")
        more = f" ({', '.join(notes)})" if notes else ""
        if self.unlike:
            return False, f"{len(self.unlike)} of {calls(self.count)} differ: {self.unlike[0]}{more}"
        if not self.alike and not self.by_type:
            return skipped(f"its policies answered in place of the function{more}" if notes else "no sample reaches the function")
        return True, f"{what} in {calls(self.alike + self.by_type)}{more}"

    @property
    def count(self) -> int:
        """How many comparisons there were."""
        return self.alike + self.by_type + len(self.unlike) + sum(self.aside.values())


def _kind(ran: Ran) -> type[object]:
    return type(ran.value if ran.error is None else ran.error)


def _shown(ran: Ran) -> str:
    """Return in words what came of a call, without any value."""
    if ran.error is not None:
        return f"{type(ran.error).__name__} was raised"
    return f"an answer of type {type(ran.value).__name__} came"
