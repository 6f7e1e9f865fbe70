"""What two tiles both show: which pixels of each, in parts of a size that fits into memory.

::

    overlap   ┌────────────────────────┐   parts: some patches thick, spread evenly along its
              │ ▒▒      ▒▒      ▒▒     │   longest axis, where it is larger than it need be
              └────────────────────────┘
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from latticework.lattice.geometry import Box
from latticework.stitch.patches import PATCH_PX

LEAST_FRACTION = 0.01
"""Pixels by which views are moved at least."""
MOST_PIXELS = 4_000_000
"""Pixels of an overlap by which its brightness is told, at most."""
THICK_PX = 2 * PATCH_PX
"""Thickness of the parts of larger ones."""
SPREAD = 8
"""Parts along the longest axis, at least."""


def slabs(first: Box, second: Box, *, most: int = MOST_PIXELS) -> list[tuple[Box, Box]]:
    """What two tiles share, or parts of that, evenly spread, of so many pixels in all.

    Parameters
    ----------
    first, second
        Of one shape: the same place in the pixels of each tile.
    most
        Pixels that are wanted.

    Examples
    --------
    >>> whole = Box((0, 0), (4000, 50)), Box((0, 90), (4000, 140))
    >>> parts = slabs(*whole, most=10_000)
    >>> len(parts), parts[1]
    (12, (Box(start=(362, 0), stop=(378, 50)), Box(start=(362, 90), stop=(378, 140))))
    >>> slabs(*whole) == [whole]
    True
    """
    axis = int(np.argmax(first.shape))
    n = first.shape[axis]
    if first.size <= most or n <= THICK_PX:
        return [(first, second)]
    thick = THICK_PX * first.size // n
    count = min(max(most // thick, SPREAD), n // THICK_PX)
    parts = []
    for begin in np.linspace(0, n - THICK_PX, count).astype(int).tolist():
        pair = [_part(box, axis, begin) for box in (first, second)]
        parts += slabs(pair[0], pair[1], most=most // count)
    return parts


def _part(box: Box, axis: int, begin: int) -> Box:
    start, stop = list(box.start), list(box.stop)
    start[axis] += begin
    stop[axis] = start[axis] + THICK_PX
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


def _moved(view: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.shift(np.asarray(view, np.float32), by, order=1, mode="nearest"))


__all__ = ["aligned", "common_boxes", "slabs"]
