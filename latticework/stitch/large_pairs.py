"""Pairs whose strips are too large to be compared at once: first coarsely, then in a few windows.

::

    strip of the first tile         the same, coarse        windows in which most is to be seen
    ┌───────────────────────┐       ┌─────────┐             ┌───────────────────────┐
    │                       │  ──>  │         │  ──>        │  ▒▒        ▒▒         │
    │                       │       └─────────┘             │       ▒▒         ▒▒   │
    └───────────────────────┘       where it may lie        └───────────────────────┘
                                                            where exactly

Memory and time are then those of a strip of moderate size, however large the tiles are. Strips are
read a slab at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from latticework.lattice.geometry import Box
from latticework.stitch.filtering import comparable
from latticework.stitch.pairs import Candidate, confirm, is_of_the_camera, match, reach_px, strips
from latticework.stitch.stage_model import is_clear, stands_out

Read = Callable[[Box], np.ndarray]
LARGE = 4_000_000
"""Pixels of a strip up to which it is compared at once."""
SLAB = 16_000_000
"""Pixels that are read at once to be made coarse."""
WINDOWS = 4
"""Windows in which a pair is compared exactly."""
WINDOW = {2: (1024, 1024), 3: (48, 160, 160)}
"""Their pixels along the spatial axes, at most."""
SURELY_ALIKE = 0.9
"""Likeness from which two strips show one place: dust of two places of the camera is never so."""
FOLLOWED = 3
"""Coarse places that are looked at more closely."""
MORE_PX = 2
"""Pixels beyond what a coarse pixel covers in which the exact place is looked for."""
TOGETHER_PX = 1.5
"""Windows that agree to so much tell the same place."""
AGAIN = 2.0
"""How much further it is looked along axes along which a place lies where the search ended."""
AT_EDGE_PX = 0.5
"""What is so near to that, or beyond, may lie further."""


def match_strips(
    first: Read,
    second: Read,
    shapes: tuple[Sequence[int], Sequence[int]],
    offset: Sequence[float],
    dims: Sequence[str],
    *,
    reach: Sequence[float] | None = None,
    dark: float | None = None,
) -> list[Candidate]:
    """Where the second of two tiles of any size may lie; places to be believed are made exact.

    As `latticework.stitch.pairs.match`, and then `latticework.stitch.pairs.confirm` for the best
    place, or for the best few where none stands out. If none does, and one of them lies where the
    search ended, it is looked again, further: how well the two match at the end of the search says
    little of a place beyond. There only pixels that leave no doubt are believed. Along an axis on
    which both tiles have one pixel nothing is to be seen: there they lie as `offset` says.

    Parameters
    ----------
    first, second, shapes, offset, dims, reach, dark
        As for `latticework.stitch.pairs.match`. No further than a reach that is given.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.integers(100, 900, (120, 220)).astype("u2")
    >>> one, other = scene[:, :120], scene[2:, 97:217]
    >>> found = match_strips(
    ...     lambda box: one[box.slices], lambda box: other[box.slices],
    ...     (one.shape, other.shape), (0, 100), "yx",
    ... )
    >>> [round(d, 1) for d in found[0].offset_px]
    [2.0, 97.0]
    """
    flat = (np.array(shapes) == 1).all(axis=0)
    if flat.any() and not flat.all():
        return _leaving_out(flat, first, second, shapes, offset, dims, reach=reach, dark=dark)
    pair = _Pair(first, second, (shapes[0], shapes[1]), tuple(dims), dark)
    if reach is not None:
        return _within(pair, offset, np.asarray(reach, "f8"))
    usual = np.asarray(reach_px(shapes[0], dims), "f8")
    found = _within(pair, offset, usual)
    ended = _at_edge(found, offset, usual)
    if not ended.any():
        return found
    again = _within(pair, offset, np.where(ended, AGAIN, 1) * usual)
    return again if is_clear(again) else found


def _within(pair: "_Pair", offset: Sequence[float], reach: np.ndarray) -> list[Candidate]:
    """Where the second tile may lie within a reach."""
    boxes = strips(*pair.shapes, offset, reach.tolist())
    if max(box.size for box in boxes) <= LARGE or not all(box.size for box in boxes):
        held = _Held(pair.first, boxes[0]), _Held(pair.second, boxes[1])
        return _confirmed(replace(pair, first=held[0], second=held[1]), offset, reach)
    factor = coarseness(boxes[0].shape)
    reads = pair.first, pair.second
    views = [_coarse(read, box, factor) for read, box in zip(reads, boxes, strict=True)]
    between = np.subtract(boxes[0].start, boxes[1].start)
    places = match(
        partial(_part, views[0]),
        partial(_part, views[1]),
        (views[0].shape, views[1].shape),
        tuple((np.asarray(offset) - between) / factor),
        pair.dims,
        reach=tuple(reach / factor),
        dark=pair.dark,
    )
    windows = _windows(views[0], boxes[0], factor, pair.dims)
    worthy = [p for k, p in enumerate(places[:FOLLOWED]) if not k or p.correlation > p.by_chance]
    found = [
        replace(p, offset_px=tuple((np.asarray(p.offset_px) * factor + between).tolist()))
        for p in worthy
    ]
    for k, place in enumerate(found):
        found[k] = _followed(pair, place, windows, factor)
        if k == 0 and _is_plain(found):
            break
    return sorted(found, key=lambda of: -of.correlation)


def _is_plain(found: Sequence[Candidate]) -> bool:
    """Whether the first place leaves no doubt, however well the others match coarsely."""
    first = found[0]
    exact = bool(first.error_px) and bool(np.isfinite(first.error_px).all())
    return exact and first.likeness >= SURELY_ALIKE and stands_out(found)


def _leaving_out(
    flat: np.ndarray,
    first: Read,
    second: Read,
    shapes: tuple[Sequence[int], Sequence[int]],
    offset: Sequence[float],
    dims: Sequence[str],
    *,
    reach: Sequence[float] | None,
    dark: float | None,
) -> list[Candidate]:
    """Where the second tile may lie along the axes that have more than one pixel."""
    left = np.flatnonzero(~flat)

    def only(read: Read, box: Box) -> np.ndarray:
        start, stop = np.zeros(len(flat), int), np.ones(len(flat), int)
        start[left], stop[left] = box.start, box.stop
        pixels = np.asarray(read(Box(tuple(start.tolist()), tuple(stop.tolist()))))
        return pixels.reshape(box.shape)

    def whole(values: Sequence[float], elsewhere: Sequence[float] | float) -> tuple[float, ...]:
        found = np.full(len(flat), elsewhere, "f8")
        found[left] = values
        return tuple(found.tolist())

    found = match_strips(
        partial(only, first),
        partial(only, second),
        (np.array(shapes[0])[left].tolist(), np.array(shapes[1])[left].tolist()),
        np.array(offset, "f8")[left].tolist(),
        [dims[k] for k in left.tolist()],
        reach=None if reach is None else np.array(reach, "f8")[left].tolist(),
        dark=dark,
    )
    return [
        replace(
            of,
            offset_px=whole(of.offset_px, offset),
            error_px=whole(of.error_px, min(of.error_px)) if of.error_px else (),
        )
        for of in found
    ]


class _Held:
    """A reader of a tile that reads a strip of it once, and hands out parts of that."""

    def __init__(self, read: Read, strip: Box) -> None:
        self._read, self._strip = read, strip
        self._pixels: np.ndarray | None = None

    def __call__(self, box: Box) -> np.ndarray:
        strip = self._strip
        if any(a < b for a, b in zip(box.start, strip.start, strict=True)) or any(
            a > b for a, b in zip(box.stop, strip.stop, strict=True)
        ):
            return self._read(box)
        if self._pixels is None:
            self._pixels = self._read(strip)
        return np.asarray(self._pixels[box.shift([-a for a in strip.start]).slices])


def _at_edge(found: Sequence[Candidate], offset: Sequence[float], reach: np.ndarray) -> np.ndarray:
    """Axes along which a place to be believed lies where the search ended, or beyond; (axes,).

    None if the best stands out within what was searched.
    """
    likely = [of for of in found[:FOLLOWED] if of.correlation > of.by_chance]
    places = np.reshape([of.offset_px for of in likely], (-1, len(reach)))
    ended = np.abs(places - np.asarray(offset)) >= reach - AT_EDGE_PX
    if len(ended) and not ended[0].any() and stands_out(found) and found[0].likeness != 0:
        return np.zeros(len(reach), bool)
    return np.asarray(ended.any(axis=0))


def _confirmed(pair: "_Pair", offset: Sequence[float], reach: np.ndarray) -> list[Candidate]:
    """Places with offsets that are exact where they may be believed; the camera's are refuted."""
    first, second, shapes, dims, dark = pair.first, pair.second, pair.shapes, pair.dims, pair.dark
    places = match(first, second, shapes, offset, dims, reach=reach.tolist(), dark=dark)
    plain = bool(places) and stands_out(places)
    result = list(places)
    for k, of in enumerate(places[:FOLLOWED]):
        if of.correlation <= of.by_chance:
            continue
        sure = confirm(first, second, shapes, of, dims, dark=dark)
        refuted = _is_refuted(sure)
        asked = not refuted and sure.likeness < SURELY_ALIKE
        if asked and is_of_the_camera(first, second, shapes, sure, dims):
            refuted = True
            sure = replace(of, likeness=0.0, error_px=(np.inf,) * len(of.offset_px))
        result[k] = sure
        if plain and not refuted:
            break
    return result


