"""What the ledger's thread does when nobody waits for it: checkpoints, beats, lanes that their process left open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from guardrail import call as calls
from guardrail import clock, notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger import recovery
from guardrail.ledger.beats import Beats
from guardrail.ledger.lane import Lane
from guardrail.ledger.queued import Event

LOOK_SECONDS: Final = 3_600.0  # between two looks for lanes whose process is gone


class Chores:
    """The chores of one lane. Nothing in here raises.

    Args:
        beats: Of the lane before, whose sums go on.

    Attributes:
        beats: The `beat` events of this process.
    """

    def __init__(self, beats: Beats | None = None) -> None:
        self.beats = beats or Beats()
        self._left: Iterator[recovery.Recovered | None] | None = None
        self._looked_at = float("-inf")
        self._watched: str | None = None

    def do(self, lane: Lane, now: float) -> list[Event]:
        """Do what is due at a moment (monotonic seconds), not for long; return the events that it makes."""
        if not lane.begun or lane.lost:
            return []
        found = list(self.beats.take(now)) if self.beats.due(now) else []
        if self._watched != lane.name:
            self._watched = lane.name
            _watch(lane)
        self.sign(lane, now)
        if self._left is not None or now - self._looked_at >= LOOK_SECONDS:
            self._look_after_others(lane, now, found)
        return found

    @staticmethod
    def sign(lane: Lane, now: float) -> None:
        """Have a checkpoint made where one is due; also between two writes of a backlog, which none may be missing behind."""
        try:
            lane.upkeep(now)
        except OSError as problem:
            notices.say("ledger-checkpoint", f"a checkpoint could not be made ({_reason(problem)}); it is tried again")

    def _look_after_others(self, lane: Lane, now: float, found: list[Event]) -> None:
        """Close one lane that was left open."""
        if self._left is None:
            self._left, self._looked_at = lane.recover(), now
        try:
            done = next(self._left)
        except StopIteration:
            self._left = None
        except OSError as problem:
            self._left = None
            notices.say("ledger-recovery", f"the lanes of ended processes could not be closed ({_reason(problem)})")
        else:
            if done is None:
                return
            if done.problem is not None:
                notices.say("ledger-lane", f"lane {done.lane} was left open and is not closed: {done.problem}")
                return
            wall = clock.wall()
            fields = {"what": "recovered", "lane": done.lane, "records": done.size, "cut_bytes": done.cut_bytes}
            found.append(
                Event(calls.decision_id(wall, calls.next_seq()), wall, "incident", guard=None, fields=fields, future=None)
            )


def _watch(lane: Lane) -> None:
    """Begin what goes on beside the ledger, on threads of its own: the self-check, the upkeep of old records, and copies of
    checkpoints to anchors.
    """  # noqa: D205 - one sentence
    from guardrail.ledger import selfcheck, upkeep  # noqa: PLC0415 - not before there is anything to look at

    selfcheck.begin(lane.home)
    upkeep.begin(lane.home)
    try:
        anchors = settings.current().anchors
    except ConfigError:  # it is told where the settings are used
        return
    if anchors:
        from guardrail.ledger.anchors import pushing  # noqa: PLC0415 - only who has anchors pays for it

        pushing.begin(lane.home, lane.name)


def close(lane: Lane) -> None:
    """Close a lane; where that fails, the next process does it."""
    try:
        lane.close()
    except OSError as problem:
        notices.say(
            "ledger-close", f"the lane could not be closed in the manifest ({_reason(problem)}); the next process does it"
        )


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)
