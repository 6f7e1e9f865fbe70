"""From a scene to what is drawn: images, outlines, words. NumPy only, in a thread."""

import re
from dataclasses import dataclass, field

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.viz.dashboard.map_colours import LETTERS, Colours, short_names
from latticework.viz.dashboard.map_combined import Combination
from latticework.viz.dashboard.map_image import (
    CELLS,
    HOLE,
    Change,
    Cut,
    changes,
    seen_part,
    urgency_ranks,
    worst,
)
from latticework.viz.dashboard.map_scene import Pane, Scene, Sight
from latticework.viz.words import plain

LETTER_PX = 24
"""Cells at least this large have a letter."""
WORD_PX = 64
"""Cells at least this wide have a word."""
GLYPH_PX, ROW_PX = 6.4, 15.5
"""Width of a letter and height of a line in them, at most: fonts differ."""
LINE_PX = 6
"""Cells at least this large are set apart by lines."""
MOST_WORDS = 1500
"""Cells beyond which no letters are drawn."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One image in the picture."""

    image: np.ndarray = field(repr=False)
    """Places in the palette: uint8, (rows, columns)."""
    x: float
    """Its left end."""
    y: float
    """Its upper end."""
    width: float
    """In the picture."""
    height: float
    """In the picture."""

    @property
    def frame(self) -> tuple[object, ...]:
        """Its place and shape: an image in the same frame may be changed in parts."""
        return self.image.shape, self.x, self.y, self.width, self.height


@dataclass(frozen=True, slots=True)
class Words:
    """Letters or words in cells."""

    x: list[float]
    """Middles of the cells."""
    y: list[float]
    """Middles of the cells."""
    text: list[str]
    """What is said."""
    colour: list[str]
    """In which colour."""


@dataclass(frozen=True, slots=True)
class Painting:
    """A scene as it is drawn."""

    scene: Scene
    """What is drawn."""
    codes: tuple[np.ndarray, ...] = field(repr=False)
    """The code of every cell of every pane."""
    counts: tuple[np.ndarray, ...] = field(repr=False)
    """Cells of each code, of every pane."""
    whole: tuple[Drawn, ...]
    """Every pane as a whole, coarse if it is large."""
    part: tuple[Drawn, ...]
    """What is looked at, finer, where the whole is coarse."""
    words: Words
    """Letters or words in cells that are in view."""
    lines: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    """Lines between cells that are in view: x0, y0, x1, y1."""


def differences(
    old: tuple[Drawn, ...], new: tuple[Drawn, ...]
) -> list[tuple[int, list[Change] | None]] | None:
    """What to send so that a browser that shows `old` shows `new`.

    Returns
    -------
    list or None
        Numbers of the images that are other, with their changes, or with None where all of an
        image is to be sent; None where the images are not in the same frames.
    """
    if [one.frame for one in old] != [one.frame for one in new]:
        return None
    found = []
    for number, (before, after) in enumerate(zip(old, new, strict=True)):
        if before.image is not after.image:
            change = changes(before.image, after.image)
            if change is None or change:
                found.append((number, change))
    return found


@dataclass(frozen=True, slots=True)
class _Plane:
    """A pane's plane, as far as what is in view does not matter."""

    codes: np.ndarray
    """The code of every cell."""
    counts: np.ndarray
    """Cells of each code."""
    whole: Drawn
    """All of it."""


