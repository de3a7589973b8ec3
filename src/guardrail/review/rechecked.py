"""Whether a saved threshold is still what the labels say: made from those that there are now, and its promise still certified by them.

A threshold's `data` is the digest of the labels that it was made from. That labels have come since is no fault of it; that they no longer
certify it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.review.calibrate import binomial_cdf, digest_of, interval, search
from guardrail.review.calibrated import checked_labels
from guardrail.review.given import labelled
from guardrail.thresholds.interval import UNBOUND
from guardrail.thresholds.threshold import NoThreshold, Threshold

MadeFrom = Literal["same", "fewer", "more", "others"]
_WORDS: Final[dict[str, str]] = {
    "same": "made from these {now:,} labels",
    "fewer": "made from {then:,} labels; now there are {now:,}",
    "more": "made from {then:,} labels, of which {now:,} at most are still found: look further back",
    "others": "made from as many other labels ({then:,})",
}


class Part(NamedTuple):
    """A saved threshold beside today's labels: that of all cases, or of one group.

    Attributes:
        group: Its name; None for all cases.
        at_least: The saved threshold.
        max_error: The share of wrong answers that it promises, at most; delta: the probability that this does not hold.
        delta: As said.
        accepted: How many of today's labelled answers reach it.
        errors: How many of those are wrong.
        interval: The exact 95 % interval of their share.
        certified: What a calibration with today's labels certifies for the same promise; None for nothing.
        holds: Whether today's labels certify the saved threshold: a calibration reaches down to it, and its own exact test holds (in each
            group, where the threshold is one for all groups).
        broken: Whether so many of today's are wrong that the promise can hardly hold: by chance as many come with a probability of at
            most `delta` (in some group).
    """

    group: str | None
    at_least: float
    max_error: float
    delta: float
    accepted: int
    errors: int
    interval: tuple[float, float]
    certified: float | None
    holds: bool
    broken: bool


@dataclass(frozen=True, repr=False)
class Recheck:
    """What came of holding a saved threshold against today's labels.

    Attributes:
        made_from: What it was made from, beside the labels that there are now: the "same" (by their digest), "fewer", "more", or as
            many "others".
        then: How many labels it was made from.
        now: How many there are now.
        parts: The threshold of all cases, where there is one, and that of each group that has one.
        problems: Why a guard refuses it whatever the labels say: it has expired, or is for another version.
        warnings: What a reader should know before they rely on it.
    """

    made_from: MadeFrom
    then: int
    now: int
    parts: tuple[Part, ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Recheck: {self.verdict}; {self.labels}>"

    @property
    def holds(self) -> bool:
        """Whether it may go on being used: guards take it, and today's labels certify all that it promises."""
        return not self.problems and all(part.holds for part in self.parts)

    @property
    def verdict(self) -> str:
        """The same in words."""
        if self.problems:
            return "; ".join(self.problems)
        if any(part.broken for part in self.parts):
            return "more answers are wrong than it promises"
        return "today's labels certify it" if self.holds else "today's labels neither certify it nor speak against it"

    @property
    def labels(self) -> str:
        """What it was made from, in words."""
        return _WORDS[self.made_from].format(then=self.then, now=self.now)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the parts as lines: group, saved threshold, wrong answers, their share with its interval, today's threshold, verdict."""
        lines: list[tuple[str, ...]] = []
        for part in self.parts:
            share = f"{part.errors / part.accepted:.2%}" if part.accepted else ""
            low, high = part.interval
            lines.append(
                (
                    part.group or "all", f"{part.at_least:.4g}", f"{part.errors:,} of {part.accepted:,}", share, f"{low:.2%} to {high:.2%}",
                    "none" if part.certified is None else f"{part.certified:.4g}", "yes" if part.holds else "broken" if part.broken else "not certified",
                )
            )  # fmt: skip
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what can be JSON."""
        facts = {name: getattr(self, name) for name in ("holds", "made_from", "then", "now")}
        parts = [part._asdict() | {"interval": list(part.interval)} for part in self.parts]
        return facts | {"parts": parts, "problems": list(self.problems), "warnings": list(self.warnings)}

    def _repr_html_(self) -> str:
        from guardrail.review.cards import figures_card  # noqa: PLC0415 - for notebooks

        notes = [self.verdict, self.labels, *self.warnings]
        return figures_card("a saved threshold", "holds" if self.holds else "does not hold", HEADS, self.rows(), notes)


HEADS: Final = ("group", "saved", "wrong", "risk", "95 %", "today", "holds")


def recheck(
    saved: Threshold | NoThreshold,
    confidence: Any,
    correct: Any,
    *,
    groups: Any | None = None,
    version: str = UNBOUND,
) -> Recheck:
    """Hold a saved threshold against labelled cases as they are now.

    Args:
        saved: What `calibrate` found and `Threshold.load` gave back.
        confidence: As for `calibrate`; correct likewise.
        correct: As said.
        groups: To which group each case belongs; given where the threshold was made with groups, and only there.
        version: The model's version that the cases are of; "0" where that is not asked.

    Raises:
        ConfigError: The arguments are not what they should be, or nothing of what was saved is a threshold.
    """
    sure, wrong, named = labelled(confidence, correct, groups)
    return _compared(saved, sure, wrong, named, version)


def recheck_from_labels(
    guard: str,
    saved: Threshold | NoThreshold,
    *,
    groups: str | None = None,
    version: str | None = None,
    since: clock.Duration = "90d",
    correct: Callable[[Any, Any], bool] | None = None,
) -> Recheck:
    """Hold a saved threshold against what a guard's ledger and queue know now; labels count as for `calibrated_from_labels`.

    Args:
        guard: The guard's name.
        saved: What `calibrated_from_labels` found and `Threshold.load` gave back.
        groups: The name of the argument whose value is a case's group; given where it was given then, and only there.
        version: The model's version; that of the latest record if not given.
        since: How far back to look.
        correct: As for `calibrated_from_labels`.

    Raises:
        ConfigError: There are no labels that could be held against it, or `groups` is missing or too much.
        StoreError: The store cannot be read.
    """
    _see_groups(saved, given=groups is not None)
    found = checked_labels(guard, groups=groups, version=version, since=since, correct=correct)
    if not found.used:
        raise ConfigError(
            "no answer that went out has been checked, so labels say nothing of the threshold",
            guard=guard, hint="have some checked at random: Review(sample=0.05)",
        )  # fmt: skip
    named = None if groups is None else [str(each.group) for each in found.used]
    sure, wrong = [each.sure for each in found.used], [not each.right for each in found.used]
    return _compared(saved, sure, wrong, named, found.evidence.version or UNBOUND, tuple(found.warnings))


def _compared(  # noqa: PLR0917 - the columns of labelled cases
    saved: Threshold | NoThreshold, sure: Sequence[float], wrong: Sequence[bool], named: Sequence[str] | None, version: str,
    warnings: tuple[str, ...] = (),
) -> Recheck:  # fmt: skip
    _see_groups(saved, given=named is not None)
    certified = {name: each for name, each in saved.groups.items() if isinstance(each, Threshold)}
    whole = [saved] if isinstance(saved, Threshold) else []
    if not (whole or certified):
        raise ConfigError("what was saved has no threshold", hint="calibrate anew: guardrail.calibrate(confidence, correct)")
    members: dict[str, list[int]] = {}
    for at, name in enumerate(named or ()):
        members.setdefault(name, []).append(at)
    parts = [_part(None, each, sure, wrong, list(members.values()) or [list(range(len(sure)))]) for each in whole]
    parts += [_part(name, each, sure, wrong, [members.get(name, [])]) for name, each in certified.items()]
    problems = []
    if any(each.stale for each in (*whole, *certified.values())):
        problems.append("it has expired")
    if version != UNBOUND and {each.version for each in (*whole, *certified.values())} - {UNBOUND, version}:
        problems.append(f"it is for another version of the model than {version}")
    made = {each.data for each in (*whole, *certified.values())} == {digest_of(sure, wrong, named)}
    return Recheck(
        _made_from(saved.labels, len(sure), same=made), saved.labels, len(sure), tuple(parts), tuple(problems), warnings
    )


def _part(
    group: str | None, saved: Threshold, sure: Sequence[float], wrong: Sequence[bool], members: Sequence[Sequence[int]]
) -> Part:
    """Return how one threshold stands; members are the cases that it must hold for, each of them."""
    mine = sorted(at for those in members for at in those)
    place = {at: new for new, at in enumerate(mine)}
    today = search(
        [sure[at] for at in mine], [wrong[at] for at in mine], [[place[at] for at in those] for those in members],
        saved.max_error, saved.delta,
    ).at_least  # fmt: skip
    counts = []
    for those in members:
        reach = [wrong[at] for at in those if sure[at] >= saved.at_least]
        counts.append((sum(reach), len(reach)))
    tested = all(cases > 0 and binomial_cdf(bad, cases, saved.max_error) <= saved.delta for bad, cases in counts)
    broken = any(bad > 0 and 1.0 - binomial_cdf(bad - 1, cases, saved.max_error) <= saved.delta for bad, cases in counts)
    errors, accepted = (sum(each) for each in zip(*counts, strict=True))
    return Part(
        group, saved.at_least, saved.max_error, saved.delta, accepted, errors, interval(errors, accepted), today,
        tested and today is not None and today <= saved.at_least, broken,
    )  # fmt: skip


def _made_from(then: int, now: int, *, same: bool) -> MadeFrom:
    if same:
        return "same"
    if then == now:
        return "others"
    return "fewer" if then < now else "more"


def _see_groups(saved: Threshold | NoThreshold, *, given: bool) -> None:
    if bool(saved.groups) == given:
        return
    missing = "the threshold was made with groups" if saved.groups else "the threshold was made without groups"
    raise ConfigError(missing, hint="say which group each case belongs to (groups)" if saved.groups else "leave groups out")
