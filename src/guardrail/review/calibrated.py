"""Calibrates a guard from what its ledger and its queue know: which answers were checked, by whom chosen, and which were right.

Labels are not there by chance: what was held back was looked at by a person, what went out only where it was drawn to be checked.
Taken as they come they would say what deferred cases are like. So each counts by the probability with which it was checked.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.review.calibrate import calibrate, interval
from guardrail.review.evidence import Checked, Evidence, evenly, gather
from guardrail.thresholds.threshold import NoThreshold, Point, Threshold

_DAY: Final = 86_400.0
_SHORTEST: Final = 3_600.0  # seconds of records from which on they say how many come in a day
_OPEN_SHARE: Final = 0.1  # of deferred cases without a label, from which on that is said
_UNCHECKED: Final = (
    "no answer that went out has been checked: labels exist only of what was held back, and say nothing of the rest"
)


@dataclass(frozen=True, repr=False)
class Calibration:
    """What came of a guard's labels.

    Attributes:
        guard: The guard's name.
        version: The model's version that it is about.
        found: The threshold, or why there is none. Its coverage is that of all answers in the ledger, not of the labelled ones.
        answers: How many answers the ledger has of that version, copies from a cache left out.
        went_out: How many of those went out.
        checked: How many are known to have been right or wrong.
        used: How many of those were left when each answer had the same chance to be among them.
        a_day: How many answers there are a day; None where the records span less than an hour.
        left_out: How many records and labels could not be used, by the reason.
        warnings: What a reader should know before they rely on it.
    """

    guard: str
    version: str
    found: Threshold | NoThreshold
    answers: int
    went_out: int
    checked: int
    used: int
    a_day: float | None
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)
    warnings: Sequence[str] = ()

    def __repr__(self) -> str:
        return (
            f"<Calibration of {self.guard} {self.version} from {self.used:,} labels of {self.answers:,} answers: {self.found!r}>"
        )

    def _repr_html_(self) -> str:
        from guardrail.review.cards import threshold_card  # noqa: PLC0415 - for notebooks

        return threshold_card(self.found, title=f"{self.guard} {self.version}", more=self.facts())

    def facts(self) -> list[tuple[str, str]]:
        """Return where it comes from: pairs of name and words."""
        rows = [
            ("answers", f"{self.answers:,}, of which {self.went_out:,} went out"),
            ("checked", f"{self.checked:,}, of which {self.used:,} were used"),
        ]
        if self.left_out:
            rows.append(("left out", ", ".join(f"{many:,} {why}" for why, many in sorted(self.left_out.items()))))
        return rows + [("note", warning) for warning in self.warnings]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what can be JSON."""
        names = ("guard", "version", "answers", "went_out", "checked", "used", "a_day")
        facts = {name: getattr(self, name) for name in names}
        kind = "threshold" if isinstance(self.found, Threshold) else "no_threshold"
        return facts | {"left_out": dict(self.left_out), "warnings": list(self.warnings), kind: self.found.to_dict()}


def calibrated_from_labels(
    guard: str,
    *,
    max_error: float = 0.02,
    delta: float = 0.05,
    groups: str | None = None,
    version: str | None = None,
    since: clock.Duration = "90d",
    expires: clock.Duration | None = "90d",
    correct: Callable[[Any, Any], bool] | None = None,
) -> Calibration:
    """Find a threshold for a guard from its ledger's records and from the labels of feedback, review and random checks.

    An answer counts if its record, or its ticket, holds it (numbers, truth values and short texts are in every record), its
    confidence was read, and a label says what was true, or a reviewer rejected it.

    What went out is known from the cases that `Review(sample=...)` drew, each weighed by its probability; only where there are
    none, from feedback, and then a warning says what that takes for granted. Where nothing of it has been checked there is no
    threshold: labels of deferred cases say nothing of it.

    Args:
        guard: The guard's name.
        max_error: As for `calibrate`.
        delta: As for `calibrate`.
        groups: The name of an argument whose value is a case's group.
        version: The model's version; that of the latest record if not given.
        since: How far back to look.
        expires: As for `calibrate`.
        correct: Says whether an answer was right: (answer, actual), both as JSON knows them. Without it they must be equal.

    Raises:
        ConfigError: The ledger has no answers of the guard with a confidence, or no label can be held against one.
        StoreError: The store cannot be read.
    """
    evidence, used, warnings = checked_labels(guard, groups=groups, version=version, since=since, correct=correct)
    if used:
        named = None if groups is None else [each.group for each in used]
        found = calibrate(
            [each.sure for each in used], [each.right for each in used],
            max_error=max_error, delta=delta, groups=named, version=evidence.version or "0", expires=expires,
        )  # fmt: skip
    else:
        least = math.ceil(2 * math.log(delta) / math.log1p(-max_error))
        found = NoThreshold(0, least, _UNCHECKED)
    span = evidence.end - evidence.begin
    return Calibration(
        guard, evidence.version or "0", _on_traffic(found, evidence.sure), len(evidence.sure), evidence.went, len(evidence.checked),
        len(used), len(evidence.sure) * _DAY / span if span >= _SHORTEST else None, dict(evidence.counts), tuple(warnings),
    )  # fmt: skip


