"""The report of a load: one HTML file without a script and without anything from elsewhere, everything in it escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from guardrail.load import charts, words
from guardrail.load.charts import Line, Mark
from guardrail.load.findings import Curve, doubts
from guardrail.load.job import Result
from guardrail.load.page import STYLE
from guardrail.load.tally import ELSEWHERE, OTHER, QUANTILES, WAITING, Tally

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src 'none'; base-uri 'none'; form-action 'none'"
_STYLES: Final = {"p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999"}
_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)
_COLOURS: Final = 6  # of stages; the ones with the least time share one
_ALIKE: Final = 1.01  # what came back, beside what came back with an answer
_FEW: Final = 4  # lines in a chart of percentiles


def page(result: Result) -> str:
    """Return the report as a page."""
    title = f"Load on {result.name}{f' {result.version}' if result.version else ''}"
    body = [_head(result, title), _cards(result), _said(result)]
    body += [_curve(curve, result.budget, several=len(result.curves) > 1) for curve in result.curves]
    body += [_steps(result), _stages(result.tallies), _errors(result.tallies), _how(result)]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta http-equiv='Content-Security-Policy' content=\"{_POLICY}\">"
        "<meta name='viewport' content='width=device-width, initial-scale=1'><meta name='referrer' content='no-referrer'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


# ── the top ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _head(result: Result, title: str) -> str:
    look = (
        "warn" if result.interrupted or (result.budget is None and not result.conditions) else "bad" if result.broken else "good"
    )
    sign = {"good": "✓", "bad": "✗", "warn": "!"}[look]
    when = result.facts.get("when", "")
    return (
        f"<div class='head'><div><h1>{escape(title)}</h1><p class='soft'>{escape(when)}</p></div>"
        f"<span class='badge {look}'><span aria-hidden='true'>{sign}</span> {escape(result.verdict)}</span></div>"
    )


def _cards(result: Result) -> str:
    whole = sum(tally.offered for tally in result.tallies)
    lost = sum(tally.not_sent + tally.unfinished for tally in result.tallies)
    cards = [(f"{whole:,}", "calls were due" + (f", {lost:,} of them without an end" if lost else ""))]
    if result.budget is not None:
        cards.append((words.duration(result.budget), "is the budget of a call"))
        kept = [curve.kept.step.rate for curve in result.curves if curve.kept is not None]
        cards.append((words.rate(max(kept)) if kept else "none", "is the highest rate that kept it"))
    broken = [curve.broken for curve in result.curves if curve.broken is not None]
    if broken:
        first = min(broken, key=lambda each: each.step.step.rate)
        cards.append((words.rate(first.step.step.rate), f"is where it breaks first: p99 {words.duration(first.p99)}"))
        blamed = first.stage if first.work is None else first.work[0]
        if blamed is not None:
            cards.append((_stage_name(blamed).strip("()"), "is the stage to blame"))
    else:
        worst = max((found for tally in result.tallies if (found := tally.latency.quantile(0.99)) is not None), default=None)
        cards.append((words.duration(worst), "is the p99 of the slowest step"))
    return f"<div class='cards'>{''.join(f'<div class=card><b>{escape(big)}</b><span>{escape(text)}</span></div>' for big, text in cards)}</div>"


def _said(result: Result) -> str:
    lines = [sentence for curve in result.curves for sentence in words.sentences(curve, result.budget)]
    for condition, step in result.conditions:
        how = "kept" if step is None else f"exceeded at {words.setting(step.step)}"
        lines.append(f"{condition.text}: {how}.")
    if result.interrupted:
        lines.append("The load was stopped before its end; the last step is shorter than asked for.")
    lines += [*doubts(result.tallies)]
    return f"<section><h2>What it says</h2>{_list(lines)}</section>"


# ── curves ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _curve(curve: Curve, budget: float | None, *, several: bool) -> str:
    level = None if budget is None else Mark(budget, "budget", "bad")
    head = words.of_group(curve.workers, curve.rows) if several else ""
    pictures = []
    if len(curve.steps) > 1:
        pictures += [_latency(curve, level), _throughput(curve)]
    pictures.append(_by_percentile(curve, level))
    pictures.append(_shares(curve))
    return f"<section><h2>{escape(head) or 'Latency against load'}</h2><div class='pair'>{''.join(pictures)}</div></section>"


def _latency(curve: Curve, level: Mark | None) -> str:
    lines = []
    for name, share in QUANTILES:
        points = [(step.step.rate, found) for step in curve.steps if (found := step.latency.quantile(share)) is not None]
        tips = [f"{name} at {words.rate(at)}: {words.duration(seconds)}" for at, seconds in points]
        lines.append(Line(name, _STYLES[name], points, tips))
    places = [] if curve.knee is None else [Mark(curve.knee.step.rate, "knee", "knee")]
    p99 = lines[2].points
    seen = (
        f"p99 goes from {words.duration(p99[0][1])} at {words.rate(p99[0][0])} to {words.duration(p99[-1][1])} at {words.rate(p99[-1][0])}."
        if p99
        else ""
    )
    drawn = charts.curve(
        lines, title="Latency against arrival rate", words=seen, x="arrivals a second", y_name=words.duration, level=level,
        places=places, log_y=True,
    )  # fmt: skip
    return _figure("Latency, from the moment a call was due", drawn)


def _throughput(curve: Curve) -> str:
    steps = curve.steps
    offered = [(step.step.rate, step.offered_rate) for step in steps]
    came = [(step.step.rate, step.achieved_rate) for step in steps]
    served = [(step.step.rate, min(step.served_share * step.offered_rate, step.achieved_rate)) for step in steps]
    lines = [
        Line("due", "offered", offered),
        Line("back", "came", came, [f"{words.rate(y)} came back of {words.rate(due)}" for (_, y), (_, due) in zip(came, offered, strict=True)]),
        Line("answered", "served", served, [f"{words.rate(y)} with an answer, at {words.rate(x)}" for x, y in served]),
    ]  # fmt: skip
    if all(y <= _ALIKE * of for (_, of), (_, y) in zip(served, came, strict=True)):
        del lines[2]  # it would hide the other
    seen = "; ".join(f"{words.rate(y)} came back at {words.rate(x)}" for x, y in came)
    drawn = charts.curve(
        lines, title="What came back, against what was due", words=seen, x="arrivals a second", y_name=words.rate
    )
    return _figure("What came back a second", drawn)


def _by_percentile(curve: Curve, level: Mark | None) -> str:
    steps = list(curve.steps)
    if len(steps) > _FEW:
        steps = [steps[round(at * (len(steps) - 1) / (_FEW - 1))] for at in range(_FEW)]
    lines = [
        Line(words.rate(step.step.rate), f"q{at + 5 - len(steps)}", step.latency.curve(_SHARES)) for at, step in enumerate(steps)
    ]
    seen = "; ".join(f"{line.label} up to {words.duration(line.points[-1][1])}" for line in lines if line.points)
    drawn = charts.percentiles(lines, title="Latency by percentile", words=seen, y_name=words.duration, level=level)
    return _figure("Latency by percentile", drawn)


def _shares(curve: Curve) -> str:
    spent: Counter[str] = Counter()
    for step in curve.steps:
        spent.update(step.shares())
    named = [name for name, _ in spent.most_common() if name not in (WAITING, ELSEWHERE)]
    styles = {WAITING: "s0", **{name: f"s{at + 1}" for at, name in enumerate(named[:_COLOURS])}}
    folded = named[_COLOURS:]
    if folded:
        styles[OTHER] = "s7"
    styles[ELSEWHERE] = "s8"
    rows = []
    for step in curve.steps:
        of = step.shares()
        if folded:
            of[OTHER] = of.get(OTHER, 0.0) + sum(of.pop(name, 0.0) for name in folded if name != OTHER)
        rows.append((words.rate(step.step.rate), of))
    last = rows[-1]
    seen = f"At {last[0]}: " + ", ".join(f"{name} {words.share(last[1].get(name, 0.0))}" for name in styles if last[1].get(name))
    drawn = charts.shares(rows, styles, title="Where the time goes, by stage", words=seen)
    keys = "".join(
        f"<li><svg viewBox='0 0 11 11' aria-hidden='true'><rect class='{style}' width='11' height='11' rx='2'/></svg>{escape(_stage_name(name))}</li>"
        for name, style in styles.items()
        if spent.get(name) or name == OTHER
    )
    return _figure("Where the time goes, by arrival rate", drawn, f"<ul class='keys'>{keys}</ul>")


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _steps(result: Result) -> str:
    rows = [
        ((f"✗ {first}", *rest), "bad") if tally.breaks else ((first, *rest), "")
        for tally in result.tallies
        for first, *rest in (words.row(tally),)
    ]
    return (
        "<section>"
        + _table("Every step", words.HEADS, rows, text=words.PROSE)
        + "<p class='soft small'>Latencies count from the moment a call was due, not from when somebody got round to it. "
        + ("A step with ✗ exceeds the budget." if any(look for _, look in rows) else "")
        + "</p></section>"
    )


def _stages(tallies: Sequence[Tally]) -> str:
    rows = []
    for tally in tallies:
        slow = tally.shares(slow=True)
        for at, (name, share) in enumerate(sorted(tally.shares().items(), key=lambda each: -each[1])):
            spent = tally.stages[name].all
            cells = (
                words.setting(tally.step) if at == 0 else "", _stage_name(name), words.share(share),
                words.share(slow[name]) if name in slow else "\u2013", words.duration(spent.mean),
                words.duration(spent.quantile(0.5)), words.duration(spent.quantile(0.99)),
            )  # fmt: skip
            rows.append((cells, ""))
    heads = ("rate", "stage", "share of the time", "of that of slow calls", "mean", "p50", "p99")
    table = _table("Time in each stage", heads, rows, text=("stage",))
    return f"<section><details><summary>All figures of the stages</summary>{table}</details></section>" if rows else ""


def _errors(tallies: Sequence[Tally]) -> str:
    rows = [
        ((words.setting(tally.step) if at == 0 else "", name, f"{many:,}"), "")
        for tally in tallies
        for at, (name, many) in enumerate(tally.errors.most_common())
    ]
    return f"<section>{_table('Errors', ('rate', 'error', 'calls'), rows, text=('error',))}</section>" if rows else ""


def _how(result: Result) -> str:
    pairs = [*result.settings.items(), *result.facts.items()]
    lags = [found for tally in result.tallies if (found := tally.lag.quantile(0.99)) is not None]
    if lags:
        pairs.append(("generator", f"noticed what was due within {words.duration(max(lags))} (p99 of the worst step)"))
    told = "".join(f"<dt>{escape(name)}</dt><dd>{_code(name, text)}</dd>" for name, text in pairs)
    return f"<section><h2>How it was made</h2><dl>{told}</dl>{_list(result.notes)}</section>"


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _code(name: str, text: str) -> str:
    return f"<code>{escape(text)}</code>" if name == "command" else escape(text)


def _stage_name(name: str) -> str:
    return name if name not in (WAITING, ELSEWHERE) else f"({name})"


def _figure(caption: str, drawn: str, more: str = "") -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{drawn}{more}</figure>"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _table(caption: str, heads: Sequence[str], rows: Sequence[tuple[Sequence[Any], str]], *, text: Sequence[str] = ()) -> str:
    def look(head: str) -> str:
        return " class='text'" if head in text else ""

    top = "".join(f"<th scope='col'{look(head)}>{escape(head)}</th>" for head in heads)
    lines = []
    for cells, style in rows:
        first, *rest = cells
        line = "".join(f"<td{look(head)}>{escape(str(cell))}</td>" for head, cell in zip(heads[1:], rest, strict=True))
        lines.append(
            f"<tr class='{style}'><th scope='row'>{escape(str(first))}</th>{line}</tr>"
            if style
            else f"<tr><th scope='row'>{escape(str(first))}</th>{line}</tr>"
        )
    return f"<div class='scroll'><table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
