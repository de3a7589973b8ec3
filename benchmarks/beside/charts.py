"""Two charts: the cost of a call as bars, and calls per second as lines; both logarithmic, with guardrail in colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from benchmarks.beside.child import PROCESSES, TASKS, THREADS

_OURS, _THEIRS, _BARE, _TEXT, _SOFT = "#1f7a6d", "#9db8b3", "#c08a3e", "#12302c", "#4a6661"


def bars(costs: Sequence[tuple[str, float]]) -> str:
    """Return the cost of each tool, in µs, as an SVG picture."""
    least, most = 0.1, max([value for _, value in costs], default=1.0)
    height = 34 + 26 * len(costs)
    parts = _sheet(760, height, "CPU that a call adds to its caller", "CPU that a call adds to its caller, µs (logarithmic)")
    for at, (name, value) in enumerate(costs):
        width = 440 * math.log(max(value, least * 1.1) / least) / math.log(max(most, 1.0) / least)
        y = 32 + 26 * at
        parts.append(
            f'<text x="212" y="{y + 15}" text-anchor="end" fill="{_TEXT}">{escape(name)}</text><rect x="220" y="{y}" width="{width:.0f}" height="20" rx="3" fill="{_colour(name)}"/>'
            f'<text x="{226 + width:.0f}" y="{y + 15}" fill="{_TEXT}">{value:.1f}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def lines(found: list[dict[str, Any]]) -> str:
    """Return calls per second by number of threads, tasks and processes, as an SVG picture of three panels."""
    panels = [("threads", THREADS), ("tasks", TASKS), ("processes", PROCESSES)]
    curves = {
        kind: {each["name"]: {width: one["rate"] for width, one in each["scaling"][kind][0].items() if "rate" in one}
               for each in found if kind in each["scaling"]}
        for kind, _ in panels
    }  # fmt: skip
    rates = [rate for kind in curves.values() for curve in kind.values() for rate in curve.values() if rate > 0]
    low = math.floor(math.log10(min(rates, default=1.0)))
    high = max(math.ceil(math.log10(max(rates, default=10.0))), low + 1)
    top, tall, each_high = 46, 300, 366
    parts = _sheet(
        760, each_high * len(panels) + 40, "Calls per second", "Calls per second until everything is written (logarithmic)"
    )
    for at, (kind, widths) in enumerate(panels):
        begin = top + at * each_high

        def y(rate: float, begin: int = begin) -> float:
            return begin + tall * (1 - (math.log10(rate) - low) / (high - low))

        def x(width: int, widths: tuple[int, ...] = widths) -> float:
            return 80 + 400 * widths.index(width) / (len(widths) - 1)

        for power in range(low, high + 1):
            parts.append(
                f'<line x1="80" x2="480" y1="{y(10**power):.0f}" y2="{y(10**power):.0f}" stroke="#dfe9e6"/><text x="70" y="{y(10**power) + 4:.0f}" text-anchor="end" fill="{_SOFT}">{_short(10**power)}</text>'
            )
        parts += [
            f'<text x="{x(width):.0f}" y="{begin + tall + 20}" text-anchor="middle" fill="{_SOFT}">{width}</text>'
            for width in widths
        ]
        parts.append(f'<text x="280" y="{begin + tall + 40}" text-anchor="middle" fill="{_TEXT}">{kind}</text>')
        ends = []
        for name, curve in sorted(curves[kind].items(), key=lambda item: item[0] == "guardrail"):  # ours on top
            if not curve:
                continue
            points = " ".join(f"{x(width):.0f},{y(rate):.1f}" for width, rate in sorted(curve.items()))
            thick = 3 if name == "guardrail" else 1.5
            parts.append(f'<polyline points="{points}" fill="none" stroke="{_colour(name)}" stroke-width="{thick}"/>')
            parts += [
                f'<circle cx="{x(width):.0f}" cy="{y(rate):.1f}" r="{thick + 1}" fill="{_colour(name)}"/>'
                for width, rate in curve.items()
            ]
            last = max(curve)
            ends.append((y(curve[last]), x(last), name))
        parts += _labels(ends, begin, begin + tall)
    return "\n".join([*parts, "</svg>\n"])


def _labels(ends: list[tuple[float, float, str]], top: float, bottom: float) -> list[str]:
    """Return the names at the ends of their lines, moved apart where they would cover each other."""
    ends = sorted(ends)
    room = min(18.0, (bottom - top + 10) / max(len(ends), 1))
    places: list[float] = []
    for height, _, _ in ends:
        places.append(max(height, places[-1] + room if places else top))
    over = max(0.0, places[-1] - bottom) if places else 0.0
    for at in reversed(range(len(places))):  # what stands too low is pushed up again
        limit = bottom if at == len(places) - 1 else places[at + 1] - room
        places[at] = min(places[at], limit) if over else places[at]
    parts = []
    for (height, right, name), place in zip(ends, places, strict=True):
        look = f'fill="{_OURS}" font-weight="bold"' if name == "guardrail" else f'fill="{_TEXT}"'
        shown = "the bare function" if name == "bare" else name
        parts.append(
            f'<line x1="{right + 5:.0f}" y1="{height:.1f}" x2="506" y2="{place:.1f}" stroke="#dfe9e6"/>'
            f'<text x="510" y="{place + 4:.1f}" {look}>{escape(shown)}</text>'
        )
    return parts


def _short(rate: int) -> str:
    """Return a power of ten as an axis has room for it."""
    if rate >= 10**6:
        return f"{rate // 10**6:,} M"
    return f"{rate // 1000} k" if rate >= 1000 else str(rate)


def _colour(name: str) -> str:
    return {"guardrail": _OURS, "bare": _BARE}.get(name, _THEIRS)


def _sheet(width: int, height: int, label: str, title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="{label}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#fbfdfc"/><text x="16" y="20" fill="{_SOFT}">{title}</text>',
    ]