class Painter:
    """Paints scenes, for one page; used by one thread at a time.

    Planes in which nothing has changed since the last scene are not looked at again.

    Parameters
    ----------
    cells
        Cells down or across an image beyond which several tiles share one.
    """

    def __init__(self, cells: int = CELLS) -> None:
        self.cells = cells
        self._holes: dict[int, tuple[Lattice, np.ndarray]] = {}
        self._planes: dict[object, _Plane] = {}

    def paint(self, scene: Scene, sight: Sight | None, colours: Colours) -> Painting:
        """A scene as it is drawn for what is in view; None: all of it."""
        ranks = urgency_ranks() if scene.combination is None else scene.combination.ranks
        most = max(64, self.cells // max(1, round(len(scene.panes) ** 0.5)))
        known, self._planes = self._planes, {}
        part = []
        for pane in scene.panes:
            key = pane.version, pane.x, pane.y, most, scene.combination, id(colours)
            plane = known.get(key) or self._plane(pane, scene.combination, most, ranks, colours)
            self._planes[key] = plane
            cut = None if sight is None else seen_part(pane.shape, *pane.seen(sight), self.cells)
            if cut is not None and cut.factor < Cut.whole(pane.shape, most).factor:
                part.append(_drawn(pane, plane.codes, cut, ranks, colours))
        here = {id(pane.lattice) for pane in scene.panes}
        self._holes = {key: held for key, held in self._holes.items() if key in here}
        planes = tuple(self._planes.values())
        codes = tuple(plane.codes for plane in planes)
        return Painting(
            scene,
            codes,
            tuple(plane.counts for plane in planes),
            tuple(plane.whole for plane in planes),
            tuple(part),
            words_in(scene, codes, sight, colours),
            lines_in(scene, sight),
        )

    def _plane(
        self,
        pane: Pane,
        combination: Combination | None,
        most: int,
        ranks: np.ndarray,
        colours: Colours,
    ) -> _Plane:
        """A plane and an image of all of it, anew."""
        holes = pane.axes.plane(self._holes_of(pane.lattice))
        states = [pane.axes.plane(stage.states) for stage in pane.stages]
        if combination is not None:
            codes = combination.combine(states, holes)
        else:
            codes = states[0].copy()
            codes[holes] = HOLE
        counts = np.bincount(codes.reshape(-1), minlength=len(ranks))
        whole = _drawn(pane, codes, Cut.whole(codes.shape, most), ranks, colours)
        return _Plane(codes, counts, whole)

    def _holes_of(self, lattice: Lattice) -> np.ndarray:
        known = self._holes.get(id(lattice))
        if known is None or known[0] is not lattice:
            known = self._holes[id(lattice)] = lattice, lattice.id_grid < 0
        return known[1]


def _drawn(pane: Pane, plane: np.ndarray, cut: Cut, ranks: np.ndarray, colours: Colours) -> Drawn:
    """A part of a plane as an image."""
    image = colours.slots[worst(cut.of(plane), cut.factor, ranks)]
    rows, columns = image.shape
    return Drawn(
        np.ascontiguousarray(image),
        x=pane.x + cut.column * pane.width,
        y=pane.y + cut.row * pane.height,
        width=columns * cut.factor * pane.width,
        height=rows * cut.factor * pane.height,
    )


# -------------------------------------------------------------------- words and lines


def words_in(
    scene: Scene, codes: tuple[np.ndarray, ...], sight: Sight | None, colours: Colours
) -> Words:
    """Letters in cells in view, or words, as far as cells are large enough for them."""
    words = Words([], [], [], [])
    if sight is None:
        return words
    for pane, plane in zip(scene.panes, codes, strict=True):
        wide, high = pane.width * sight.pixels_across, pane.height * sight.pixels_down
        if min(wide, high) < LETTER_PX:
            continue
        rows, columns = _cells_in(pane, sight)
        if len(rows) * len(columns) > MOST_WORDS:
            continue
        said = cell_words(scene, wide, high)
        if scene.pictures:
            said[State.COMPLETE] = ""  # its picture says so
        part = plane[rows.start : rows.stop, columns.start : columns.stop]
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                code = int(part[i, j])
                text = said[code]
                if text:
                    words.x.append(pane.x + (column + 0.5) * pane.width)
                    words.y.append(pane.y + (row + 0.5) * pane.height)
                    words.text.append(text)
                    words.colour.append(colours.ink[int(colours.slots[code])])
    return words


def cell_words(scene: Scene, wide: float, high: float) -> list[str]:
    """What cells so many pixels wide and high say, by their codes; nothing is cut off."""
    room, lines = int((wide - 4) / GLYPH_PX), int(high / ROW_PX)
    if scene.combination is None:
        told = [state.label if wide >= WORD_PX else LETTERS[state] for state in State]
        return [
            text if len(text) <= room else LETTERS[s] for s, text in zip(State, told, strict=True)
        ] + [""]
    names = [stage.name for stage in scene.panes[0].stages]
    short = short_names(names)
    said = ["", "–"]
    for one in scene.combination.standings[2:]:
        text = in_lines(names[one.stage], room, lines - 1) if wide >= WORD_PX else None
        if text is None or len(one.state.label) > room:
            said.append(f"{short[one.stage]}-{LETTERS[one.state]}")
        else:
            said.append(f"{text}\n{one.state.label}")
    return said


def in_lines(name: str, room: int, lines: int) -> str | None:
    r"""A name in lines that have room for so many letters, broken where its words end.

    Returns
    -------
    str or None
        None where it does not fit.

    Examples
    --------
    >>> in_lines("detect_spots", 12, 2), in_lines("detect_spots", 10, 2)
    ('detect_spots', 'detect_\nspots')
    >>> print(in_lines("detect_spots", 5, 2))
    None
    """
    rows = [""]
    for word in re.findall(r"[^\s_.-]*[\s_.-]*", plain(name, 60)):
        if len((rows[-1] + word).rstrip()) <= room:
            rows[-1] += word
        else:
            rows.append(word)
    rows = [row.rstrip() for row in rows if row.strip()]
    fits = len(rows) <= lines and all(len(row) <= room for row in rows)
    return "\n".join(rows) if fits else None


def lines_in(
    scene: Scene, sight: Sight | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lines between the cells in view, where those are large enough to be told apart."""
    found = [np.zeros((0, 4))]
    for pane in () if sight is None or scene.pictures else scene.panes:
        assert sight is not None
        wide, high = pane.width * sight.pixels_across, pane.height * sight.pixels_down
        rows, columns = _cells_in(pane, sight)
        right, bottom = pane.x + pane.extent[0], pane.y + pane.extent[1]
        if wide >= LINE_PX and len(rows) and len(columns):
            x = pane.x + np.arange(max(1, columns.start), columns.stop) * pane.width
            found.append(np.stack([x, np.full_like(x, pane.y), x, np.full_like(x, bottom)], 1))
        if high >= LINE_PX and len(rows) and len(columns):
            y = pane.y + np.arange(max(1, rows.start), rows.stop) * pane.height
            found.append(np.stack([np.full_like(y, pane.x), y, np.full_like(y, right), y], 1))
    x0, y0, x1, y1 = np.concatenate(found).T
    return x0, y0, x1, y1


def _cells_in(pane: Pane, sight: Sight) -> tuple[range, range]:
    """Rows and columns that are in view."""
    spans = [
        range(max(0, int(np.floor(low))), max(0, min(n, int(np.ceil(high)))))
        for (low, high), n in zip(pane.seen(sight), pane.shape, strict=True)
    ]
    return spans[0], spans[1]
