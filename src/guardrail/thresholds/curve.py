"""The risk-coverage curve of a calibration, what its confidence is worth, and what either means for people's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from guardrail.review.capacity import Reviews


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


class Scores(NamedTuple):
    """How much a confidence is worth on the calibration's cases; 0 would be best in all four.

    A change of scale that keeps the order (isotonic, Platt, temperature) improves the first two and leaves the last two, and
    the risk-coverage curve, as they are.

    Attributes:
        ece: Expected calibration error, in 15 bins of equal width: by how much confidence and share of right answers differ
            (Naeini, Cooper, Hauskrecht 2015; Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599).
        brier: Mean squared difference between confidence and being right (Brier 1950).
        aurc: Area under the risk-coverage curve: the mean share of errors over all thresholds (Geifman, Uziel, El-Yaniv 2019,
            arXiv:1805.08206).
        augrc: Area under the generalised one: the mean share of cases that are accepted and wrong, which strict thresholds with few
            cases do not dominate (Traub and others 2024, arXiv:2407.01032).
    """

    ece: float
    brier: float
    aurc: float
    augrc: float


class Calibrated:
    """What a threshold and the lack of one have in common."""

    points: tuple[Point, ...]

    def _reach(self) -> tuple[float, float, float]:
        """Return the share of cases that are answered, and its interval; nothing, where nothing is certified."""
        return 0.0, 0.0, 0.0

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

    def _repr_html_(self) -> str:
        from guardrail.review.cards import threshold_card  # noqa: PLC0415 - for notebooks

        return threshold_card(self)  # type: ignore[arg-type]  # a Threshold or a NoThreshold: there is no other

    def reviews(self, per_day: float, *, reviewers: int, per_hour: float, hours: float = 8.0) -> Reviews:
        """Return what the threshold costs in people's time: cases a day, utilisation, expected wait, and a warning.

        Args:
            per_day: How many calls are made a day.
            reviewers: How many people decide cases at the same time.
            per_hour: How many cases one of them decides in an hour.
            hours: For how many hours a day.

        Raises:
            ConfigError: A number makes no sense.
        """
        from guardrail.review.capacity import reviews  # noqa: PLC0415 - for those who plan

        cases, *ends = self.reviews_a_day(per_day)
        return reviews(cases, (ends[0], ends[1]), reviewers=reviewers, per_hour=per_hour, hours=hours)

    def reviews_a_day(self, calls_a_day: float) -> tuple[float, float, float]:
        """Return how many cases a day go to people: expected, and its 95 % interval.

        Args:
            calls_a_day: How many calls are made a day.
        """
        if not 0 <= calls_a_day < float("inf"):
            raise ConfigError("calls a day must be 0 or more", hint="write a number such as 1000")
        reach, low, high = self._reach()
        return calls_a_day * (1 - reach), calls_a_day * (1 - high), calls_a_day * (1 - low)

    def reviewers_needed(self, calls_a_day: float, cases_a_day: float) -> float:
        """Return how many reviewers the expected cases occupy, each of whom decides so many cases a day."""
        if not cases_a_day > 0:
            raise ConfigError("a reviewer decides more than no case a day", hint="write a number such as 80")
        return self.reviews_a_day(calls_a_day)[0] / cases_a_day