def _is_refuted(of: Candidate) -> bool:
    """Whether two tiles, looked at closely, have nothing in common there.

    An infinite error alone does not say so: lines tell nothing along themselves.
    """
    return bool(of.error_px) and not of.likeness > 0


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two tiles that are compared."""

    first: Read
    second: Read
    shapes: tuple[Sequence[int], Sequence[int]]
    dims: tuple[str, ...]
    dark: float | None


def coarseness(shape: Sequence[int]) -> np.ndarray:
    """How many pixels along each axis become one, for a strip to be no longer large.

    Examples
    --------
    >>> coarseness((1000, 2048, 350)).tolist(), coarseness((20, 306, 96)).tolist()
    ([8, 16, 2], [1, 1, 1])
    """
    factor = np.ones(len(shape), np.int64)
    while np.prod(-(-np.asarray(shape) // factor)) > LARGE:
        factor[np.argmax(np.asarray(shape) / factor)] *= 2
    return factor


def _coarse(read: Read, box: Box, factor: np.ndarray) -> np.ndarray:
    """Means over `factor` pixels of a box of a tile, float32; what is left over is left out."""
    shape = np.asarray(box.shape) // factor
    coarse = np.empty(shape, "f4")
    rows = max(1, SLAB // max(1, int(np.prod(box.shape[1:])) * int(factor[0])))
    for begin in range(0, int(shape[0]), rows):
        part = np.array([min(rows, int(shape[0]) - begin), *shape[1:]])
        start = np.array([box.start[0] + begin * factor[0], *box.start[1:]])
        slab = Box(tuple(start.tolist()), tuple((start + part * factor).tolist()))
        pieces = np.stack([part, factor], axis=1).ravel()
        axes = tuple(range(1, 2 * len(factor), 2))
        pixels = np.asarray(read(slab)).reshape(pieces)
        coarse[begin : begin + part[0]] = pixels.mean(axis=axes, dtype="f4")
    return coarse


def _part(view: np.ndarray, box: Box) -> np.ndarray:
    return np.asarray(view[box.slices])


def _windows(view: np.ndarray, box: Box, factor: np.ndarray, dims: Sequence[str]) -> list[Box]:
    """Boxes of the first tile in which most is to be seen, the best first."""
    sides = np.minimum(WINDOW[view.ndim], box.shape)
    contrast = np.square(comparable(view, dims))
    grid = np.maximum(np.asarray(view.shape) * factor // sides, 1)
    edges = [np.linspace(0, n, g + 1).astype(int) for n, g in zip(view.shape, grid, strict=True)]
    sums = contrast
    for axis, at in enumerate(edges):
        sums = np.add.reduceat(sums, at[:-1], axis=axis)
    found = []
    for place in np.argsort(-sums, axis=None, kind="stable")[: 2 * WINDOWS]:
        index = np.unravel_index(place, sums.shape)
        middle = [
            (at[i] + at[i + 1]) / 2 * f + a
            for at, i, f, a in zip(edges, index, factor, box.start, strict=True)
        ]
        start = np.clip(
            np.rint(middle - sides / 2).astype(int), box.start, np.asarray(box.stop) - sides
        )
        found.append(Box(tuple(start.tolist()), tuple((start + sides).tolist())))
    return found


def _followed(
    pair: _Pair, place: Candidate, windows: Sequence[Box], factor: np.ndarray
) -> Candidate:
    """A place that is known to a coarse pixel made exact; as it is if no window tells anything."""
    rough = np.asarray(place.offset_px)
    told = list[Candidate]()
    for window in windows:
        found = _in_window(pair, window, rough, factor + MORE_PX)
        if found is not None:
            told.append(found)
        if len(told) == WINDOWS:
            break
    if not told:
        return place
    return replace(_agreed(told), overlap=place.overlap)


def _in_window(pair: _Pair, window: Box, rough: np.ndarray, reach: np.ndarray) -> Candidate | None:
    """Where the second tile lies, by what a window of the first shows."""
    box = _beside(window, pair.shapes[1], rough, reach)
    if box is None:
        return None
    moved = np.subtract(window.start, box.start)  # from the second window to the first
    found = match(
        lambda part: pair.first(part.shift(window.start)),
        lambda part: pair.second(part.shift(box.start)),
        (window.shape, box.shape),
        tuple(rough - moved),
        pair.dims,
        reach=tuple(reach),
        dark=pair.dark,
    )
    if not found:
        return None
    read = (
        (lambda part: pair.first(part.shift(window.start))),
        (lambda part: pair.second(part.shift(box.start))),
    )
    sure = confirm(*read, (window.shape, box.shape), found[0], pair.dims, dark=pair.dark)
    if _is_refuted(sure):
        sure = found[0]  # here is nothing to be exact about; other windows tell
    return replace(sure, offset_px=tuple((np.asarray(sure.offset_px) + moved).tolist()))


def _agreed(told: Sequence[Candidate]) -> Candidate:
    """The place that most windows tell; its correlation falls with the share that does not."""
    places = np.array([of.offset_px for of in told])
    alike = (np.abs(places[:, None] - places[None]) <= TOGETHER_PX).all(axis=-1)
    chosen = np.flatnonzero(alike[int(np.argmax(alike.sum(axis=1)))]).tolist()
    weights = np.array([max(told[k].correlation, 1e-3) for k in chosen])
    offset = tuple(np.average(places[chosen], axis=0, weights=weights).tolist())
    correlation = float(np.median(weights)) * len(chosen) / len(told)
    sharp = [np.isfinite(told[k].error_px).all() for k in chosen]  # not just lines
    best = told[chosen[int(np.argmax(weights + np.array(sharp)))]]
    return replace(best, offset_px=offset, correlation=correlation)


def _beside(window: Box, shape: Sequence[int], rough: np.ndarray, reach: np.ndarray) -> Box | None:
    """The box of the second tile in which a window of the first is looked for."""
    low = np.floor(np.asarray(window.start) - rough - reach).astype(int)
    high = np.ceil(np.asarray(window.stop) - rough + reach).astype(int)
    start, stop = np.clip(low, 0, shape), np.clip(high, 0, shape)
    if ((stop - start) < 0.5 * np.asarray(window.shape)).any():
        return None
    return Box(tuple(start.tolist()), tuple(stop.tolist()))


__all__ = ["coarseness", "match_strips"]
