"""Bits of HTML that pages share: tables, states, moments, long texts; all that is told is safe."""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bokeh.models import Button

from latticework.lattice.states import State
from latticework.viz.dashboard.look import widget_style
from latticework.viz.html import escaped
from latticework.viz.states import counted, counts_text
from latticework.viz.words import plain, shortened

if TYPE_CHECKING:
    from latticework.viz.dashboard.feed import Snapshot
    from latticework.viz.dashboard.page import Visit

MOST_LOG = 20_000
"""Characters of a log that are shown: its end."""


def panel(title: str, body: str, *, note: str = "") -> str:
    """A part of a page with a title; `body` and `note` are HTML, `title` too.

    Examples
    --------
    >>> panel("Hosts", "<p>none</p>")
    "<div class='panel'><h2>Hosts</h2><p>none</p></div>"
    """
    beside = f" <span class='faint note'>{note}</span>" if note else ""
    return f"<div class='panel'><h2>{title}{beside}</h2>{body}</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "none") -> str:
    """A table of cells that are HTML.

    Columns whose head begins with ``>`` hold numbers; one whose head begins with ``~`` takes what
    room there is.

    Examples
    --------
    >>> print(table(["host", ">units"], [["node1", "3"]]))
    <div class='scroll'><table><tr><th>host</th><th class='n'>units</th></tr>
    <tr><td>node1</td><td class='n nowrap'>3</td></tr></table></div>
    """
    filled = list(rows)
    if not filled:
        return f"<p class='faint'>{empty}</p>"
    number = [name.startswith(">") for name in head]
    top = "".join(map(_head, head))
    body = "".join(f"\n<tr>{''.join(map(_cell, row, number))}</tr>" for row in filled)
    return f"<div class='scroll'><table><tr>{top}</tr>{body}</table></div>"


def _head(name: str) -> str:
    kind = {">": " class='n'", "~": " class='grow'"}.get(name[:1], "")
    return f"<th{kind}>{name[1:] if kind else name}</th>"


