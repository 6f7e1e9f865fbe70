"""Bits of the page that a report is: its look, light and dark, and pieces with text escaped.

The page stands alone: no script, nothing fetched. Pictures are PNG within the page; those with
text are there twice, and the browser takes the one that suits the light.
"""

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any
from urllib.parse import quote

import numpy as np

from latticework.stitch.report_views import BoxUm, Outline
from latticework.viz.figure import INK, PAPER
from latticework.viz.html import escaped
from latticework.viz.pictures import png_address, png_bytes
from latticework.viz.states import Theme, state_colours

Drawn = Callable[[Theme], Any]
"""Draws a matplotlib figure for a theme."""

INCH_PX = 107
"""Pixels of the page for an inch of a figure."""
DPI = INCH_PX
"""Pixels that are drawn for it, before it is made sharper."""

_LOOK = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:14px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif}
main{max-width:1160px;margin:0 auto;padding:28px 24px 64px}
a{color:var(--blue)}
h1{font-size:26px;line-height:1.2;margin:2px 0 10px;font-weight:650;overflow-wrap:anywhere}
h2{font-size:18px;margin:0 0 4px;font-weight:650}
h3{font-size:14px;margin:0 0 6px;font-weight:600}
p{margin:0 0 10px;max-width:78ch}
.over{font-size:12px;color:var(--soft);letter-spacing:.02em}
.say{display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center;margin:0 0 18px;font-size:16px}
.mood{display:inline-flex;align-items:center;gap:7px;padding:2px 12px 2px 10px;border-radius:99px;
font-weight:600;font-size:14px;border:1px solid;white-space:nowrap}
.mood::before{content:"";width:9px;height:9px;border-radius:9px;background:currentColor}
.good{color:var(--good)}.look{color:var(--warn)}.bad{color:var(--bad)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;
margin:0 0 18px}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:10px 14px}
.figures b{display:block;font-size:21px;line-height:1.25;font-weight:650;
font-variant-numeric:tabular-nums}
.figures span{font-size:12px;color:var(--soft);display:block;line-height:1.35}
.notes{border-left:4px solid var(--warn);background:var(--card);border-radius:0 8px 8px 0;
padding:10px 16px;margin:0 0 18px}
.notes.bad-box{border-color:var(--bad)}.notes.quiet{border-color:var(--blue)}
.notes ul{margin:0;padding-left:18px}.notes li{margin:3px 0;overflow-wrap:anywhere}
.notes h3{margin-bottom:2px;color:var(--ink)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 6px;font-size:13px}
section{border-top:1px solid var(--line);margin-top:26px;padding-top:20px}
.caption,.none{color:var(--soft);font-size:13px;max-width:128ch}
.facts{border-collapse:collapse;margin:0}
.facts th{font-weight:400;color:var(--soft);text-align:left;padding:2px 16px 2px 0;
white-space:nowrap;vertical-align:top}
.facts td{padding:2px 0;overflow-wrap:anywhere}
.side{display:grid;grid-template-columns:1fr 1fr;gap:14px}
.thirds{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));
gap:14px 22px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;
min-width:0}
.card .caption{margin:0 0 8px;font-size:12.5px;overflow-wrap:anywhere}
.card picture img{max-width:100%;height:auto}
figure{margin:0;min-width:0}
figure img,.map img{display:block;width:100%;height:auto}
figcaption{font-size:12.5px;color:var(--soft);margin:6px 0 4px}
.shot{position:relative;background:#000;border-radius:6px;overflow:hidden}
.shot svg{position:absolute;inset:0;width:100%;height:100%;display:none}
.shot rect{fill:transparent;stroke:#ffd24a;stroke-width:1px;stroke-opacity:.75;
vector-effect:non-scaling-stroke}
.shot rect:hover{stroke-opacity:1;stroke-width:2.5px}
.shot svg.window{display:block;pointer-events:none}
#outlines:checked~.side .shot svg{display:block}
.strip{margin:0 0 8px;min-width:0}
.square{display:grid;grid-auto-flow:column;grid-auto-columns:1fr;gap:8px;align-items:end}
.strip img{width:100%;height:auto;image-rendering:pixelated;border-radius:4px;background:#000}
.strip span{display:block;font-size:12px;color:var(--soft);margin-bottom:2px}
.map{margin:8px 0 0}
.map img{max-width:100%;width:auto;margin:0 auto}
.chart{display:block;width:100%;max-width:460px;height:auto;overflow:visible}
.chart text{font-size:10.5px;fill:var(--soft)}
.chart .grid{stroke:var(--line);fill:none}.chart .axis{stroke:var(--soft);fill:none}
.key{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:12px;color:var(--soft);padding-left:38px}
.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px;
vertical-align:-1px}
.wide{overflow-x:auto;margin:6px 0 14px}
table.rows{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}
table.rows th{font-weight:600;text-align:left;color:var(--soft);border-bottom:1px solid var(--line);
padding:4px 14px 4px 0;white-space:nowrap;vertical-align:bottom}
table.rows td{padding:3px 14px 3px 0;border-bottom:1px solid var(--line);vertical-align:top}
table.rows th.n,table.rows .n{text-align:right;white-space:nowrap}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px;
overflow-x:auto;font:12.5px/1.5 ui-monospace,"DejaVu Sans Mono",monospace;margin:8px 0 12px}
code{font:12.5px ui-monospace,"DejaVu Sans Mono",monospace}
label{font-size:13px;color:var(--soft);cursor:pointer}
@media(max-width:720px){main{padding:18px 14px 48px}.side{grid-template-columns:1fr}
h1{font-size:22px}.map{overflow-x:auto}.map img{min-width:640px}}
@media print{section{break-inside:avoid}}
"""


def _colours(theme: Theme) -> str:
    from latticework.lattice.states import State

    light = theme == "light"
    return ";".join(
        f"--{name}:{value}"
        for name, value in {
            "paper": PAPER[theme],
            "ink": INK[theme],
            "soft": "#56616d" if light else "#9aa7b4",
            "line": "#e0e4e9" if light else "#2b3138",
            "card": "#f6f8fa" if light else "#1b2026",
            "good": "#21735f" if light else state_colours[State.COMPLETE].dark,
            "warn": "#8a6100" if light else state_colours[State.RUNNING].dark,
            "bad": "#c43a00" if light else state_colours[State.FAILED].dark,
            "blue": "#2f6ea8" if light else "#7ab0e5",
            "other": "#b04bc9" if light else "#cd78f1",
            "third": "#b07a00" if light else "#f6ba00",
        }.items()
    )


def document(title: str, *parts: str, head: str = "") -> str:
    """The whole page.

    Parameters
    ----------
    title
        Of the page, as text.
    parts
        Of its body, as HTML.
    head
        What else stands in its head, before its styles, as HTML.

    Examples
    --------
    >>> page = document("<brain>", "<p>as it is</p>")
    >>> "<title>&lt;brain&gt;</title>" in page, "<p>as it is</p>" in page, "<script" in page
    (True, True, False)
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'{head}<link rel="icon" href="data:,"><title>{escaped(title)}</title>'
        f"<style>:root{{color-scheme:light dark;{_colours('light')}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{_colours('dark')}}}}}{_LOOK}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def section(id: str, title: str, caption: str, *parts: str) -> str:
    """A part of the page with a heading and a caption (text) that says what to look for."""
    head = f'<h2>{escaped(title)}</h2><p class="caption">{escaped(caption, 900)}</p>'
    return f'<section id="{escaped(id)}">{head}{"".join(parts)}</section>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and texts, one a line."""
    lines = "".join(
        f"<tr><th>{escaped(name)}</th><td>{escaped(text, 600)}</td></tr>" for name, text in rows
    )
    return f'<table class="facts">{lines}</table>'


