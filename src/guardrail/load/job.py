"""A load from beginning to end: its steps, its target, its rows, and everything that came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from guardrail.load import findings
from guardrail.load.findings import Condition, Curve
from guardrail.load.runner import Runner
from guardrail.load.schedule import Step, by_chance, even
from guardrail.load.tally import Tally
from guardrail.load.targets import Target

ALLOWED: Final = 0
BROKEN: Final = 1
INTERRUPTED: Final = 130  # what a shell says of a process that Ctrl-C ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a load.

    Attributes:
        name: Of the target.
        version: Of the model.
        budget: Seconds that a call may take, None where nobody says.
        tallies: Of each step.
        conditions: Each that was asked for, with the step that exceeds it.
        settings: What else was said: seed, data, bounds.
        facts: Of the machine.
        notes: What a reader has to know.
    """

    name: str
    version: str
    budget: float | None
    tallies: Sequence[Tally]
    conditions: Sequence[tuple[Condition, Tally | None]]
    settings: Mapping[str, str]
    facts: Mapping[str, str]
    notes: Sequence[str]
    curves: Sequence[Curve] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "curves", findings.curves(self.tallies))

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return any(tally.interrupted for tally in self.tallies)

    @property
    def broken(self) -> bool:
        """Whether it exceeds what was asked for: the conditions, or without any, the budget."""
        if self.conditions:
            return any(step is not None for _, step in self.conditions)
        return any(curve.broken is not None for curve in self.curves)

    @property
    def exit_code(self) -> int:
        """How the command ends."""
        return INTERRUPTED if self.interrupted else BROKEN if self.broken else ALLOWED

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.interrupted:
            return "stopped early"
        if self.conditions:
            return "conditions exceeded" if self.broken else "conditions kept"
        if self.budget is None:
            return "no budget"
        return "budget broken" if self.broken else "within budget"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON; times in seconds."""
        return {
            "target": self.name, "version": self.version, "verdict": self.verdict, "ok": not self.broken,
            "interrupted": self.interrupted, "budget": self.budget, "steps": [tally.to_dict() for tally in self.tallies],
            "curves": [findings.to_dict(curve) for curve in self.curves],
            "conditions": [
                {"condition": condition.text, "exceeded_at": None if step is None else step.step.rate}
                for condition, step in self.conditions
            ],
            "settings": dict(self.settings), "facts": dict(self.facts), "notes": list(self.notes),
        }  # fmt: skip


def run(
    target: Target, steps: list[Step], item: Callable[[Step], Any], *, poisson: bool, seed: int, in_flight: int, drain: float,
    budget: float | None, warm_up: int, watch: Callable[[Tally], None],
) -> list[Tally]:  # fmt: skip
    """Put the load on the target and return the figures of the steps; see `Runner`."""
    runner = Runner(
        target, item, gaps=(lambda: by_chance(seed)) if poisson else even, in_flight=in_flight, drain=drain, budget=budget
    )
    return runner.run(steps, watch, warm_up=warm_up)
