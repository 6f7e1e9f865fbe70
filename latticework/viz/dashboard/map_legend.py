"""The legend of the map: colours, letters and words of what is in the picture, with counts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latticework.lattice.states import State
from latticework.viz.dashboard.map_colours import LETTERS, Colours, standing_words
from latticework.viz.dashboard.map_combined import NOTHING, OUTSIDE, Combination
from latticework.viz.dashboard.map_image import HOLE
from latticework.viz.dashboard.map_painting import Painting
from latticework.viz.html import escaped
from latticework.viz.states import bar_order, state_colours


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend."""

    key: str
    """The square, as HTML."""
    words: str
    """What it means; not escaped."""
    count: int
    """Cells that are so."""
    meaning: str
    """One sentence more."""


def key_html(colour: str, letter: str, ink: str) -> str:
    """A square in a colour with a letter in it."""
    return (
        "<span style='display:inline-block;width:18px;height:16px;border-radius:3px;"
        "text-align:center;font-size:11px;line-height:16px;margin-right:7px;"
        f"background:{colour};color:{ink}'>{letter}</span>"
    )


def state_key(state: State, colours: Colours) -> str:
    """The square of a state."""
    return key_html(colours.palette[state], LETTERS[state], colours.ink[state])


def entries(painting: Painting, colours: Colours) -> list[Entry]:
    """Whatever occurs in a painting: of combined stages the furthest first."""
    if not painting.counts:
        return []
    counts = np.sum(painting.counts, axis=0)
    combination = painting.scene.combination
    if combination is None:
        found, holes = list(_states(counts, colours)), int(counts[HOLE])
    else:
        names = [stage.name for stage in painting.scene.panes[0].stages]
        found = list(_standings(combination, names, counts, colours))
        holes = int(counts[NOTHING])
    if holes:
        none = key_html("transparent", "", "inherit")
        found.append(Entry(none, "no tile", holes, "nothing was acquired there"))
    return found


def _states(counts: np.ndarray, colours: Colours) -> Iterator[Entry]:
    for state in (*bar_order, State.ABSENT):
        if counts[state]:
            meaning = state_colours[state].meaning
            yield Entry(state_key(state, colours), state.label, int(counts[state]), meaning)


def _standings(
    combination: Combination, names: list[str], counts: np.ndarray, colours: Colours
) -> Iterator[Entry]:
    def place(code: int) -> tuple[int, int]:
        said = combination.standings[code]
        order = bar_order.index(said.state) if said.state in bar_order else len(bar_order)
        return -said.stage, order

    there = (np.flatnonzero(counts[OUTSIDE:]) + OUTSIDE).tolist()
    for code in sorted(there, key=place):
        said, slot = combination.standings[code], int(colours.slots[code])
        key = key_html(colours.palette[slot], LETTERS[said.state], colours.ink[slot])
        meaning = state_colours[said.state].meaning
        yield Entry(key, standing_words(said, names), int(counts[code]), meaning)


def legend_html(painting: Painting, colours: Colours, *, title: str, note: str = "") -> str:
    """The legend of a painting, with a note beneath its title."""
    rows = "".join(
        f"<tr title='{escaped(entry.meaning)}'>"
        f"<td class='nowrap' style='width:100%'>{entry.key}{escaped(entry.words, 60)}</td>"
        f"<td class='n'>{entry.count:,}</td></tr>"
        for entry in entries(painting, colours)
    )
    below = f"<p class='faint'>{escaped(note, 300)}</p>" if note else ""
    return f"<h2>{escaped(title, 80)}</h2>{below}<table>{rows}</table>"
