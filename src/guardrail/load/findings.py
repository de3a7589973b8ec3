"""What the figures say: where the budget breaks and which stage is to blame, and from where on the rate is not kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.load.tally import ELSEWHERE, QUANTILES, WAITING, Tally

_KEPT: Final = 0.95  # share of the offered rate that counts as kept
_ENOUGH: Final = 100  # calls that a p99 needs
_NOTICED: Final = 0.005  # seconds of lateness that nobody minds: the interpreter's own switch interval
_LAGGING: Final = 0.1  # the generator's own lateness, beside the latencies that it measures
_CHECK: Final = re.compile(r"\s*(p50|p90|p99|p99\.9|mean|max|[a-z_]+)\s*(>=?)\s*([^@]+?)\s*(?:@\s*(\d+(?:\.\d+)?)\s*)?")
_TIMES: Final = (*(name for name, _ in QUANTILES), "mean", "max")
_COUNTS: Final = ("refused", "deferred", "late", "failed", "cancelled", "cached", "stale", "fallback", "human", "answered")
_PLEASE: Final = 'write "p99>250ms", "failed>1%", "not_sent>0", or "p99>250ms@100" for rates up to 100'


class Broken(NamedTuple):
    """The first step at which the budget is exceeded.

    Attributes:
        step: Its figures.
        p99: In seconds, None where nothing came back.
        stage: The stage whose share of the time grew most; None where the time is not told apart.
        before: Its share of the time at the first step that kept the budget, or 0.
        share: Its share of the time of the calls over the budget.
        work: Where calls wait to be started: what those that run are busy with, and its share of their time.
    """

    step: Tally
    p99: float | None
    stage: str | None
    before: float
    share: float
    work: tuple[str, float] | None


class Curve(NamedTuple):
    """The steps that differ in their rate only, and what they say.

    Attributes:
        workers: How many calls ran at the same time, as asked for.
        rows: Rows in each call.
        steps: By their rate.
        broken: Where the budget breaks first, None where it does not.
        kept: The highest rate below that, None where there is none.
        knee: The first step whose calls did not come back, or not with an answer, as fast as they were due.
    """

    workers: int | None
    rows: int | None
    steps: Sequence[Tally]
    broken: Broken | None
    kept: Tally | None
    knee: Tally | None


def curves(tallies: Sequence[Tally]) -> list[Curve]:
    """Return the curves that a load consists of."""
    groups: dict[tuple[int | None, int | None], list[Tally]] = {}
    for tally in tallies:
        if tally.offered:
            groups.setdefault((tally.step.workers, tally.step.rows), []).append(tally)
    found = []
    for (workers, rows), steps in groups.items():
        steps.sort(key=lambda each: each.step.rate)
        at = next((at for at, step in enumerate(steps) if step.breaks), None)
        broken = None if at is None else _broken(steps[at], steps[:at])
        kept = steps[-1] if at is None else steps[at - 1] if at else None
        found.append(Curve(workers, rows, steps, broken, kept, _knee(steps)))
    return found


def _broken(step: Tally, before: Sequence[Tally]) -> Broken:
    now = step.shares(slow=True) or step.shares()
    # With nothing to compare with, what the budget went into is what takes the most of it.
    then = before[0].shares() if before else {}
    if not any(share for name, share in now.items() if name not in (WAITING, ELSEWHERE)) and not now.get(WAITING):
        return Broken(step, step.latency.quantile(0.99), None, 0.0, 0.0, None)
    stage = max(now, key=lambda name: now[name] - then.get(name, 0.0))
    work = None
    if stage == WAITING:
        running = {name: share for name, share in now.items() if name != WAITING}
        whole = sum(running.values())
        named = {name: share for name, share in running.items() if name != ELSEWHERE}
        if whole and named:
            most = max(running, key=lambda name: running[name])
            work = (most, running[most] / whole)
    return Broken(step, step.latency.quantile(0.99), stage, then.get(stage, 0.0), now[stage], work)


def _knee(steps: Sequence[Tally]) -> Tally | None:
    served = max(step.served_share for step in steps)
    for step in steps:
        if step.achieved_rate < _KEPT * step.offered_rate or step.not_sent > (1 - _KEPT) * step.offered:
            return step
        if step.served_share < _KEPT * served:
            return step
    return None


def doubts(tallies: Sequence[Tally]) -> list[str]:
    """Return why figures may say less than they seem to, in plain words."""
    lagging, few = [], []
    for tally in tallies:
        lag, latency = tally.lag.quantile(0.99), tally.latency.quantile(0.99)
        if lag is not None and latency is not None and lag > max(_LAGGING * latency, _NOTICED):
            lagging.append(f"{tally.step.rate:,.4g}/s ({lag * 1e3:.3g} ms)")
        if 0 < tally.latency.count < _ENOUGH:
            few.append(f"{tally.step.rate:,.4g}/s ({tally.latency.count})")
    found = []
    if lagging:
        found.append(
            f"The generator itself was late, by its p99, at {', '.join(lagging)}: this machine, or the function's hold on the"
            " interpreter, is a part of these latencies."
        )
    if few:
        found.append(f"There were too few calls for a p99 at {', '.join(few)}: it is that of the slowest call.")
    return found


# ── conditions ────────────────────────────────────────────────────────────────────────────────────────────────────────
class Condition:
    """What a load must not exceed: "p99>250ms", "failed>1%", "not_sent>0"; with "@100", at rates up to 100 a second.

    Raises:
        ConfigError: It is no condition.
    """

    def __init__(self, text: str) -> None:
        match = _CHECK.fullmatch(text)
        if match is None:
            raise ConfigError("--fail-over is no condition", hint=_PLEASE)
        self.text = text
        self._what, sign, bound, rate = match.groups()
        self._or_equal = sign == ">="
        self._rate = float(rate) if rate else None
        self._share = bound.endswith("%")
        if self._what in _TIMES:
            self._bound = clock.seconds(bound, "the bound of --fail-over", zero=True)
        elif self._what in (*_COUNTS, "not_sent", "unfinished"):
            try:
                self._bound = float(bound.rstrip("%")) / (100 if self._share else 1)
            except ValueError:
                raise ConfigError("the bound of --fail-over is neither a number nor a share", hint=_PLEASE) from None
        else:
            raise ConfigError(f"--fail-over cannot judge {self._what}", hint=_PLEASE)

    def broken_by(self, tallies: Sequence[Tally]) -> Tally | None:
        """Return the first step that exceeds it, None where none does."""
        for tally in tallies:
            if self._rate is None or tally.step.rate <= self._rate:
                value = self._value(tally)
                if value is None or value > self._bound or (self._or_equal and value == self._bound):
                    return tally
        return None

    def _value(self, tally: Tally) -> float | None:
        """Return what is judged; None of a time where calls were due and none came back: that exceeds every bound."""
        if self._what in ("mean", "max"):
            return tally.latency.mean if self._what == "mean" else (tally.latency.largest if tally.latency.count else None)
        if self._what in _TIMES:
            return tally.latency.quantile(dict(QUANTILES)[self._what])
        if self._what in ("not_sent", "unfinished"):
            many, whole = getattr(tally, self._what), tally.offered
        else:
            many, whole = tally.outcomes[self._what], tally.outcomes.total()
        return many / whole if self._share and whole else float(many)


def to_dict(curve: Curve) -> dict[str, Any]:
    """Return a curve's findings as JSON."""
    broken = curve.broken
    return {
        "workers": curve.workers, "rows": curve.rows,
        "kept_up_to": None if curve.kept is None else curve.kept.step.rate,
        "breaks_at": None if broken is None else broken.step.step.rate,
        "p99_there": None if broken is None else broken.p99,
        "to_blame": None if broken is None or broken.stage is None else {
            "stage": broken.stage, "share_before": broken.before, "share": broken.share,
            "busy_with": None if broken.work is None else {"stage": broken.work[0], "share": broken.work[1]},
        },
        "knee_at": None if curve.knee is None else curve.knee.step.rate,
    }  # fmt: skip
