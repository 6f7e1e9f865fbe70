"""The pipeline as a graph: a box for each stage with how it stands, a line for each thing read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE
from latticework.viz.dashboard.feed import StageNow
from latticework.viz.html import escaped
from latticework.viz.states import counted
from latticework.viz.words import percent

WIDTH, HEIGHT = 168, 58
"""Pixels of a box."""
ACROSS, DOWN = 54, 18
"""Pixels between boxes."""
SMALLEST = 0.65
"""To what part of its size it shrinks where there is little room; then it is scrolled."""
EDGE = 6
"""Pixels around all of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box is, in columns and rows of boxes."""

    column: int
    """How many stages come before it, at most."""
    row: float
    """Its place in the column."""


def places(parents: Mapping[str, Sequence[str]]) -> dict[str, Place]:
    """Where each stage of a pipeline is drawn: right of what it reads, near to it.

    Parameters
    ----------
    parents
        What each stage reads; parents first, the source included.

    Examples
    --------
    >>> found = places({"source": (), "a": ("source",), "b": ("source",), "c": ("a", "b")})
    >>> {name: (place.column, place.row) for name, place in found.items()}
    {'source': (0, 0.5), 'a': (1, 0.0), 'b': (1, 1.0), 'c': (2, 0.5)}
    """
    column: dict[str, int] = {}
    for name, above in parents.items():
        column[name] = 1 + max((column[p] for p in above if p in column), default=-1)
    row: dict[str, float] = {}
    tallest = max((list(column.values()).count(k) for k in set(column.values())), default=1)
    for number in range(max(column.values(), default=-1) + 1):
        mine = [name for name in parents if column[name] == number]
        wished = {
            name: _mean([row[p] for p in parents[name] if p in row], (tallest - 1) / 2)
            for name in mine
        }
        first = _mean(list(wished.values()), 0.0) - (len(mine) - 1) / 2
        first = min(max(0.0, first), tallest - len(mine))
        for k, name in enumerate(sorted(mine, key=wished.__getitem__)):
            row[name] = first + k
    return {name: Place(column[name], row[name]) for name in parents}


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def graph_svg(
    stages: Sequence[StageNow],
    notes: Mapping[str, str],
    tiles: int,
    link: Callable[[str], str],
) -> str:
    """The pipeline as SVG, with colours of the page's theme (CSS variables).

    Parameters
    ----------
    stages
        The stages, parents first.
    notes
        A word for some stages, such as ``"paused"``.
    tiles
        Tiles of the acquisition.
    link
        Gives the address to which a stage's box leads, escaped for an attribute.
    """
    where = places({SOURCE: (), **{stage.name: stage.parents for stage in stages}})
    columns = 1 + max(place.column for place in where.values())
    rows = 1 + max(place.row for place in where.values())
    width = 2 * EDGE + columns * WIDTH + (columns - 1) * ACROSS
    height = 2 * EDGE + rows * HEIGHT + (rows - 1) * DOWN
    wires = [
        wire(where, parent, stage.name)
        for stage in stages
        for parent in stage.parents
        if parent in where
    ]
    lowest = max((y for points in wires for _, y in points), default=0.0)
    height = max(height, lowest + EDGE)
    lines = [_line(points) for points in wires]
    boxes = [_source(where[SOURCE], tiles)]
    boxes += [_box(where[s.name], s, notes.get(s.name, ""), link(s.name)) for s in stages]
    return (
        f'<svg role="img" aria-label="the pipeline as a graph" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'style="font:12px system-ui,sans-serif;display:block;height:auto;max-width:100%;'
        f'min-width:{SMALLEST * width:.0f}px">{"".join(lines + boxes)}</svg>'
    )


def _corner(place: Place) -> tuple[float, float]:
    return EDGE + place.column * (WIDTH + ACROSS), EDGE + place.row * (HEIGHT + DOWN)


def wire(where: Mapping[str, Place], parent: str, child: str) -> list[tuple[float, float]]:
    """The points that the line from a parent to a child goes through, in pixels.

    A line that skips columns keeps clear of the boxes in them: it goes through the gap beside them
    that is nearest to its way.

    Examples
    --------
    >>> where = places({"source": (), "light": ("source",), "even": ("source", "light")})
    >>> wire(where, "light", "even")
    [(396, 35.0), (450, 35.0)]
    >>> wire(where, "source", "even")
    [(174, 35.0), (228, 73.0), (396, 73.0), (450, 35.0)]
    """
    begin, end = where[parent], where[child]
    (x0, y0), (x1, y1) = _corner(begin), _corner(end)
    points = [(x0 + WIDTH, y0 + HEIGHT / 2)]
    last = points[0][1]
    for column in range(begin.column + 1, end.column):
        rows = [place.row for place in where.values() if place.column == column]
        share = (column - begin.column) / (end.column - begin.column)
        straight = points[0][1] + share * (y1 + HEIGHT / 2 - points[0][1])
        last = min(_gaps(rows), key=lambda y: (abs(y - straight) + abs(y - last) / 2, -y))
        x, _ = _corner(Place(column, 0))
        points += [(x, last), (x + WIDTH, last)]
    return [*points, (x1, y1 + HEIGHT / 2)]


def _gaps(rows: Sequence[float]) -> list[float]:
    """Heights in a column at which a line is clear of the boxes there."""
    tops = [_corner(Place(0, row))[1] for row in rows]
    below = [top + HEIGHT + DOWN / 2 for top in tops]
    above = [top - DOWN / 2 for top in tops if top - DOWN / 2 > EDGE / 2]
    free = [y for y in (*above, *below) if all(not top < y < top + HEIGHT for top in tops)]
    return sorted(set(free))


def _line(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line through points: bent from one column to the next, straight beside a box."""
    (x, y), *others = points
    path = f"M{x:.0f} {y:.1f}"
    for x1, y1 in others:
        bend = (x1 - x) / 2
        path += f" C{x + bend:.0f} {y:.1f} {x1 - bend:.0f} {y1:.1f} {x1:.0f} {y1:.1f}"
        x, y = x1, y1
    return (
        f'<path d="{path}" fill="none" stroke="var(--faint)" stroke-opacity=".7" '
        'stroke-width="1.5"/>'
    )