class CheckedLabels(NamedTuple):
    """The labels that a guard is calibrated from.

    Attributes:
        evidence: All that was found.
        used: A sample of all answers alike, by the id of the decision; empty where there can be none.
        warnings: What a reader should know before they rely on it.
    """

    evidence: Evidence
    used: list[Checked]
    warnings: list[str]


def checked_labels(
    guard: str,
    *,
    groups: str | None,
    version: str | None,
    since: clock.Duration,
    correct: Callable[[Any, Any], bool] | None,
) -> CheckedLabels:
    """Return the labels that a guard is calibrated from; arguments and errors as for `calibrated_from_labels`."""
    begin = clock.wall() - clock.seconds(since, "since")
    evidence = gather(guard, version=version, since=begin, groups=groups, correct=correct)
    if not evidence.sure:
        raise ConfigError(
            "the ledger has no answers of this guard and version with a confidence",
            guard=guard, hint='look further back (since), or have the confidence read: confidence=Confidence(of="score")',
        )  # fmt: skip
    if not evidence.checked:
        raise ConfigError(
            f"none of its {len(evidence.sure):,} answers is known to have been right or wrong{_why(evidence)}",
            guard=guard, hint="write feedback(decision.id, actual), decide cases in the queue, or check some: Review(sample=0.05)",
        )  # fmt: skip
    warnings: list[str] = []
    # In an order of their own, so that the same labels have the same digest whichever process wrote first.
    used = sorted(_used(evidence, warnings), key=lambda each: each.decision_id)
    return CheckedLabels(evidence, used, warnings)


def _why(evidence: Evidence) -> str:
    useless = {why: many for why, many in evidence.counts.items() if why not in ("copies", "other versions")}
    return f" ({', '.join(f'{many:,} {why}' for why, many in sorted(useless.items()))})" if useless else ""


def _used(evidence: Evidence, warnings: list[str]) -> list[Checked]:
    """Return a sample of all answers alike; empty where there can be none."""
    drawn = [each for each in evidence.checked if each.drawn is not None]
    told = [each for each in evidence.checked if each.drawn is None and each.went]
    held = [each for each in evidence.checked if each.drawn is None and not each.went]
    if evidence.went and not drawn and not told:
        return []
    if drawn:
        out = drawn
        if told:
            warnings.append(
                f"feedback on {len(told):,} answers that nobody drew is not used: there are {len(drawn):,} that were drawn, and those are a"
                " random sample"
            )
    else:
        out = told
        if len(told) < evidence.went:
            warnings.append(
                f"of the answers that went out {len(told):,} of {evidence.went:,} are known from feedback alone: the promise holds only if"
                " feedback comes no matter whether the answer was right; check some at random, Review(sample=0.05)"
            )
    if evidence.held and not held:
        warnings.append("nothing that was held back has a label: no threshold below the one in force can be found")
        out = [
            each for each in out if each.sure >= evidence.bar
        ]  # below it the rest went another way, which nobody has looked at
    elif len(held) < (1 - _OPEN_SHARE) * evidence.held:
        warnings.append(
            f"of the {evidence.held:,} answers that were held back {len(held):,} have a label: the others are taken to be like those"
        )
    return list(evenly([*_chances(out, evidence.went), *_chances(held, evidence.held)]))


def _chances(those: Sequence[Checked], all_of_them: int) -> list[tuple[Checked, float]]:
    """Return each case with the chance that it was checked: that of being drawn, times the share of the drawn that were answered.

    That share is not asked of the tickets: the Horvitz-Thompson sum of the cases at hand says how many they stand for, which covers
    the time before anything was drawn, too.
    """
    stands_for = math.fsum(1 / (each.drawn or 1.0) for each in those)
    return [(each, (each.drawn or 1.0) * stands_for / max(1, all_of_them)) for each in those]


def _on_traffic(found: Threshold | NoThreshold, sure: Sequence[float]) -> Threshold | NoThreshold:
    """Return the same with the coverage of all answers: whether one reaches a threshold needs no label."""
    known = sorted(each for each in sure if not math.isnan(each))

    def reach(at_least: float) -> int:
        return len(known) - bisect_left(known, at_least)

    points = tuple(_moved(point, reach(point.at_least) / len(sure)) for point in found.points)
    if isinstance(found, NoThreshold):
        return replace(found, points=points)
    accepted = reach(found.at_least)
    return replace(found, coverage=accepted / len(sure), coverage_interval=interval(accepted, len(sure)), points=points)


def _moved(point: Point, coverage: float) -> Point:
    return point._replace(coverage=coverage)
