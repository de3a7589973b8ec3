"""The pictures of a load: SVG by hand, coloured by the page's own style, with words for those who cannot see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

_WIDTH: Final = 520
_HEIGHT: Final = 272
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 74, 14, 44
_STEPS: Final = (1, 2, 5)
_DECADES: Final = 2.5  # of a logarithmic axis, from which on only powers of ten are named
_WIDE: Final = 8  # times the smallest, from which on an axis is logarithmic
_APART: Final = 13  # between two labels
_NINES: Final = ((0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"))
_WHOLE: Final = 100  # per cent
_BAR, _GAP, _SHARES_LEFT = 20, 8, 62


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        label: Stands at its end.
        style: Its class in the page's style: its colour and width.
        points: Pairs of numbers, by the first.
        tips: What is said of each point.
    """

    label: str
    style: str
    points: Sequence[tuple[float, float]]
    tips: Sequence[str] = ()


class Mark(NamedTuple):
    """A level or a place that is marked by a dashed line.

    Attributes:
        at: The number on its axis.
        label: What it is.
        style: Its class.
    """

    at: float
    label: str
    style: str


class _Axis:
    """Maps numbers to places; by their logarithm, where they lie far apart."""

    def __init__(self, numbers: Iterable[float], start: float, stop: float, *, log: bool, zero: bool = False) -> None:
        known = [each for each in numbers if each > 0] or [1.0]
        low, high = min(known), max(known)
        self.log = log
        if log:
            low, high = low / 1.15, high * 1.15
        else:
            room = 0.06 * (high - low) or 0.5 * high
            low, high = (0.0 if zero else max(0.0, low - room)), high + room
        self.low, self.high, self._start, self._stop = low, high, start, stop

    def at(self, number: float) -> float:
        number = min(max(number, self.low), self.high)
        if self.log:
            share = math.log(number / self.low) / math.log(self.high / self.low)
        else:
            share = (number - self.low) / (self.high - self.low)
        return self._start + share * (self._stop - self._start)

    def ticks(self) -> list[float]:
        if self.log:
            decades = math.log10(self.high / self.low)
            steps = _STEPS if decades < _DECADES else (1,)
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [step * 10.0**power for power in powers for step in steps]
        else:
            rough = (self.high - self.low) / 5
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
            found = [step * at for at in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [each for each in found if self.low <= each <= self.high]


def curve(
    lines: Sequence[Line], *, title: str, words: str, x: str, y_name: Callable[[float], str], level: Mark | None = None,
    places: Sequence[Mark] = (), log_y: bool = False,
) -> str:  # fmt: skip
    """Return a chart of lines over the load.

    Args:
        lines: What is drawn.
        title: What it shows.
        words: What is to be seen, in a sentence or two.
        x: What the horizontal axis is.
        y_name: How a number of the vertical axis is written.
        level: A horizontal mark, such as the budget.
        places: Vertical marks.
        log_y: Whether the vertical axis is logarithmic.
    """
    xs = [point[0] for line in lines for point in line.points]
    ys = [point[1] for line in lines for point in line.points] + ([level.at] if level else [])
    across = _Axis(xs, _LEFT, _WIDTH - _RIGHT, log=bool(xs) and max(xs) > _WIDE * min(xs))
    up = _Axis(ys, _HEIGHT - _BOTTOM, _TOP, log=log_y, zero=True)
    parts = []
    for tick in up.ticks():
        at = up.at(tick)
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{at:.1f}' y2='{at:.1f}'/>")
        parts.append(_text(_LEFT - 8, at + 4, y_name(tick), "end"))
    for number in _distinct(xs, across):
        parts.append(
            f"<line class='tick' x1='{across.at(number):.1f}' x2='{across.at(number):.1f}' y1='{_HEIGHT - _BOTTOM}' y2='{_HEIGHT - _BOTTOM + 4}'/>"
        )
        parts.append(_text(across.at(number), _HEIGHT - _BOTTOM + 18, f"{number:,.4g}", "middle"))
    parts.append(f"<line class='axis' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{_HEIGHT - _BOTTOM}' y2='{_HEIGHT - _BOTTOM}'/>")
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x, "middle"))
    for mark in places:
        at = across.at(mark.at)
        parts.append(f"<line class='mark {mark.style}' x1='{at:.1f}' x2='{at:.1f}' y1='{_TOP}' y2='{_HEIGHT - _BOTTOM}'/>")
        right = at <= _WIDTH / 3  # where there is room for the label
        parts.append(
            _text(at + 5 if right else at - 5, _TOP + 10, mark.label, "start" if right else "end", f"label {mark.style}")
        )
    ends: list[tuple[float, str, str]] = []
    if level is not None:
        at = up.at(level.at)
        parts.append(f"<line class='mark {level.style}' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{at:.1f}' y2='{at:.1f}'/>")
        ends.append((at, level.label, f"label {level.style}"))
    for line in lines:
        parts.append(_drawn(line, across, up))
        if line.points:
            ends.append((up.at(line.points[-1][1]), line.label, f"label {line.style}"))
    parts += _labels(ends)
    return _svg(_HEIGHT, title, words, parts)


