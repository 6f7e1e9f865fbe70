"""How the pages look: colours, fonts, light and dark, for HTML and for Bokeh's figures alike."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from bokeh.core.properties import value
from bokeh.models import InlineStyleSheet
from bokeh.themes import Theme as BokehTheme

from latticework.lattice.states import State
from latticework.viz.states import Theme, state_colours

FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one theme."""

    page: str
    """Behind everything."""
    panel: str
    """Behind a panel."""
    line: str
    """Borders and grid lines."""
    text: str
    """Words."""
    faint: str
    """Words of less weight; still readable (contrast above 4.5)."""
    accent: str
    """Links, and the one series of a plot."""
    good: str
    """What is well."""
    bad: str
    """What is not."""


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        "#f4f5f7", "#ffffff", "#d8dde3", "#1c2733", "#5a6675", "#1f6aa5", "#25735f", "#b83600"
    ),
    "dark": Palette(
        "#14181c", "#1c2126", "#39424b", "#e6ebf0", "#9aa6b2", "#6db3ec", "#54c7a9", "#ff8a57"
    ),
}
"""The colours of pages."""


def state_palette(theme: Theme) -> list[str]:
    """Hex colours of the states, by their numbers.

    Examples
    --------
    >>> state_palette("light")[State.FAILED]
    '#ef4800'
    """
    return [state_colours[state].on(theme) for state in State]


@cache
def bokeh_theme(theme: Theme) -> BokehTheme:
    """What Bokeh's figures take their colours from."""
    colours = PALETTES[theme]
    text: dict[str, Any] = {"text_font": FONT, "text_color": colours.text}
    attrs: dict[str, Any] = {
        "Plot": {
            "background_fill_color": colours.panel,
            "border_fill_color": colours.panel,
            "outline_line_color": colours.line,
        },
        "Grid": {"grid_line_color": colours.line, "grid_line_alpha": 0.6},
        "Axis": {
            "axis_line_color": colours.line,
            "major_tick_line_color": colours.line,
            "minor_tick_line_color": None,
            "axis_label_text_color": colours.faint,
            "axis_label_text_font": FONT,
            "axis_label_text_font_style": "normal",
            "axis_label_text_font_size": "12px",
            "major_label_text_color": colours.faint,
            "major_label_text_font": FONT,
            "major_label_text_font_size": "11px",
        },
        "Title": {**text, "text_font_size": "13px", "text_font_style": "bold"},
        "Label": text,
        "Text": {"text_font": value(FONT), "text_color": value(colours.text)},
        "Legend": {
            "background_fill_color": colours.panel,
            "background_fill_alpha": 0.85,
            "border_line_color": colours.line,
            "label_text_color": colours.text,
            "label_text_font": FONT,
            "label_text_font_size": "11px",
        },
    }
    return BokehTheme(json={"attrs": attrs})


def variables(theme: Theme) -> str:
    """The colours as CSS variables: ``--panel`` and others, ``--failed`` and others for states."""
    colours = PALETTES[theme]
    named = {name: getattr(colours, name) for name in Palette.__slots__}
    named |= {look.label: look.on(theme) for look in state_colours.values()}
    return ";".join(f"--{name}:{colour}" for name, colour in named.items())


@cache
def asset(name: str) -> str:
    """A file that comes with the pages, as text."""
    return (files("latticework.viz.dashboard") / "assets" / name).read_text(encoding="utf-8")


def widget_style() -> InlineStyleSheet:
    """The style of what is within Bokeh's widgets, which the page's own style does not reach."""
    return InlineStyleSheet(css=asset("widgets.css"))
