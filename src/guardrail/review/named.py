"""One queue by name, for a notebook or a script: `guardrail.review.queue("loans")`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail import clock
from guardrail.call import MISSING
from guardrail.review import deciding, desk, figures, handing_out, outliers, planting, slices, upkeep
from guardrail.review.case import Actor, Verdict
from guardrail.review.deciding import Claim
from guardrail.review.desk import Wanted
from guardrail.review.dossier import Details
from guardrail.review.handing_out import HandedOut, Tool
from guardrail.review.planting import Planted
from guardrail.review.ticket import Ticket

if TYPE_CHECKING:
    from guardrail.review.panel import Panel


class Queue:
    """One queue; its verbs are those of `guardrail.review`, and take the beginning or the end of an id for the whole.

    Args:
        name: The queue's name, as in `Review(queue=...)`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def list(self, state: Wanted = "open", limit: int | None = 100) -> Sequence[Details]:
        """Return the cases of this queue, the most urgent first."""
        return desk.listing(self.name, state=state, limit=limit)

    def show(self, part: str) -> Details:
        """Return a case by its id."""
        return desk.details(desk.resolve(part))

    def claim(
        self,
        part: str | None = None,
        *,
        actor: Actor | str | None = None,
        lease: clock.Duration = deciding.LEASE,
        blind: bool = False,
        take_over: bool = False,
    ) -> Claim | None:
        """Take the next case of this queue, or one by its id; None where there is none for this person."""
        ticket_id = None if part is None else desk.resolve(part)
        return deciding.claim(self.name, ticket_id=ticket_id, actor=actor, lease=lease, blind=blind, take_over=take_over)

    def decide(
        self,
        part: str,
        value: Any = MISSING,
        *,
        verdict: Verdict | None = None,
        reason: str | None = None,
        note: str | None = None,
        actor: Actor | str | None = None,
        token: str | None = None,
        blind: bool = False,
    ) -> Ticket:
        """Answer a case by its id; see `guardrail.review.decide`."""
        ticket_id = desk.resolve(part)
        return deciding.decide(ticket_id, value, verdict=verdict, reason=reason, note=note, actor=actor, token=token, blind=blind)

    def reassign(self, part: str, *, to: str | None = None, reason: str, actor: Actor | str | None = None) -> Claim | None:
        """Take a case from whoever is at work on it; see `guardrail.review.reassign`."""
        return deciding.reassign(desk.resolve(part), to=to, reason=reason, actor=actor)

    def cancel(self, part: str, reason: str, actor: Actor | str | None = None) -> Ticket:
        """Take a case out of the queue; see `guardrail.review.cancel`."""
        return deciding.cancel(desk.resolve(part), reason, actor)

    def hand_out(
        self,
        path: Path | str,
        to: Tool = "label-studio",
        *,
        guard: str | None = None,
        actor: Actor | str | None = None,
        lease: clock.Duration = "1d",
        blind: bool = False,
        limit: int | None = None,
    ) -> HandedOut:
        """Write the cases that wait into files for another tool; see `guardrail.review.hand_out`."""
        return handing_out.hand_out(path, self.name, to, guard=guard, actor=actor, lease=lease, blind=blind, limit=limit)

    def plant(self, given: Sequence[Mapping[str, Any]] | None = None, **options: Any) -> Planted:
        """Plant gold cases among those that wait; arguments as for `guardrail.review.plant`."""
        return planting.plant(self.name, given, **options)

    def stats(self) -> Mapping[str, Any]:
        """Return how this queue stands; see `guardrail.review.stats`."""
        return figures.stats(self.name)

    def tick(self) -> upkeep.Ticked:
        """Do what time has left to do, for this queue and all others; see `guardrail.review.tick`."""
        return upkeep.tick()

    def overridden(self, *, by: str | None = None, since: clock.Duration = "30d") -> slices.Overridden:
        """Return why people decided otherwise, by slices of a field; see `guardrail.review.overridden`."""
        return slices.overridden(self.name, by=by, since=since)

    def pace(self) -> outliers.Paces:
        """Return which decisions took far less or far more time than others; see `guardrail.review.pace`."""
        return outliers.pace(self.name)

    def work(self, *, actor: Actor | str | None = None, blind: bool = False) -> Panel:
        """Work on the cases of this queue in a notebook: one after the other, by buttons.

        Args:
            actor: Who works: a name (recorded as asserted), an `Actor`, or None for the user of the operating system.
            blind: Whether the model's answer is hidden.

        Raises:
            ConfigError: ipywidgets, the extra `notebook`, is not installed.
        """
        from guardrail.review.panel import Panel  # noqa: PLC0415 - an extra

        made = Panel.of_queue(self.name, actor=actor, blind=blind)
        made.begin()
        return made

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from guardrail.review.case_card import bundle  # noqa: PLC0415 - only a notebook shows it

        return bundle(self)

    def __len__(self) -> int:
        return desk.open_count(self.name)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"


def queue(name: str) -> Queue:
    """Return a queue by name: `queue("loans").list()`."""
    return Queue(name)
