"""Small charts as SVG for a page: histograms and profiles, in the colours of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latticework.viz.html import escaped

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, FOOT = 38, 10, 10, 36
BINS = 28


@dataclass(frozen=True, slots=True)
class Series:
    """Values that are drawn in one colour."""

    name: str
    """In the legend."""
    values: np.ndarray
    """What is counted, or the heights of a line."""
    colour: str = "var(--blue)"
    """CSS colour."""


def histogram(series: Sequence[Series], xlabel: str, *, ylabel: str = "links") -> str:
    """How often which values occur, as an SVG; nothing but a sentence where there are none.

    Examples
    --------
    >>> import numpy as np
    >>> "<svg" in histogram([Series("a", np.arange(9.0))], "px")
    True
    >>> histogram([Series("a", np.zeros(0))], "px")
    '<p class="none">Nothing to count: px</p>'
    """
    known = [Series(s.name, s.values[np.isfinite(s.values)], s.colour) for s in series]
    known = [s for s in known if len(s.values)]
    if not known:
        return f'<p class="none">Nothing to count: {escaped(xlabel)}</p>'
    every = np.concatenate([s.values for s in known])
    low, high = float(every.min()), float(every.max())
    low = 0.0 if 0 <= low < 0.5 * high or high <= low else low
    high = high if high > low else low + 1.0
    edges = np.linspace(low, high, BINS + 1)
    counts = [np.histogram(s.values, edges)[0] for s in known]
    most = int(max(of.max() for of in counts))
    x, y = _Scale(low, high, LEFT, WIDTH - RIGHT), _Scale(0, most, HEIGHT - FOOT, TOP)
    parts = [_axes(x, y, xlabel, ylabel, whole=True)]
    for one, of in zip(known, counts, strict=True):
        path = f"M{x(low):.1f} {y(0):.1f}"
        for k, n in enumerate(of.tolist()):
            path += f"V{y(n):.1f}H{x(edges[k + 1]):.1f}"
        parts.append(
            f'<path d="{path}V{y(0):.1f}z" fill="{one.colour}" fill-opacity=".38" '
            f'stroke="{one.colour}" stroke-width="1"/>'
        )
    return _svg(parts, xlabel) + _legend(known)


def profile(series: Sequence[Series], xlabel: str, ylabel: str) -> str:
    """Lines, each over the whole width, as an SVG.

    Examples
    --------
    >>> import numpy as np
    >>> chart = profile([Series("down the middle", np.ones(5))], "share", "light")
    >>> chart.count('stroke-width="2"')
    1
    """
    every = np.concatenate([s.values for s in series])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    pad = max(0.05 * (high - low), 0.01)
    x, y = _Scale(0, 1, LEFT, WIDTH - RIGHT), _Scale(low - pad, high + pad, HEIGHT - FOOT, TOP)
    parts = [_axes(x, y, xlabel, ylabel)]
    for one in series:
        at = np.unique(np.linspace(0, len(one.values) - 1, 160).round().astype(int))
        points = [
            f"{x(k / max(1, len(one.values) - 1)):.1f} {y(float(one.values[k])):.1f}"
            for k in at.tolist()
        ]
        parts.append(
            f'<path d="M{"L".join(points)}" fill="none" stroke="{one.colour}" stroke-width="2"/>'
        )
    return _svg(parts, ylabel) + _legend(series)


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places on the picture."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.stop - self.start)

    def ticks(self, about: int, *, whole: bool = False) -> list[float]:
        """Round numbers within the scale."""
        step = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= step * 0.999)
        if whole:
            step = max(1.0, float(round(step)))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def _axes(x: _Scale, y: _Scale, xlabel: str, ylabel: str, *, whole: bool = False) -> str:
    parts = []
    for value in y.ticks(4, whole=whole):
        at = f"{y(value):.1f}"
        parts.append(
            f'<path class="grid" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        )
    parts += [
        f'<text x="{x(value):.1f}" y="{HEIGHT - FOOT + 14}" text-anchor="middle">'
        f"{_number(value)}</text>"
        for value in x.ticks(5)
    ]
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - FOOT}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{escaped(xlabel)}</text>'
        f'<text x="-{(HEIGHT - FOOT + TOP) / 2:.0f}" y="9" transform="rotate(-90)" '
        f'text-anchor="middle">{escaped(ylabel)}</text>'
    )
    return "".join(parts)


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) > 1e-12 else "0"


def _svg(parts: Sequence[str], label: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escaped(label)}">{"".join(parts)}</svg>'
    )


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    items = "".join(
        f'<span><i style="background:{one.colour}"></i>{escaped(one.name)}</span>' for one in series
    )
    return f'<div class="key">{items}</div>'


__all__ = ["Series", "histogram", "profile"]
