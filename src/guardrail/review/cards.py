"""What a notebook shows of figures: a calibration with its risk-coverage curve, and tables; self-contained and without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from guardrail import notebook
from guardrail.review.curves import svg
from guardrail.thresholds.threshold import NoThreshold, Scores, Threshold


def threshold_card(found: Threshold | NoThreshold, *, title: str = "threshold", more: Sequence[tuple[str, Any]] = ()) -> str:
    """Return what a calibration found as a card.

    Args:
        found: The threshold, or why there is none.
        title: What stands above it; escaped here.
        more: Further lines: name and content.
    """
    rows: list[tuple[str, Any]] = facts(found)
    rows += more
    if isinstance(found, Threshold):
        badge, allowed, at = ("expired" if found.stale else "certified"), found.max_error, found.coverage
        picture = svg(found.points, max_error=allowed, title="wrong answers by share of cases answered", coverage=at)
    else:
        badge, picture = ("only groups certified" if found.certified else "none certified"), ""
        if found.points:
            picture = svg(found.points, title="wrong answers by share of cases answered")
    return notebook.card(title, badge, rows, f"<div style='margin-top:8px'>{picture}</div>")


def figures_card(title: str, badge: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Return a table of figures as a card; all of it is escaped here.

    Args:
        title: What it is about.
        badge: One word or two beside it.
        heads: Names of the columns.
        rows: The lines.
        notes: What a reader should know.
    """
    from guardrail.review.case_card import harmless  # noqa: PLC0415 - it reads the store, and thresholds need none

    cell = "text-align:left;padding:1px 14px 1px 0;vertical-align:top;border:0;background:none"
    head = "".join(f"<th style='{cell};opacity:.65;font-weight:normal'>{escape(harmless(each))}</th>" for each in heads)
    cells = ["".join(f"<td style='{cell}'>{escape(harmless(each))}</td>" for each in row) for row in rows]
    lines = "".join(f"<tr>{each}</tr>" for each in cells)
    table = (
        f"<table style='border:0;border-collapse:collapse'><tr>{head}</tr>{lines}</table>" if rows else "<div>Nothing yet.</div>"
    )
    return notebook.card(title, badge, [("note", harmless(note)) for note in notes], table)


def facts(found: Threshold | NoThreshold) -> list[tuple[str, Any]]:
    """Return what there is to say of a calibration: pairs of name and words."""
    if isinstance(found, NoThreshold):
        rows: list[tuple[str, Any]] = [("why none", found.reason), ("labels", f"{found.labels:,}")]
        if found.labels_missing:
            rows.append(("missing", f"about {found.labels_missing:,} more labels"))
        if found.certified:
            rows.append(
                ("answered", "only cases of groups that have a threshold, with Confidence(…, group=…); all others are deferred")
            )
    else:
        low, high = found.coverage_interval
        rows = [
            ("at least", f"{found.at_least:.4g}"),
            ("promise", f"at most {found.max_error:.3g} wrong, with probability {1 - found.delta:.3g}"),
            ("coverage", f"{found.coverage:.1%} (95 % interval {low:.1%} to {high:.1%})"),
            ("labels", f"{found.labels:,}"),
            ("version", found.version),
            ("until", "" if found.expires is None else f"{found.expires:%Y-%m-%d %H:%M} UTC"),
        ]
    for name, each in found.groups.items():
        words = f"{each.at_least:.4g}, coverage {each.coverage:.1%}" if isinstance(each, Threshold) else each.reason
        rows.append((f"group {name}", words))
    return rows + worth(found.scores)


def worth(scores: Scores | None) -> list[tuple[str, Any]]:
    """Return the scores of a confidence in words."""
    if scores is None:
        return []
    return [("ECE · Brier · AURC · AUGRC", " · ".join(f"{each:.4f}" for each in scores))]