def shares(rows: Sequence[tuple[str, Mapping[str, float]]], styles: Mapping[str, str], *, title: str, words: str) -> str:
    """Return a chart of bars of equal length, each divided by the shares of its parts.

    Args:
        rows: A name, and the share of each part, for each bar.
        styles: The class of each part, in the order of drawing.
        title: What it shows.
        words: What is to be seen.
    """
    height = len(rows) * (_BAR + _GAP) + 26
    whole = _WIDTH - _SHARES_LEFT - 14
    parts = []
    for at, (name, of) in enumerate(rows):
        top, left = at * (_BAR + _GAP) + 2, float(_SHARES_LEFT)
        parts.append(_text(_SHARES_LEFT - 10, top + 15, name, "end"))
        total = sum(of.values()) or 1.0  # stages inside others come to more than the whole
        for part, style in styles.items():
            width = of.get(part, 0.0) / total * whole
            if width >= 0.5:  # noqa: PLR2004 - half a pixel is not seen
                tip = f"{part}: {of[part] / total:.1%} at {name}"
                parts.append(
                    f"<rect class='{style}' x='{left:.1f}' y='{top}' width='{max(width - 1.5, 0.5):.1f}' height='{_BAR}' rx='2'>"
                    f"<title>{escape(tip)}</title></rect>"
                )
            left += width
    parts += [
        _text(
            _SHARES_LEFT + whole * share / _WHOLE,
            height - 6,
            f"{share} %",
            "middle" if 0 < share < _WHOLE else "end" if share else "start",
        )
        for share in (0, 25, 50, 75, _WHOLE)
    ]
    return _svg(height, title, words, parts)


def percentiles(
    lines: Sequence[Line], *, title: str, words: str, y_name: Callable[[float], str], level: Mark | None = None
) -> str:
    """Return a chart of latency by the share of calls that were as quick: each further nine is as far as the one before."""
    ys = [point[1] for line in lines for point in line.points] + ([level.at] if level else [])
    up = _Axis(ys, _HEIGHT - _BOTTOM, _TOP, log=True)
    most = max((point[0] for line in lines for point in line.points), default=0.99)
    shown = [(share, name) for share, name in _NINES if share <= most + 1e-12]
    nines = _Axis([1, 1 + max(_nines(most), 0.5)], _LEFT, _WIDTH - _RIGHT, log=False)
    nines.low, nines.high = 0.0, max(_nines(most), 0.5)
    parts = []
    for tick in up.ticks():
        at = up.at(tick)
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{at:.1f}' y2='{at:.1f}'/>")
        parts.append(_text(_LEFT - 8, at + 4, y_name(tick), "end"))
    parts.append(f"<line class='axis' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{_HEIGHT - _BOTTOM}' y2='{_HEIGHT - _BOTTOM}'/>")
    for share, name in shown:
        at = nines.at(_nines(share))
        parts.append(f"<line class='tick' x1='{at:.1f}' x2='{at:.1f}' y1='{_HEIGHT - _BOTTOM}' y2='{_HEIGHT - _BOTTOM + 4}'/>")
        parts.append(_text(at, _HEIGHT - _BOTTOM + 18, name, "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "share of calls that were as quick, or quicker", "middle"))
    ends: list[tuple[float, str, str]] = []
    if level is not None:
        at = up.at(level.at)
        parts.append(f"<line class='mark {level.style}' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{at:.1f}' y2='{at:.1f}'/>")
        ends.append((at, level.label, f"label {level.style}"))
    for line in lines:
        turned = Line(line.label, line.style, [(_nines(share), seconds) for share, seconds in line.points], line.tips)
        parts.append(_drawn(turned, nines, up, dots=False))
        if line.points:
            ends.append((up.at(line.points[-1][1]), line.label, f"label {line.style}"))
    parts += _labels(ends)
    return _svg(_HEIGHT, title, words, parts)


def _nines(share: float) -> float:
    return -math.log10(1 - share)


def _drawn(line: Line, across: _Axis, up: _Axis, *, dots: bool = True) -> str:
    places = [(across.at(x), up.at(y)) for x, y in line.points]
    drawn = ""
    if len(places) > 1:
        drawn = f"<polyline class='line {line.style}' points='{' '.join(f'{x:.1f},{y:.1f}' for x, y in places)}'/>"
    if dots or len(places) == 1:
        for at, (x, y) in enumerate(places):
            tip = f"<title>{escape(line.tips[at])}</title>" if line.tips else ""
            drawn += f"<circle class='dot {line.style}' cx='{x:.1f}' cy='{y:.1f}' r='3.5'>{tip}</circle>"
    return drawn


def _labels(ends: list[tuple[float, str, str]]) -> list[str]:
    """Return the labels at the lines' ends, pushed apart where they would lie on each other."""
    parts = []
    before = -math.inf
    placed: list[tuple[float, str, str]] = []
    for at, label, style in sorted(ends):
        before = max(at, before + _APART)
        placed.append((before, label, style))
    over = max((placed[-1][0] if placed else 0) - (_HEIGHT - _BOTTOM), 0)
    for at, label, style in placed:
        parts.append(_text(_WIDTH - _RIGHT + 8, at - over + 4, label, "start", style))
    return parts


def _distinct(numbers: Iterable[float], axis: _Axis) -> list[float]:
    """Return the numbers that have room for their names beside each other."""
    found: list[float] = []
    for number in sorted(set(numbers)):
        if not found or axis.at(number) - axis.at(found[-1]) > 34:  # noqa: PLR2004 - pixels of a short number
            found.append(number)
    return found


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return f"<text class='{style or 'words'}' x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'>{escape(text)}</text>"


def _svg(height: float, title: str, words: str, parts: Iterable[str]) -> str:
    return f"<svg viewBox='0 0 {_WIDTH} {height}' role='img' aria-label='{escape(f'{title}. {words}', quote=True)}'>{''.join(parts)}</svg>"
