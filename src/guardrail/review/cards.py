"""What a notebook shows of a calibration: the facts and the risk-coverage curve, self-contained and without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guardrail import notebook
from guardrail.review.curves import svg
from guardrail.threshold import NoThreshold, Scores, Threshold


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
        badge, picture = "none certified", ""
        if found.points:
            picture = svg(found.points, title="wrong answers by share of cases answered")
    return notebook.card(title, badge, rows, f"<div style='margin-top:8px'>{picture}</div>")


def facts(found: Threshold | NoThreshold) -> list[tuple[str, Any]]:
    """Return what there is to say of a calibration: pairs of name and words."""
    if isinstance(found, NoThreshold):
        rows: list[tuple[str, Any]] = [("why none", found.reason), ("labels", f"{found.labels:,}")]
        if found.labels_missing:
            rows.append(("missing", f"about {found.labels_missing:,} more labels"))
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
            rows.append(
                (
                    f"group {name}",
                    f"{each.at_least:.4g}, coverage {each.coverage:.1%}" if isinstance(each, Threshold) else each.reason,
                )
            )
    return rows + worth(found.scores)


def worth(scores: Scores | None) -> list[tuple[str, Any]]:
    """Return the scores of a confidence in words."""
    if scores is None:
        return []
    return [("ECE · Brier · AURC · AUGRC", " · ".join(f"{each:.4f}" for each in scores))]