def _cell(text: str, number: bool) -> str:  # noqa: FBT001 - of a mapped function
    return f"<td class='n nowrap'>{text}</td>" if number else f"<td>{text}</td>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Large values with their names beneath; both are HTML.

    Examples
    --------
    >>> facts([("failed", "7")])
    "<div class='row'><div class='fact'><b>7</b><span>failed</span></div></div>"
    """
    parts = [f"<div class='fact'><b>{value}</b><span>{name}</span></div>" for name, value in pairs]
    return f"<div class='row'>{''.join(parts)}</div>"


def square(state: State) -> str:
    """A small square in the colour of a state.

    Examples
    --------
    >>> square(State.FAILED)
    "<i class='key' style='background:var(--failed)'></i>"
    """
    return f"<i class='key' style='background:var(--{state.label})'></i>"


def badge(text: str, kind: str = "") -> str:
    """A word in a frame; `kind` is ``good``, ``bad`` or nothing.

    Examples
    --------
    >>> badge("paused", "bad")
    "<span class='badge bad'>paused</span>"
    """
    return f"<span class='{f'badge {kind}'.strip()}'>{escaped(text, 60)}</span>"


def state_mark(state: State) -> str:
    """A state with its colour.

    Examples
    --------
    >>> state_mark(State.FAILED)
    "<span class='nowrap'><i class='key' style='background:var(--failed)'></i>failed</span>"
    """
    return f"<span class='nowrap'>{square(state)}{state.label}</span>"


def state_bar(counts: Mapping[State, int]) -> str:
    """Counts as a bar of the states' colours, on that of waiting; a single failure can be seen.

    Examples
    --------
    >>> state_bar({State.COMPLETE: 3, State.FAILED: 1}).count("<i ")
    2
    """
    total = max(1, sum(n for _, n in counted(counts)))
    parts = "".join(
        f"<i style='width:{100 * n / total:.3f}%;"
        f"min-width:{2 if state in (State.FAILED, State.BLOCKED) else 0}px;"
        f"background:var(--{state.label})' title='{n:,} {state.label}'></i>"
        for state, n in counted(counts)
        if state is not State.WAITING
    )
    return f"<div class='bar' role='img' aria-label='{escaped(counts_text(counts))}'>{parts}</div>"


def short_name(name: object, limit: int) -> str:
    """A name, in the middle shortened where it is long, with the whole of it where the mouse is.

    Examples
    --------
    >>> short_name("C3-BrainSection0009.tif", 15)
    "<span title='C3-BrainSection0009.tif'>C3-Br…n0009.tif</span>"
    >>> short_name("z0_y3_x0", 15)
    'z0_y3_x0'
    """
    whole, short = escaped(name, 400), escaped(shortened(name, limit), limit)
    return whole if short == whole else f"<span title='{whole}'>{short}</span>"


def moment(at: float | None, *, now: float | None = None) -> str:
    """A time in UTC: of today just the hour, with the whole of it where the mouse is.

    Examples
    --------
    >>> moment(3661.0, now=3700.0)
    "<span class='nowrap' title='1970-01-01 01:01:01 UTC'>01:01:01</span>"
    >>> moment(3661.0, now=1e9)
    "<span class='nowrap' title='1970-01-01 01:01:01 UTC'>1970-01-01 01:01</span>"
    >>> moment(None)
    ''
    """
    if not at or math.isnan(at):
        return ""
    then = datetime.fromtimestamp(at, UTC)
    today = datetime.fromtimestamp(time.time() if now is None else now, UTC).date()
    shown = f"{then:%H:%M:%S}" if then.date() == today else f"{then:%Y-%m-%d %H:%M}"
    return f"<span class='nowrap' title='{then:%Y-%m-%d %H:%M:%S} UTC'>{shown}</span>"


def unit_link(visit: "Visit", snapshot: "Snapshot", stage: str, unit: int) -> str:
    """A link to the page of a unit of a stage, with its name."""
    where = visit.link("lattice-tile", stage=stage, tile=unit)
    found = snapshot.stage(stage)
    named = found is not None and found.lattice.dims and 0 <= unit < len(found.lattice)
    name = found.lattice.tile(unit).name if found is not None and named else str(unit)
    return f"<a href='{where}'>{escaped(stage, 40)} {escaped(name, 60)}</a>"


def text_block(text: str, *, most: int = MOST_LOG) -> str:
    r"""Lines of text as they are, safe within HTML; of a long text the end.

    What overwrote a line on a terminal (progress bars) is told once; control characters are not
    told at all.

    Examples
    --------
    >>> text_block("10 %\r20 %\n<b>\x1b[31m")
    '<pre>20 %\n&lt;b&gt; [31m</pre>'
    """
    cut = len(text) > most
    lines = text[-most:].split("\n")
    last = [line.rstrip("\r").rpartition("\r")[2].replace("\t", "    ") for line in lines]
    safe = [escape(_indented(line), quote=True) for line in last]
    first = "<span class='faint'>… what came before is in the file</span>\n" if cut else ""
    return f"<pre>{first}{chr(10).join(safe).rstrip()}</pre>"


def _indented(line: str) -> str:
    """A line with its indentation, without control characters."""
    bare = line.lstrip(" ")
    return " " * (len(line) - len(bare)) + plain(bare, 2000)


def end_of_file(path: Path, most: int = MOST_LOG) -> str:
    """The end of a text file; what is wrong where it cannot be read.

    Examples
    --------
    >>> end_of_file(Path("nowhere.out"))
    '(cannot be read: No such file or directory)'
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            return file.read(most).decode("utf-8", "replace")
    except OSError as error:
        return f"(cannot be read: {error.strerror or error})"


def button(
    label: str, clicked: Callable[[], None], *, kind: str = "default", **options: Any
) -> Button:
    """A button of the pages' look; `kind` is ``default``, ``primary`` or ``danger``."""
    style = [widget_style()]
    made = Button(label=plain(label, 80), button_type=kind, stylesheets=style, **options)
    made.on_click(lambda _event: clicked())
    return made