def figures(items: Iterable[tuple[str, str]]) -> str:
    """Large numbers, each with what it is."""
    boxes = "".join(
        f"<div><b>{escaped(value)}</b><span>{escaped(what)}</span></div>" for value, what in items
    )
    return f'<div class="figures">{boxes}</div>'


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows of numbers (to the right) and texts.

    Examples
    --------
    >>> table(["tile", "px"], [["<a>", 1.5]]).count("&lt;a&gt;")
    1
    """
    lines, numeric = [], [False] * len(names)
    for row in rows:
        numeric = [isinstance(value, int | float | np.number) for value in row]
        cells = "".join(
            f'<td class="n">{_number(value)}</td>' if right else f"<td>{escaped(value, 300)}</td>"
            for value, right in zip(row, numeric, strict=True)
        )
        lines.append(f"<tr>{cells}</tr>")
    head = "".join(
        f'<th class="n">{escaped(name)}</th>' if right else f"<th>{escaped(name)}</th>"
        for name, right in zip(names, numeric, strict=True)
    )
    return f'<div class="wide"><table class="rows"><tr>{head}</tr>{"".join(lines)}</table></div>'


def _number(value: Any) -> str:
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    return "–" if not np.isfinite(value) else f"{float(value):.2f}"


def link(name: str, text: str) -> str:
    """A link to a file beside the page."""
    return f'<a href="{escaped(quote(name), 900)}">{escaped(text)}</a>'


def png(picture: np.ndarray) -> str:
    """An address of a uint8 picture, grey or in colours, that holds the picture itself."""
    return png_address(png_bytes(picture))


def picture(draw: Drawn, alt: str, *, sharp: float = 2.0) -> str:
    """A matplotlib figure, drawn for light and for dark pages.

    Parameters
    ----------
    draw
        Draws it for a theme.
    alt
        Its text where pictures are not shown.
    sharp
        Pixels for each pixel of the page.
    """

    def drawn(theme: Theme) -> tuple[str, int]:
        figure, file = draw(theme), BytesIO()
        figure.set_facecolor("none")
        figure.savefig(file, format="png", dpi=sharp * DPI, transparent=True)
        return png_address(file.getvalue()), round(figure.get_figwidth() * INCH_PX)

    (light, width), (dark, _) = drawn("light"), drawn("dark")
    return (
        f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" width="{width}" alt="{escaped(alt)}"></picture>'
    )


def shot(picture: np.ndarray, alt: str, over: str = "") -> str:
    """A grey picture with what lies over it."""
    return f'<div class="shot"><img src="{png(picture)}" alt="{escaped(alt)}">{over}</div>'


def outlines(tiles: Iterable[Outline], box_um: BoxUm, kind: str = "tiles") -> str:
    """Tiles as rectangles over a picture of `box_um`, each with its name to hover."""
    top, left, bottom, right = box_um
    parts = []
    for tile in tiles:
        y, x, far_y, far_x = tile.box_um
        parts.append(
            f'<rect x="{x - left:.6g}" y="{y - top:.6g}" width="{far_x - x:.6g}" '
            f'height="{far_y - y:.6g}"><title>{escaped(tile.name, 80)}</title></rect>'
        )
    return (
        f'<svg class="{kind}" viewBox="0 0 {right - left:.6g} {bottom - top:.6g}" '
        f'preserveAspectRatio="none">{"".join(parts)}</svg>'
    )


__all__ = [
    "document",
    "facts",
    "figures",
    "link",
    "outlines",
    "picture",
    "png",
    "section",
    "shot",
    "table",
]
