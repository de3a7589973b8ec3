"""A threshold with a guarantee, as `calibrate` finds it, and what stands in its place where there are too few labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.interval import UNBOUND


class Point(NamedTuple):
    """One point of the risk-coverage curve.

    Attributes:
        at_least: The threshold.
        coverage: The share of calibration cases that reach it.
        accepted: How many those are.
        errors: How many of them were wrong.
        certified: Whether the guarantee holds at this threshold.
    """

    at_least: float
    coverage: float
    accepted: int
    errors: int
    certified: bool

    @property
    def risk(self) -> float:
        """The share of errors among the cases that reach it."""
        return self.errors / self.accepted

    @property
    def risk_interval(self) -> tuple[float, float]:
        """The exact 95 % interval of that (Clopper and Pearson 1934)."""
        from guardrail.review.calibrate import interval  # noqa: PLC0415 - it makes points, and so imports this

        return interval(self.errors, self.accepted)


@dataclass(frozen=True, repr=False)
class Threshold:
    """A confidence from which on answers are wrong at most so often, with a stated certainty. Made by `calibrate`.

    The guarantee: with probability 1 - delta over the draw of the calibration data, at most a share `max_error` of the answers
    that reach the threshold are wrong, for cases drawn like the calibration's. It is about all of them together, not about every
    kind of case (`groups` are for that), and ends where the model or its cases change: so a threshold is bound to a version and
    an expiry, and is refused, or defers everything, when it is stale.

    Attributes:
        at_least: The confidence that an answer must reach, in [0, 1].
        max_error: The share of errors among answers that reach it, at most.
        delta: The probability that this does not hold.
        coverage: The share of calibration cases that reach it.
        coverage_interval: The exact 95 % interval of that.
        labels: How many labelled cases there were.
        version: The model's version that it holds for; "0" where none was named.
        expires: When it ends, in UTC; None for never.
        data: Digest of the calibration data (SHA-256).
        groups: Thresholds of single groups, by name, all of which hold at once.
        points: The risk-coverage curve.
    """

    at_least: float
    max_error: float = field(kw_only=True)
    delta: float = field(kw_only=True)
    coverage: float = field(kw_only=True)
    coverage_interval: tuple[float, float] = field(kw_only=True)
    labels: int = field(kw_only=True)
    version: str = field(default=UNBOUND, kw_only=True)
    expires: datetime | None = field(default=None, kw_only=True)
    data: str = field(default="", kw_only=True)
    groups: Mapping[str, Threshold | NoThreshold] = field(default_factory=dict, kw_only=True, hash=False)
    points: tuple[Point, ...] = field(default=(), kw_only=True, hash=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.at_least <= 1.0:
            raise ConfigError("the threshold lies outside [0, 1]", hint="make it by calibrate(confidence, correct)")

    def __repr__(self) -> str:
        until = "" if self.expires is None else f", until {self.expires:%Y-%m-%d}"
        return (
            f"<Threshold {self.at_least:.4g}: at most {self.max_error:.3g} wrong with probability {1 - self.delta:.3g};"
            f" answers {self.coverage:.1%} of {self.labels:,} labelled cases{until}>"
        )

    @property
    def stale(self) -> bool:
        """Whether it has expired."""
        return self.expires is not None and clock.wall() >= self.expires.timestamp()

    def curve(self) -> Any:
        """Return the risk-coverage curve: a pandas DataFrame where pandas is installed, else a list of dictionaries.

        Each row has `at_least`, `coverage`, `accepted`, `errors`, `risk`, the exact 95 % interval of the risk as `risk_low` and
        `risk_high`, and `certified`.
        """
        rows = []
        for point in self.points:
            low, high = point.risk_interval
            rows.append({**point._asdict(), "risk": point.risk, "risk_low": low, "risk_high": high})
        try:
            import pandas as pd  # noqa: PLC0415 - whoever works in a notebook has it
        except ImportError:
            return rows
        return pd.DataFrame(rows)

    def reviews_a_day(self, calls_a_day: float) -> tuple[float, float, float]:
        """Return how many cases a day go to people: expected, and its 95 % interval.

        Args:
            calls_a_day: How many calls are made a day.
        """
        low, high = self.coverage_interval
        return calls_a_day * (1 - self.coverage), calls_a_day * (1 - high), calls_a_day * (1 - low)

    def reviewers_needed(self, calls_a_day: float, cases_a_day: float) -> float:
        """Return how many reviewers the expected cases occupy, each of whom decides so many cases a day."""
        if not cases_a_day > 0:
            raise ConfigError("a reviewer decides more than no case a day", hint="write a number such as 80")
        return self.reviews_a_day(calls_a_day)[0] / cases_a_day

    def to_json(self) -> str:
        """Return it as JSON, to be deployed beside the model; `Threshold.from_json` reads it."""
        return json.dumps(self._plain(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the threshold that `to_json` wrote.

        Raises:
            ConfigError: It is none.
        """
        try:
            return cls._of(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigError("this is no threshold", hint="write what Threshold.to_json() returned") from None

    def _plain(self) -> dict[str, Any]:
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["expires"] = None if self.expires is None else self.expires.isoformat()
        found["groups"] = {name: each._plain() for name, each in self.groups.items()}  # noqa: SLF001 - its own kind
        return found

    @classmethod
    def _of(cls, found: Mapping[str, Any]) -> Self:
        given = dict(found)
        given["expires"] = None if given["expires"] is None else datetime.fromisoformat(given["expires"]).astimezone(UTC)
        given["groups"] = {
            name: NoThreshold(**each) if "reason" in each else cls._of(each) for name, each in given["groups"].items()
        }
        given["coverage_interval"] = tuple(given["coverage_interval"])
        given["points"] = tuple(Point(*each) for each in given["points"])
        return cls(**given)


@dataclass(frozen=True, repr=False)
class NoThreshold:
    """There is no threshold that the labels certify. As `confidence=` it defers everything.

    Attributes:
        labels: How many labelled cases there were.
        labels_needed: How many of the same kind would probably certify one; 0 where more of the same would not.
        reason: Why there is none.
    """

    labels: int
    labels_needed: int
    reason: str

    def __repr__(self) -> str:
        more = f"; about {self.labels_needed:,} labels are needed" if self.labels_needed else ""
        return f"<NoThreshold: {self.reason} ({self.labels:,} labels{more})>"

    def _plain(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}
