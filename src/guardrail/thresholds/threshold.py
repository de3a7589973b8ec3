"""A threshold with a guarantee, as `calibrate` finds it, and what stands in its place where there are too few labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.thresholds.curve import Calibrated, Point, Scores
from guardrail.thresholds.interval import UNBOUND

__all__ = ["NoThreshold", "Point", "Scores", "Threshold"]


@dataclass(frozen=True, repr=False)
class Threshold(Calibrated):
    """A confidence from which on answers are wrong at most so often, with a stated certainty. Made by `calibrate`.

    The guarantee: with probability 1 - delta over the draw of the calibration data, at most a share `max_error` of the answers
    that reach the threshold are wrong, for cases drawn like the calibration's. It is about all of them together, not about every
    kind of case (`groups` are for that), and ends where the model or its cases change: so a threshold is bound to a version and
    an expiry, and is refused, or defers everything, when it is stale.

    Attributes:
        at_least: The confidence that an answer must reach, in [0, 1].
        max_error: The share of errors among answers that reach it, at most.
        delta: The probability that this does not hold.
        coverage: The share of cases that reach it: of the labelled ones, or of all answers where these are known.
        coverage_interval: The exact 95 % interval of that.
        labels: How many labelled cases there were.
        version: The model's version that it holds for; "0" where none was named.
        expires: When it ends, in UTC; None for never.
        data: Digest of the labels that it was made from (SHA-256), by which `guardrail.review.recheck` knows them again. No guard asks
            for it: that labels have come since makes no threshold wrong.
        groups: Thresholds of single groups, by name, all of which hold at once.
        points: The risk-coverage curve.
        scores: How much the confidence is worth.
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
    scores: Scores | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not 0.0 <= self.at_least <= 1.0:
            raise ConfigError("the threshold lies outside [0, 1]", hint="make it by calibrate(confidence, correct)")

    def __repr__(self) -> str:
        until = "" if self.expires is None else f", until {self.expires:%Y-%m-%d}"
        return (
            f"<Threshold {self.at_least:.4g}: at most {self.max_error:.3g} wrong with probability {1 - self.delta:.3g};"
            f" answers {self.coverage:.1%}; {self.labels:,} labels{until}>"
        )

    @property
    def stale(self) -> bool:
        """Whether it has expired."""
        return self.expires is not None and clock.wall() >= self.expires.timestamp()

    def _reach(self) -> tuple[float, float, float]:
        return self.coverage, *self.coverage_interval

    def to_json(self) -> str:
        """Return it as JSON, to be deployed beside the model; `Threshold.from_json` reads it."""
        return json.dumps(self.to_dict(), indent=1)

    @staticmethod
    def from_json(text: str) -> Threshold | NoThreshold:
        """Return what `to_json` wrote: a threshold, or a `NoThreshold` of whose groups some have one.

        Raises:
            ConfigError: It is neither.
        """
        try:
            return _usable(json.loads(text))
        except _NO_THRESHOLD:
            raise ConfigError("this is no threshold", hint="write what Threshold.to_json() returned") from None

    def save(self, path: str | Path) -> str:
        """Write it to a file, signed with the key that signs this user's ledgers; return the public key, base64.

        Raises:
            OSError: It cannot be written, or the key must not be used.
        """
        return _save(self, path)

    @staticmethod
    def load(path: str | Path, *, signed_by: str | None = None) -> Threshold | NoThreshold:
        """Return what `save` wrote to a file: a threshold, or a `NoThreshold` of whose groups some have one.

        Args:
            path: The file.
            signed_by: The public key that must have signed it, as `save` returned it; None for any.

        Raises:
            ConfigError: There is neither, it was changed after it was signed, or that key did not sign it.
        """
        from guardrail.thresholds import file as threshold_file  # noqa: PLC0415 - for those who deploy one

        found = threshold_file.load(Path(path), signed_by)
        try:
            return _usable(found)
        except _NO_THRESHOLD:
            raise ConfigError(f"there is no threshold in {path}", hint="write what Threshold.save() wrote") from None

    def to_dict(self) -> dict[str, Any]:
        """Return it as what can be JSON."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["scores"] = None if self.scores is None else self.scores._asdict()
        found["expires"] = None if self.expires is None else self.expires.isoformat()
        found["groups"] = {name: each.to_dict() for name, each in self.groups.items()}
        return found

    @classmethod
    def _of(cls, found: Mapping[str, Any]) -> Self:
        given = dict(found)
        given["expires"] = None if given["expires"] is None else datetime.fromisoformat(given["expires"]).astimezone(UTC)
        given["coverage_interval"] = tuple(given["coverage_interval"])
        return cls(**_drawn(given))


@dataclass(frozen=True, repr=False)
class NoThreshold(Calibrated):
    """There is no threshold that the labels certify. As `confidence=` it defers everything.

    Attributes:
        labels: How many labelled cases there were.
        labels_needed: How many of the same kind would probably certify one; 0 where more of the same would not.
        reason: Why there is none.
        groups: What there is of single groups, by name: some may have a threshold where all together have none.
        points: The risk-coverage curve.
        scores: How much the confidence is worth.
    """

    labels: int
    labels_needed: int
    reason: str
    groups: Mapping[str, Threshold | NoThreshold] = field(default_factory=dict, kw_only=True, hash=False)
    points: tuple[Point, ...] = field(default=(), kw_only=True, hash=False)
    scores: Scores | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        more = f"; about {self.labels_needed:,} labels are needed" if self.labels_needed else ""
        return f"<NoThreshold: {self.reason} ({self.labels:,} labels{more})>"

    @property
    def labels_missing(self) -> int:
        """How many more labels of the same kind are needed, about; 0 where more would not help."""
        return max(0, self.labels_needed - self.labels)

    @property
    def certified(self) -> tuple[str, ...]:
        """The groups that have a threshold all the same, by name: `Confidence(found, group=...)` answers their cases, and no others."""
        return tuple(name for name, each in self.groups.items() if isinstance(each, Threshold))

    def to_json(self) -> str:
        """Return it as JSON; `Threshold.from_json` reads it where some group has a threshold."""
        return json.dumps(self.to_dict(), indent=1)

    def save(self, path: str | Path) -> str:
        """Write it to a file as `Threshold.save` does, for the sake of the groups that have a threshold; return the public key, base64.

        Raises:
            ConfigError: No group has one: a guard with such a file would answer nothing.
            OSError: It cannot be written, or the key must not be used.
        """
        if not self.certified:
            raise ConfigError(
                "nothing is certified, and so there is nothing to save",
                hint="have more answers checked, and calibrate anew; meanwhile confidence=NoThreshold defers everything",
            )
        return _save(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Return it as what can be JSON."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["groups"] = {name: each.to_dict() for name, each in self.groups.items()}
        return found | {"scores": None if self.scores is None else self.scores._asdict()}

    @classmethod
    def _of(cls, found: Mapping[str, Any]) -> Self:
        return cls(**_drawn(dict(found)))


_NO_THRESHOLD: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # what JSON that is none may raise


def _save(found: Threshold | NoThreshold, path: str | Path) -> str:
    from guardrail.thresholds import file as threshold_file  # noqa: PLC0415 - for those who deploy one

    return threshold_file.save(Path(path), found.to_dict())


def _usable(found: Mapping[str, Any]) -> Threshold | NoThreshold:
    """Return what is in a file; one by which nothing is ever answered was not meant to be deployed.

    Raises:
        ValueError: Nothing in it is certified.
    """
    read = _result(found)
    if isinstance(read, NoThreshold) and not read.certified:
        raise ValueError
    return read


def _result(found: Mapping[str, Any]) -> Threshold | NoThreshold:
    return (NoThreshold if "reason" in found else Threshold)._of(found)  # noqa: SLF001 - their own module


def _drawn(given: dict[str, Any]) -> dict[str, Any]:
    """Return fields from JSON with the curve and the scores as what they were."""
    scores = given["scores"]
    drawn = {
        "groups": {name: _result(each) for name, each in given["groups"].items()},
        "points": tuple(Point(*each) for each in given["points"]),
        "scores": None if scores is None else Scores(**scores),
    }
    return given | drawn
