"""Colours, letters and words of the map's cells."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latticework.lattice.states import State
from latticework.viz.dashboard.look import PALETTES, state_palette
from latticework.viz.dashboard.map_combined import NOTHING, OUTSIDE, Combination, Standing
from latticework.viz.dashboard.map_image import HOLE
from latticework.viz.states import Theme
from latticework.viz.words import plain

LETTERS: dict[State, str] = {
    State.ABSENT: "–",
    State.WAITING: "W",
    State.QUEUED: "Q",
    State.RUNNING: "R",
    State.COMPLETE: "C",
    State.FAILED: "F",
    State.CANCELLED: "X",
    State.BLOCKED: "B",
    State.STALE: "S",
}
"""A letter for each state, for cells that are large enough to be read."""
_RAMP: dict[Theme, tuple[str, ...]] = {
    "light": ("#d2d8de", "#a9c9ec", "#5f9fd8", "#3b86ae", "#33927e"),
    "dark": ("#3d4349", "#2f5c8a", "#3a86b8", "#46aeb4", "#54c7a9"),
}
"""How far a tile has come, from nothing done to everything done."""
_BROKEN = (State.FAILED, State.CANCELLED, State.BLOCKED, State.STALE)
"""States that have their own colour in the combined picture, whatever the stage."""
STEPS = 100
"""Different depths that colours are told apart for, at most."""


@dataclass(frozen=True, slots=True)
class Colours:
    """How codes of cells look."""

    palette: tuple[str, ...]
    """Hex colours."""
    slots: np.ndarray
    """The colour of each code: uint8, an index into the palette."""
    ink: tuple[str, ...]
    """What can be read on each colour of the palette."""

    def of(self, code: int) -> str:
        """Hex colour of a code."""
        return self.palette[int(self.slots[code])]


def state_look(theme: Theme) -> Colours:
    """The colours of states, by their numbers, and of holes.

    Examples
    --------
    >>> state_look("light").of(State.FAILED)
    '#ef4800'
    """
    palette = (*state_palette(theme), PALETTES[theme].panel)
    slots = np.arange(HOLE + 1, dtype=np.uint8)
    return Colours(palette, slots, tuple(ink_on(colour) for colour in palette))


def beneath_look(theme: Theme) -> Colours:
    """The same for what lies beneath pictures: what is complete is hardly seen."""
    look = state_look(theme)
    palette = list(look.palette)
    palette[State.COMPLETE] = blend((PALETTES[theme].panel, palette[State.COMPLETE]), 0.2)
    return Colours(tuple(palette), look.slots, look.ink)


def combined_look(combination: Combination, theme: Theme) -> Colours:
    """The colours of combined stages.

    What is not well has the colour of its state; else it is a shade from grey over blue to green
    that tells how far the tile has come, towards yellow while a worker computes it.
    """
    states = state_palette(theme)
    palette = [PALETTES[theme].panel, states[State.ABSENT], *(states[state] for state in _BROKEN)]
    first, top = len(palette), max(combination.depths, default=1)
    steps = np.linspace(0, 1, min(STEPS, 2 * top + 1))
    palette += [blend(_RAMP[theme], float(step)) for step in steps]
    slots = [NOTHING, OUTSIDE]
    active = len(palette)
    palette += [
        blend((blend(_RAMP[theme], float(step)), states[State.RUNNING]), 0.85) for step in steps
    ]
    for said in combination.standings[2:]:
        if said.state in _BROKEN:
            slots.append(2 + _BROKEN.index(said.state))
        else:
            step = round((said.value - 1) / top * (len(steps) - 1))
            slots.append((active if said.state == State.RUNNING else first) + step)
    return Colours(
        tuple(palette), np.array(slots, np.uint8), tuple(ink_on(colour) for colour in palette)
    )


def blend(colours: Sequence[str], where: float) -> str:
    """A colour between several, at a place from 0 to 1.

    Examples
    --------
    >>> blend(("#000000", "#ffffff"), 0.5)
    '#808080'
    """
    rgb = np.array([_rgb(colour) for colour in colours])
    places = np.linspace(0, 1, len(rgb))
    mixed = [round(float(np.interp(where, places, channel))) for channel in rgb.T]
    return "#" + "".join(f"{value:02x}" for value in mixed)


def ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast on a colour (WCAG's relative luminance).

    Examples
    --------
    >>> ink_on("#f6ba00"), ink_on("#1f2b38")
    ('#101418', '#ffffff')
    """
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (value / 255 for value in _rgb(colour))
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#101418" if luminance > 0.18 else "#ffffff"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def short_names(names: Sequence[str]) -> list[str]:
    """A few letters for each stage, by which they can be told apart.

    Examples
    --------
    >>> short_names(["clean", "spots", "stitch", "pairs"])
    ['C', 'SP', 'ST', 'P']
    >>> short_names(["spots 1", "spots 2"])
    ['1', '2']
    """
    short = []
    for number, name in enumerate(names):
        for length in range(1, 4):
            start = plain(name, 40)[:length].upper()
            if sum(plain(other, 40)[:length].upper() == start for other in names) == 1:
                short.append(start)
                break
        else:
            short.append(str(number + 1))
    return short


def standing_words(said: Standing, names: Sequence[str]) -> str:
    """What a cell of the combined picture says.

    Examples
    --------
    >>> standing_words(Standing(1, State.QUEUED, 2.0), ["clean", "spots"])
    'spots queued'
    """
    if said.stage < 0:
        return "no tile" if said.value != said.value else "in no stage"
    return f"{plain(names[said.stage], 40)} {said.state.label}"
