"""The risk-coverage curve as a picture: SVG by hand, so that it needs no other library and carries no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from guardrail.thresholds.threshold import Point

_WIDTH: Final = 640
_HEIGHT: Final = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 18, 34, 46  # margins, for the words
_DRAWN: Final = 50  # points: an exact interval takes a while, and a picture shows no more
_TICKS: Final = 5
_SMALL: Final = 1e-9


def thinned(points: Sequence[Point], many: int) -> list[Point]:
    """Return some of the points, evenly spread, the last and all where the certificate ends among them."""
    if len(points) <= many:
        return list(points)
    step = len(points) / many
    kept = {min(len(points) - 1, int(step * (at + 1)) - 1) for at in range(many)}
    kept |= {at for at, (point, after) in enumerate(pairwise(points)) if point.certified > after.certified}
    return [points[at] for at in sorted(kept)]


def svg(points: Sequence[Point], *, title: str, max_error: float | None = None, coverage: float | None = None) -> str:
    """Return the curve: the share of wrong answers over the share of cases answered, with its exact 95 % interval.

    Args:
        points: From strict to loose.
        title: What stands above it; escaped here.
        max_error: The share of wrong answers that is allowed, a dashed line; None for none.
        coverage: Where the threshold stands, a vertical line; None for none.
    """
    drawn = [(point.coverage, point.risk, *point.risk_interval) for point in thinned(points, _DRAWN)]
    # Where hardly any case is accepted the interval reaches up to 1, and the curve would lie flat on the ground.
    top = min(1.0, 1.25 * max([max_error or 0.0, *(risk for _, risk, _, _ in drawn)]) + _SMALL)

    def x(share: float) -> str:
        return f"{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def y(risk: float) -> str:
        return f"{_HEIGHT - _BOTTOM - min(risk, top) / top * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    ground, words = y(0.0), "font-size='11' fill='#57606a'"
    parts = [f"<text x='{_LEFT}' y='20' font-size='13' font-weight='600' fill='#24292f'>{escape(title)}</text>"]
    for tick in range(_TICKS + 1):
        share, risk = tick / _TICKS, top * tick / _TICKS
        parts += [
            f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y(risk)}' y2='{y(risk)}' stroke='#d0d7de'/>",
            f"<text x='{_LEFT - 6}' y='{float(y(risk)) + 4:.1f}' text-anchor='end' {words}>{risk:.1%}</text>",
            f"<text x='{x(share)}' y='{float(ground) + 16:.1f}' text-anchor='middle' {words}>{share:.0%}</text>",
        ]
    if drawn:
        band = [f"{x(share)},{y(high)}" for share, _, _, high in drawn] + [
            f"{x(share)},{y(low)}" for share, _, low, _ in reversed(drawn)
        ]
        line = " ".join(f"{x(share)},{y(risk)}" for share, risk, _, _ in drawn)
        parts += [
            f"<polygon points='{' '.join(band)}' fill='#0969da' fill-opacity='0.15'/>",
            f"<polyline points='{line}' fill='none' stroke='#0969da' stroke-width='2'/>",
        ]
    if max_error is not None:
        at = y(max_error)
        parts.append(f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{at}' y2='{at}' stroke='#cf222e' stroke-dasharray='6 4'/>")
    if coverage is not None:
        parts.append(f"<line x1='{x(coverage)}' x2='{x(coverage)}' y1='{_TOP}' y2='{ground}' stroke='#1a7f37' stroke-width='2'/>")
    parts += [
        f"<text x='{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}' y='{_HEIGHT - 10}' text-anchor='middle' {words}>share of cases answered</text>",
        f"<text x='14' y='{_HEIGHT / 2:.0f}' text-anchor='middle' transform='rotate(-90 14 {_HEIGHT / 2:.0f})' {words}>share of them wrong</text>",
    ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' width='{_WIDTH}' height='{_HEIGHT}' role='img'"
        f" font-family='system-ui,sans-serif'><title>{escape(title)}</title>"
        f"<rect width='100%' height='100%' fill='#ffffff'/>{''.join(parts)}</svg>"
    )
