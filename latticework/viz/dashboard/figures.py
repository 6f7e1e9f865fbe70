"""Figures of the pages: Bokeh's, in the pages' look."""

import re
from typing import Any

from bokeh.models import (
    BasicTicker,
    DatetimeTickFormatter,
    NumeralTickFormatter,
    PlainText,
    Plot,
    Title,
)
from bokeh.plotting import figure

from latticework.viz.dashboard.look import Palette
from latticework.viz.words import plain

SERIES = {
    "light": ("#1f6aa5", "#b35900", "#25735f", "#8a3fa0", "#6b5f00", "#a3274f", "#4c5a68"),
    "dark": ("#6db3ec", "#f0a050", "#54c7a9", "#d08ce6", "#d6c64a", "#f2829f", "#a9b6c3"),
}
"""Colours of several series in one figure; each is readable on its theme's panel."""

_FORMULA = re.compile(r"\$\$|\\[\[(]")
"""How formulas begin that Bokeh's axes and titles would draw as such."""


def literal(text: str) -> "str | PlainText":
    r"""Text as an axis or a title is given it so that it is drawn letter by letter.

    Examples
    --------
    >>> literal("round 3"), literal(r"\frac 1 2")
    ('round 3', '\\frac 1 2')
    >>> literal("$$x^2$$").text
    '$$x^2$$'
    """
    return PlainText(text=text) if _FORMULA.search(text) else text


def new_figure(
    palette: Palette, title: str, *, height: int = 240, moments: bool = False, **options: Any
) -> figure:
    """An empty figure as wide as there is room.

    Parameters
    ----------
    palette
        Colours of the page's theme.
    title
        Above it.
    height
        In pixels.
    moments
        Whether its x axis is time (seconds since 1970, times 1000).
    **options
        Further ones of `bokeh.plotting.figure`.
    """
    made = figure(
        title=Title(text=literal(plain(title, 120))),
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools=options.pop("tools", ""),
        x_axis_type="datetime" if moments else options.pop("x_axis_type", "auto"),
        min_border_right=18,
        min_border_left=58,
        min_border_top=36,
        min_border_bottom=34,
        margin=(0, 0, 14, 0),
        styles={
            "background": palette.panel,
            "border": f"1px solid {palette.line}",
            "border-radius": "8px",
            "overflow": "hidden",
        },
        **options,
    )
    made.outline_line_color = None
    made.title.standoff = 10
    made.xgrid.visible = False
    if moments:
        made.xaxis.formatter = time_format()
    return made


def time_format() -> DatetimeTickFormatter:
    """Hours and minutes; days where the axis is long."""
    return DatetimeTickFormatter(
        seconds="%H:%M:%S",
        minsec="%H:%M:%S",
        minutes="%H:%M",
        hourmin="%H:%M",
        hours="%H:%M",
        days="%d %b",
        months="%b %Y",
    )


def whole_numbers(made: Plot) -> None:
    """Whole numbers along the y axis, from zero."""
    made.yaxis.formatter = NumeralTickFormatter(format="0,0")
    made.yaxis.ticker = BasicTicker(min_interval=1)
    made.y_range.start = 0


def series(theme: str, number: int) -> str:
    """Colour of the series with a number; they come again after some."""
    colours = SERIES[theme]
    return colours[number % len(colours)]


def nice_step(span_s: float, most: int) -> float:
    """A length of time in which a span has at most so many, of those that people use.

    Examples
    --------
    >>> [nice_step(span, 60) for span in (30, 600, 3600, 86_400, 30 * 86_400)]
    [1.0, 10.0, 60.0, 1800.0, 43200.0]
    """
    for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200):
        if span_s <= step * most:
            return float(step)
    days = 1
    while span_s > days * 86_400 * most:
        days *= 2
    return 86_400.0 * days
