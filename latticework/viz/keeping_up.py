"""The keep-up gauge as text and in notebooks."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from latticework.lattice.states import State
from latticework.viz import words
from latticework.viz.html import escaped, framed, state_fill

if TYPE_CHECKING:
    from latticework.project.keeping_up import KeepingUp, StagePace

FAR_S = 1000 * 86400.0
"""Seconds until the disk is full that are not worth a word."""
NO_ROOM = ": free some space"
VERDICTS = {True: "keeps up", False: "falls behind", None: "too early to tell"}


def per_minute(rate: float | None) -> str:
    """Units per minute.

    Examples
    --------
    >>> per_minute(6), per_minute(0.04), per_minute(1234.5), per_minute(None)
    ('6.0/min', '0.04/min', '1,234/min', '?')
    """
    if rate is None:
        return "?"
    return (
        f"{rate:,.0f}/min" if rate >= 100 else f"{rate:.1f}/min" if rate >= 1 else f"{rate:.2g}/min"
    )


def arrivals_line(gauge: "KeepingUp") -> str:
    """What arrives."""
    more = f", {gauge.announced:,} announced" if gauge.announced else ""
    if gauge.arriving_per_minute is None:
        return f"none seen to arrive lately ({words.plural(gauge.tiles, 'tile')} so far{more})"
    rate = per_minute(gauge.arriving_per_minute).replace("/", " tiles/")
    return f"{rate} arrive ({gauge.tiles:,} so far{more})"


def verdict(pace: "StagePace") -> str:
    """Whether a stage keeps up, in words."""
    if pace.needed_per_minute is None:
        if not pace.backlog and pace.held:
            return "waits"
        return "complete" if not pace.backlog else "at work" if pace.per_minute else "waits"
    return VERDICTS[pace.keeps_up]


def rates(pace: "StagePace") -> str:
    """What a stage does, and what it should."""
    if pace.per_minute is None and pace.needed_per_minute is None:
        return ""
    text = per_minute(pace.per_minute)
    return (
        text
        if pace.needed_per_minute is None
        else f"{text} of {per_minute(pace.needed_per_minute)}"
    )


def to_do(pace: "StagePace") -> str:
    """What a stage has to do, and how long that takes."""
    if not pace.backlog:
        text = "nothing to do"
    elif pace.time_left_s is None:
        text = f"{pace.backlog:,} to do"
    else:
        text = f"{pace.backlog:,} to do, {words.time_left(pace.time_left_s)} at this rate"
        if pace.keeps_up and pace.catches_up_s is not None and math.isfinite(pace.catches_up_s):
            more = words.time_left(pace.catches_up_s)
            text += f" ({more} with what arrives)" if pace.needed_per_minute else ""
    if pace.held:
        text += f", {pace.held:,} wait for more tiles"
    return f"{text}, {pace.stuck:,} failed or blocked" if pace.stuck else text


def disk_line(gauge: "KeepingUp") -> str | None:
    """What room is left."""
    if gauge.disk_free_bytes is None:
        return None
    text = f"disk: {words.size(gauge.disk_free_bytes)} free"
    if gauge.disk_full_s is not None and gauge.disk_full_s < FAR_S:
        text += f", full in {words.time_left(gauge.disk_full_s)} at this rate"
    if not gauge.fits:
        text += f"; what is to do needs {words.size(gauge.disk_needed_bytes)}{NO_ROOM}"
    return text


def gauge_text(gauge: "KeepingUp") -> str:
    """The gauge as lines of text."""
    rows = [
        (words.plain(pace.name, 40), verdict(pace), rates(pace), to_do(pace))
        for pace in gauge.stages
    ]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(3)]
    lines = [arrivals_line(gauge)]
    for *cells, last in rows:
        columns = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append(f"  {'  '.join(columns)}  {last}")
    disk = disk_line(gauge)
    return "\n".join([*lines, *([] if disk is None else [disk])])


def gauge_brief(gauge: "KeepingUp", *, held: int = 0) -> str:
    """The gauge in two or three lines, to stand below bars that say the rest.

    Parameters
    ----------
    gauge
        The gauge.
    held
        Files that were seen but are not read yet.
    """
    waiting = f", {words.plural(held, 'file')} not finished yet" if held else ""
    lines = [f"{arrivals_line(gauge)}{waiting}"]
    behind = [pace for pace in gauge.stages if pace.keeps_up is False]
    for pace in behind:
        name = words.plain(pace.name, 40)
        lines.append(f"{name} {VERDICTS[False]}: {rates(pace)}, {to_do(replace(pace, stuck=0))}")
    if gauge.stages and not behind and gauge.arriving_per_minute is not None:
        many = "every stage" if len(gauge.stages) > 1 else words.plain(gauge.stages[0].name, 40)
        lines[0] += f"; {VERDICTS[None]}" if gauge.keeps_up is None else f"; {many} keeps up"
    disk = disk_line(gauge)
    return "\n".join([*lines, *([] if disk is None else [disk])])


def alarming(line: str) -> bool:
    """Whether a line of the gauge is bad news."""
    return VERDICTS[False] in line or line.endswith(NO_ROOM)


def gauge_html(gauge: "KeepingUp") -> str:
    """The gauge as a table, with a bar of what is complete for each stage."""
    rows = []
    for pace in gauge.stages:
        share = 100 * pace.complete / pace.units if pace.units else 0
        colour = state_fill(State.FAILED if pace.keeps_up is False else State.COMPLETE)
        bar = (
            '<svg width="90" height="9" role="img"><title>'
            f"{pace.complete:,} of {pace.units:,} complete</title>"
            '<rect width="90" height="9" fill="currentColor" opacity=".12"/>'
            f'<rect width="{0.9 * share:.1f}" height="9" fill="{colour}"/></svg>'
        )
        cells = "".join(f"<td>{escaped(text)}</td>" for text in (verdict(pace), to_do(pace)))
        rows.append(
            f"<tr><td>{escaped(pace.name, 60)}</td><td>{bar}</td>"
            f'<td class="lw-n">{escaped(rates(pace))}</td>{cells}</tr>'
        )
    disk = disk_line(gauge)
    below = "" if disk is None else f'<div class="lw-m">{escaped(disk)}</div>'
    return framed(
        f'<div class="lw-h">{escaped(arrivals_line(gauge))}</div>',
        f'<table class="lw-t">{"".join(rows)}</table>{below}',
    )
