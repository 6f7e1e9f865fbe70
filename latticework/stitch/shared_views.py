"""What two tiles both show: which pixels of each, in parts of a size that fits into memory.

::

    overlap   ┌───────┬───────┬───────┐   parts: some planes (or rows) each, as many as are whole
              │       │       │       │   patches thick
              └───────┴───────┴───────┘
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from latticework.lattice.geometry import Box
from latticework.stitch.patches import PATCH_PX, patch_means, patch_places, patch_rises

LEAST_FRACTION = 0.01
"""Pixels by which views are moved at least."""
MOST_PIXELS = 8_000_000
"""Pixels of an overlap that are looked at at once, more or less."""


def as_it_is(pixels: np.ndarray, _box: Box) -> np.ndarray:
    """The pixels of a box of a tile, unchanged."""
    return pixels


def slabs(first: Box, second: Box, *, most: int = MOST_PIXELS) -> list[tuple[Box, Box]]:
    """What two tiles share, in parts whose patches are those of the whole.

    They are whole planes or rows where these are not too large: files are read plane by plane, or
    chunk by chunk, and what is read of one is unpacked as a whole each time.

    Parameters
    ----------
    first, second
        Of one shape: the same place in the pixels of each tile.
    most
        Pixels of a part, unless it is less than two patches thick.

    Examples
    --------
    >>> whole = Box((0, 0), (4000, 50)), Box((0, 90), (4000, 140))
    >>> parts = slabs(*whole, most=50_000)
    >>> len(parts), parts[1]
    (4, (Box(start=(1000, 0), stop=(2000, 50)), Box(start=(1000, 90), stop=(2000, 140))))
    >>> slabs(*whole) == [whole]
    True
    """
    axis = next((k for k, n in enumerate(first.shape) if n >= 2 * PATCH_PX), None)
    if first.size <= most or axis is None:
        return [(first, second)]
    n = first.shape[axis]
    thick = PATCH_PX * max(min(most * n // first.size, n // 2) // PATCH_PX, 1)
    parts = []
    for begin in range(0, max(n - PATCH_PX, 0) + 1, thick):
        stop = begin + thick if begin + thick + PATCH_PX <= n else n
        pair = [_part(box, axis, begin, stop) for box in (first, second)]
        parts += slabs(pair[0], pair[1], most=most)
    return parts


def _part(box: Box, axis: int, begin: int, end: int) -> Box:
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = box.start[axis] + begin, box.start[axis] + end
    return Box(tuple(start), tuple(stop))


def common_boxes(
    first: np.ndarray, first_shape: np.ndarray, second: np.ndarray, second_shape: np.ndarray
) -> tuple[Box, Box]:
    """What two tiles share, in the pixels of each."""
    start = np.maximum(first, second)
    stop = np.maximum(np.minimum(first + first_shape, second + second_shape), start)
    boxes = [
        Box(tuple((start - at).tolist()), tuple((stop - at).tolist())) for at in (first, second)
    ]
    return boxes[0], boxes[1]


def aligned(
    first: np.ndarray, second: np.ndarray, fraction: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two views of one place, moved by half of what is left between their pixels each.

    Else patches at the edges of structures differ, and so does their brightness.

    Parameters
    ----------
    first, second
        The views, as far as they meet in whole pixels.
    fraction
        How far the second lies beyond that, in pixels along each of their axes, -1 to 1.

    Examples
    --------
    >>> x = np.arange(8.0)
    >>> [view.tolist()[3:5] for view in aligned(x, x + 0.5, [0.5])]
    [[3.25, 4.25], [3.25, 4.25]]
    """
    half = np.asarray(fraction, float) / 2
    if np.abs(half).max(initial=0.0) < LEAST_FRACTION:
        return first, second
    return _moved(first, -half), _moved(second, half)


class Shared(NamedTuple):
    """The patches that two tiles both show."""

    first: np.ndarray
    """(patches,): their means in the first tile."""
    second: np.ndarray
    """(patches,): and in the second."""
    rises: np.ndarray
    """(dims, patches): by how much both get brighter per pixel, along each axis."""
    places: np.ndarray
    """(dims, patches): where they lie in the overlap, in patches."""


def shared_patches(
    readers: Sequence[Callable[[Box], Any]],
    boxes: Sequence[Box],
    fraction: Sequence[float] | np.ndarray,
    *,
    changed: Sequence[Callable[[np.ndarray, Box], np.ndarray]] = (as_it_is,),
) -> list[Shared]:
    """Means of the patches that two tiles both show, read once, a part at a time.

    Parameters
    ----------
    readers, boxes
        Of the two tiles: what reads a box of its pixels, and which of them both show.
    fraction
        How far the second lies beyond that; see `aligned`.
    changed
        What is done to the pixels of a box of a tile before they are compared, in several ways.

    Returns
    -------
    list of Shared
        One for each of these ways.

    Examples
    --------
    >>> tile, box = np.arange(256.0).reshape(16, 16), Box((0, 0), (16, 8))
    >>> read = lambda box: tile[box.slices]
    >>> [found] = shared_patches([read, read], [box, box.shift((0, 8))], (0.0, 0.0))
    >>> found.first.tolist(), found.second.tolist(), found.places.tolist()
    ([59.5, 187.5], [67.5, 195.5], [[0, 1], [0, 0]])
    """
    means: list[list[list[np.ndarray]]] = [[] for _ in changed]
    places = []
    for pair in slabs(boxes[0], boxes[1]):
        begin = np.subtract(pair[0].start, boxes[0].start) // PATCH_PX
        places.append(patch_places(pair[0].shape) + begin[:, None])
        pixels = [np.asarray(read(box)) for read, box in zip(readers, pair, strict=True)]
        for of, change in zip(means, changed, strict=True):
            views = [change(part, box) for part, box in zip(pixels, pair, strict=True)]
            first, second = aligned(views[0], views[1], fraction)
            rises = patch_rises(first, second)
            of.append([patch_means(first), patch_means(second), rises])
    where = np.concatenate(places, axis=1)
    found = []
    for of in means:
        first, second, rises = (np.concatenate(parts, axis=-1) for parts in zip(*of, strict=True))
        found.append(Shared(first, second, rises, where))
    return found


def _moved(view: np.ndarray, by: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is beyond 32 bits cannot be compared
        pixels = np.asarray(view, np.float32)
    return np.asarray(ndimage.shift(pixels, by, order=1, mode="nearest"))


__all__ = ["Shared", "aligned", "as_it_is", "common_boxes", "shared_patches", "slabs"]