def _frame(x: float, y: float, colour: str) -> str:
    return (
        f'<rect x="{x:.0f}" y="{y:.1f}" width="{WIDTH}" height="{HEIGHT}" rx="8" '
        f'fill="var(--panel)" stroke="{colour}"/>'
    )


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{text}</text>'


def _source(place: Place, tiles: int) -> str:
    x, y = _corner(place)
    return (
        _frame(x, y, "var(--line)")
        + _text(x + 12, y + 24, "acquisition", 'fill="var(--text)" font-weight="600"')
        + _text(x + 12, y + 43, f"{tiles:,} tiles", 'fill="var(--faint)"')
    )


def _box(place: Place, stage: StageNow, note: str, href: str) -> str:
    x, y = _corner(place)
    failed = stage.count(State.FAILED)
    colour = "var(--failed)" if failed else "var(--line)"
    done = percent(stage.count(State.COMPLETE), stage.units)
    right = note or (f"{failed:,} failed" if failed else done)
    look = "var(--bad)" if note or failed else "var(--faint)"
    inner = [
        _frame(x, y, colour),
        f"<title>{escaped(stage.name)}: {escaped(states_text(stage))}</title>",
        _text(x + 12, y + 23, escaped(stage.name, 18), 'fill="var(--text)" font-weight="600"'),
        _text(x + WIDTH - 10, y + 23, escaped(right, 14), f'fill="{look}"', "end")
        if len(stage.name) <= 12
        else "",
        *_bar(x + 12, y + 36, WIDTH - 24, stage),
    ]
    return f'<a href="{href}">{"".join(inner)}</a>'


def _bar(x: float, y: float, width: float, stage: StageNow) -> list[str]:
    behind = f'<rect x="{x:.0f}" y="{y:.1f}" width="{width:.0f}" height="9" rx="4" '
    parts = [behind + 'fill="var(--waiting)"/>']
    at, total = x, max(1, stage.units)
    for state, n in counted(stage.by_state):
        if state is State.WAITING:
            continue
        length = max(width * n / total, 2.0 if state is State.FAILED else 0.0)
        parts.append(
            f'<rect x="{at:.1f}" y="{y:.1f}" width="{length:.1f}" height="9" '
            f'fill="var(--{state.label})"/>'
        )
        at += length
    return parts


def states_text(stage: StageNow) -> str:
    """Its units by state, in words."""
    from latticework.viz.states import counts_text

    return counts_text(stage.by_state)
