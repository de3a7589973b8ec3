"""Intervals that hold the truth with a stated share, as `guardrail.review.intervals` calibrates them, for answers that are numbers."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self

from guardrail import clock
from guardrail.errors import ConfigError

UNBOUND: Final = "0"  # the version that binds a calibration to no model
Kind = Literal["absolute", "scaled", "quantiles"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the interval around it.

    Attributes:
        value: The number itself.
        low: Where the interval begins; minus infinity for one without an end.
        high: Where it ends.
    """

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """How wide it is, in the number's unit."""
        return self.high - self.low

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high


@dataclass(frozen=True, repr=False)
class Intervals:
    """Makes intervals that hold the truth in at least a share 1 - alpha of cases like the calibration's.

    Split conformal prediction: the promise needs nothing of the model, only that new cases are exchangeable with those of the
    calibration. It is about all cases together, and about the draw of the calibration data too.

    Attributes:
        margin: What is added on both sides, in the unit of the errors (times the scale, where there is one); infinite where there
            are too few labels.
        alpha: The share of cases whose truth lies outside, at most.
        kind: What it was made of: "absolute" errors, errors "scaled" by their expected size, or a model's own "quantiles".
        labels: How many labelled cases there were.
        version: The model's version that it holds for; "0" where none was named.
        expires: When it ends, in UTC; None for never.
        data: Digest of the labels that they were made from (SHA-256), for whoever keeps those.
    """

    margin: float
    alpha: float
    kind: Kind
    labels: int
    version: str = UNBOUND
    expires: datetime | None = None
    data: str = ""

    def __repr__(self) -> str:
        until = "" if self.expires is None else f", until {self.expires:%Y-%m-%d}"
        missing = f"; {self.labels_needed:,} labels are needed" if self.margin == math.inf else ""
        return f"<Intervals of {1 - self.alpha:.3g}: margin {self.margin:.4g}, {self.labels:,} labels{until}{missing}>"

    @property
    def stale(self) -> bool:
        """Whether it has expired."""
        return self.expires is not None and clock.wall() >= self.expires.timestamp()

    @property
    def labels_needed(self) -> int:
        """How many labels the smallest margin with an end takes: (1 - alpha) / alpha, rounded up."""
        from fractions import Fraction  # noqa: PLC0415 - every guard with a confidence imports this module

        share = Fraction(repr(self.alpha))
        return math.ceil((1 - share) / share)

    def around(self, value: float, scale: float | None = None) -> Interval:
        """Return the interval around a prediction; one without an end when the calibration has expired.

        Args:
            value: The prediction.
            scale: How large its error is expected to be, as it was given for the calibration.

        Raises:
            ConfigError: The calibration was with a scale and this is without, or the other way round, or was of quantiles.
        """
        if self.kind == "quantiles":
            raise ConfigError("these intervals were made of quantiles", hint="write intervals.between(low, high)")
        if (scale is None) == (self.kind == "scaled"):
            raise ConfigError(
                "a scale belongs to every prediction or to none",
                hint="give scale= where intervals() was given it, and only there",
            )
        if scale is not None and not scale > 0:
            return Interval(value, -math.inf, math.inf)
        margin = self._margin() * (1.0 if scale is None else scale)
        return Interval(value, value - margin, value + margin)

    def between(self, low: float, high: float, value: float | None = None) -> Interval:
        """Return the interval that a model's quantiles become; one without an end when the calibration has expired.

        Args:
            low: The lower quantile.
            high: The upper one.
            value: The prediction; the middle of the two if not given.

        Raises:
            ConfigError: The calibration was not of quantiles.
        """
        if self.kind != "quantiles":
            raise ConfigError("these intervals were not made of quantiles", hint="write intervals.around(value)")
        margin = self._margin()
        return Interval((low + high) / 2 if value is None else value, low - margin, high + margin)

    def _margin(self) -> float:
        return math.inf if self.stale else self.margin

    def to_json(self) -> str:
        """Return it as JSON, to be deployed beside the model; `Intervals.from_json` reads it."""
        found = asdict(self) | {"expires": None if self.expires is None else self.expires.isoformat()}
        return json.dumps(found | {"margin": None if self.margin == math.inf else self.margin})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the intervals that `to_json` wrote.

        Raises:
            ConfigError: They are none.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            until = found["expires"]
            found["margin"] = math.inf if found["margin"] is None else float(found["margin"])
            found["expires"] = None if until is None else datetime.fromisoformat(until).astimezone(UTC)
            return cls(**found)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ConfigError("these are no intervals", hint="write what Intervals.to_json() returned") from None
