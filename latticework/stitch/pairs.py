"""One pair of overlapping tiles: how the second lies to the first, from what both show.

Only the strips are read in which the two can overlap::

    first ┌──────────────┐            nominal offset, give or take the reach
          │         ┌────┼─────────┐
          │         │▒▒▒▒│         │  the strips: the overlap, widened by the reach
          │         │▒▒▒▒│         │  on all sides
          └─────────┼────┘         │
                    └──────────────┘ second
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from latticework.lattice.geometry import Box
from latticework.stitch.correlation import Correlation
from latticework.stitch.filtering import (
    brightness,
    contrast,
    cut_down,
    quantile,
    unsaturated,
)
from latticework.stitch.objects import objects_of, patch_px
from latticework.stitch.refining import is_wide_enough, refine
from latticework.stitch.rounding import unrounded
from latticework.stitch.thin_stacks import is_thin, planes_are_wide_enough, refine_in_planes

REACH = 0.035
"""How far tiles may lie from where they should be, as a share of their size."""
LEAST_REACH_PX, LEAST_REACH_Z_PX = 16, 5
"""The same in pixels, at least."""
REACH_Z = 1 / 6
"""Share of its planes up to which the least reach along z is that across."""
CANDIDATES = 5
"""Peaks that are kept of each pair."""
DOUBT = 1.3
"""By how much noise may be worse than it should."""
AROUND_PX = 4
"""How far around what overlaps is read to make an offset exact."""
MOST_PIXELS = 400_000
"""Pixels of either tile that are compared for that, at most."""
ENOUGH, DARKEST = 20_000, 0.001
"""Pixels of a strip by which its brightness is judged, and the share of them that is as dark as
what the camera counts without light."""
EDGE_PX = 4
"""Pixels that are left out where a tile ends."""
OF_CAMERA = 0.5
"""Share of its correlation from which a match of each tile with itself tells of the camera."""
CAMERA_PIXELS, CAMERA_SIZES_PX = 40_000, (3, 21)
"""Pixels by which that is told in volumes, and sizes between which structures are compared."""
BESIDE_PX = 5
"""How far beside the place they match less: a texture that repeats does not lie just so."""
LEAST_OVERLAP = 0.2
"""Share of the nominal overlap that has to overlap at a shift that counts."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place at which the second tile of a pair may lie."""

    offset_px: tuple[float, ...]
    """Position of the second tile minus that of the first, in pixels along the tile's dims."""
    correlation: float
    """How well the two match there, at most 1."""
    overlap: float
    """Pixels that overlap, as a share of the nominal overlap."""
    by_chance: float = 0.0
    """Correlation that two views of nothing but noise reach somewhere within the reach."""
    likeness: float = float("nan")
    """Correlation over what both really show there; see `latticework.stitch.refining`."""
    error_px: tuple[float, ...] = ()
    """Standard error of the offset along each axis; empty where it is not known."""
    objects: float = float("inf")
    """Separate objects by which the two match there; not told of all but the best."""


def correlations_of(found: Sequence[Candidate]) -> np.ndarray:
    """Correlations of candidates; 0 where noise would do as well."""
    return np.array([c.correlation if c.correlation > c.by_chance else 0.0 for c in found])


def reach_px(shape: Sequence[int], dims: Sequence[str]) -> tuple[int, ...]:
    """How far from its nominal place a tile is looked for, unless told otherwise.

    Examples
    --------
    >>> reach_px((2048, 512), "yx"), reach_px((20, 306, 340), "zyx"), reach_px((64,), "z")
    ((72, 18), (5, 16, 16), (10,))
    """
    least = [
        min(max(LEAST_REACH_Z_PX, int(REACH_Z * n)), LEAST_REACH_PX)
        if dim == "z"
        else LEAST_REACH_PX
        for n, dim in zip(shape, dims, strict=True)
    ]
    return tuple(max(m, round(REACH * n)) for m, n in zip(least, shape, strict=True))


def noise_correlation(overlap: int, places: int, dims: Sequence[str]) -> float:
    """Correlation that noise reaches at the best of many places.

    Filtering makes neighbouring pixels alike, so that fewer of them count: one in each patch of the
    area of the filter's autocorrelation. The largest of so many normal deviates is expected at
    about the square root of twice the logarithm of their number.

    Parameters
    ----------
    overlap
        Pixels that overlap.
    places
        Shifts that were looked at.
    dims
        Of ``z y x``.

    Examples
    --------
    >>> round(noise_correlation(512 * 51, 37 * 37, "yx"), 2)
    0.09
    """
    patch = patch_px(dims)
    deviate = np.sqrt(2 * np.log(max(places / patch, 2.0)))
    return float(min(1.0, DOUBT * deviate / np.sqrt(max(overlap / patch, 1.0))))


def strips(
    first: Sequence[int], second: Sequence[int], offset: Sequence[float], reach: Sequence[float]
) -> tuple[Box, Box]:
    """Boxes of the two tiles in which they can overlap, each in its tile's own pixels.

    Parameters
    ----------
    first, second
        Shapes of the tiles.
    offset
        Nominal position of the second minus that of the first, in pixels.
    reach
        How far from there it may lie, in pixels along each axis.

    Examples
    --------
    >>> strips((100, 100), (100, 100), (0, 90), (5, 5))
    (Box(start=(0, 85), stop=(100, 100)), Box(start=(0, 0), stop=(100, 15)))
    """
    boxes = []
    for shape, other, sign in ((first, second, 1), (second, first, -1)):
        low = [np.floor(sign * d - r) for d, r in zip(offset, reach, strict=True)]
        high = [np.ceil(sign * d + r) + m for d, r, m in zip(offset, reach, other, strict=True)]
        start = [int(min(max(a, 0), n)) for a, n in zip(low, shape, strict=True)]
        stop = [int(min(max(b, a), n)) for a, b, n in zip(start, high, shape, strict=True)]
        boxes.append(Box(tuple(start), tuple(stop)))
    return boxes[0], boxes[1]


def _inner(box: Box, shape: Sequence[int], overlap: Sequence[float]) -> list[tuple[int, int]]:
    """Pixels at either end of a strip, along each axis, that filtering spoils: the tile ends."""
    return [
        (least * (a == 0), least * (b == n))
        for a, b, n, least in (
            (a, b, n, min(EDGE_PX, int(over) // 8))
            for a, b, n, over in zip(box.start, box.stop, shape, overlap, strict=True)
        )
    ]


def match(
    first: Callable[[Box], np.ndarray],
    second: Callable[[Box], np.ndarray],
    shapes: tuple[Sequence[int], Sequence[int]],
    offset: Sequence[float],
    dims: Sequence[str],
    *,
    reach: Sequence[float] | None = None,
    dark: float | None = None,
) -> list[Candidate]:
    """Where the second of two tiles may lie, the best first; empty where they do not overlap.

    Parameters
    ----------
    first, second
        Called with a box of the tile, give its pixels.
    shapes
        Of the tiles.
    offset
        Nominal position of the second minus that of the first, in pixels.
    dims
        Their dims, of ``z y x``.
    reach
        How far from there it is looked for; see `reach_px`.
    dark
        What the camera counts without light; the darkest of the strips if not given.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.integers(100, 900, (120, 220)).astype("u2")
    >>> one, other = scene[:, :120], scene[2:, 97:217]
    >>> found = match(
    ...     lambda box: one[box.slices], lambda box: other[box.slices],
    ...     (one.shape, other.shape), (0, 100), "yx",
    ... )
    >>> [round(d, 1) for d in found[0].offset_px], found[0].correlation > 0.9
    ([2.0, 97.0], True)
    """
    reach = reach_px(shapes[0], dims) if reach is None else reach
    boxes = strips(*shapes, offset, reach)
    if not all(box.size for box in boxes):
        return []
    pixels = first(boxes[0]), second(boxes[1])
    lights = _lights(pixels, dims, dark)
    if lights is None:
        return []
    views = [contrast(light, dims) for light in lights]
    between = [a - b for a, b in zip(boxes[0].start, boxes[1].start, strict=True)]
    nominal_overlap = [
        max(min(n, m + d) - max(0, d), 1.0) for n, m, d in zip(*shapes, offset, strict=True)
    ]
    nominal = np.prod(nominal_overlap)
    ends = [
        (int(np.ceil(d - r - b)), int(np.floor(d + r - b)))
        for d, r, b in zip(offset, reach, between, strict=True)
    ]
    valid = unsaturated(pixels[0], dims), unsaturated(pixels[1], dims)
    edges = [_inner(box, shape, nominal_overlap) for box, shape in zip(boxes, shapes, strict=True)]
    moved = [e[0] - f[0] for e, f in zip(edges[0], edges[1], strict=True)]
    inner = [
        tuple(slice(a, n - b) for (a, b), n in zip(e, box.shape, strict=True))
        for e, box in zip(edges, boxes, strict=True)
    ]
    views = [view[i] for view, i in zip(views, inner, strict=True)]
    found = Correlation(
        *views,
        low=[low - m for (low, _), m in zip(ends, moved, strict=True)],
        high=[high - m for (_, high), m in zip(ends, moved, strict=True)],
        least=int(LEAST_OVERLAP * nominal),
        valid=(
            None if valid[0] is None else valid[0][inner[0]],
            None if valid[1] is None else valid[1][inner[1]],
        ),
    )
    result = []
    for k, peak in enumerate(found.peaks(CANDIDATES)):
        at = [s + m + b for s, m, b in zip(peak.shift, moved, between, strict=True)]
        chance = noise_correlation(peak.overlap, found.values.size, dims)
        share = float(peak.overlap / nominal)
        of = Candidate(tuple(at), peak.correlation, share, chance)
        if k == 0:
            whole = [round(s) for s in peak.shift]
            of = replace(of, objects=objects_of(views[0], views[1], whole, dims))
        result.append(of)
    return result


def confirm(
    first: Callable[[Box], np.ndarray],
    second: Callable[[Box], np.ndarray],
    shapes: tuple[Sequence[int], Sequence[int]],
    candidate: Candidate,
    dims: Sequence[str],
    *,
    dark: float | None = None,
) -> Candidate:
    """A candidate with its offset exact, by `latticework.stitch.refining`.

    Parameters
    ----------
    first, second, shapes, dims, dark
        As for `match`. Only what overlaps is read.
    candidate
        Of `match`.

    Returns
    -------
    Candidate
        With ``likeness`` and ``error_px``: 0 and infinity where the two have nothing in common
        near there. As it was where too little overlaps to tell.
    """
    offset = candidate.offset_px
    boxes = strips(*shapes, offset, [AROUND_PX] * len(offset))
    if not all(box.size for box in boxes):
        return candidate
    pixels = first(boxes[0]), second(boxes[1])
    lights = _lights(pixels, dims, dark)
    if lights is None:
        return candidate
    parts = _telling(boxes, lights, MOST_PIXELS)
    inner = [
        part.shift([-a for a in box.start]).slices for part, box in zip(parts, boxes, strict=True)
    ]
    boxes, pixels = parts, (pixels[0][inner[0]], pixels[1][inner[1]])
    lights = [lights[0][inner[0]], lights[1][inner[1]]]
    between = [a - b for a, b in zip(boxes[0].start, boxes[1].start, strict=True)]
    shift = [d - b for d, b in zip(offset, between, strict=True)]
    valid = unsaturated(pixels[0], dims), unsaturated(pixels[1], dims)
    if is_wide_enough(boxes[0].shape, boxes[1].shape, shift, dims):
        fit = refine(lights[0], lights[1], shift, dims, valid=valid)
    elif is_thin(shapes, dims) and planes_are_wide_enough(lights, shift, dims):
        fit = refine_in_planes(lights, shift, dims, valid=valid)
    else:
        return candidate
    if fit is None:
        return replace(candidate, likeness=0.0, error_px=(float("inf"),) * len(offset))
    return replace(
        candidate,
        offset_px=tuple(s + b for s, b in zip(fit.shift, between, strict=True)),
        likeness=fit.likeness,
        error_px=fit.error_px,
    )


def is_of_the_camera(
    first: Callable[[Box], np.ndarray],
    second: Callable[[Box], np.ndarray],
    shapes: tuple[Sequence[int], Sequence[int]],
    candidate: Candidate,
    dims: Sequence[str],
) -> bool:
    """Whether each of two tiles matches itself there as the two match each other.

    ::

        first ┌───────┬──┐            second ┌──┬───────┐      compared: b of the first with d of
              │a      │ b│                   │d │      e│      the second, and b with a, e with d:
              └───────┴──┘                   └──┴───────┘      the same places of the camera

    Dust and hot pixels do, and textures that repeat; what lies beneath the tiles does not.

    Parameters
    ----------
    first, second, shapes, dims
        As for `match`.
    candidate
        Of `match`.
    """
    if tuple(shapes[0]) != tuple(shapes[1]):
        return False
    whole = [round(d) for d in candidate.offset_px]
    far, near = (
        _middle(box, dims, CAMERA_PIXELS) for box in strips(*shapes, whole, [0] * len(whole))
    )
    if far.shape != near.shape or not far.size:
        return False
    return all(
        _matches(tile(far), tile(near), dims, OF_CAMERA * candidate.correlation)
        for tile in (first, second)
    )


def _middle(box: Box, dims: Sequence[str], most: int) -> Box:
    """The middle planes of a box, of so many pixels at most."""
    if "z" not in dims or not box.size:
        return box
    axis = tuple(dims).index("z")
    n = box.shape[axis]
    kept = max(most * n // box.size, 1)
    start, stop = list(box.start), list(box.stop)
    if kept < n:
        start[axis] += (n - kept) // 2
        stop[axis] = start[axis] + kept
    return Box(tuple(start), tuple(stop))


def _matches(one: np.ndarray, other: np.ndarray, dims: Sequence[str], least: float) -> bool:
    """Whether two strips of one shape match best as they lie, and so much at least.

    Of about what `contrast` would leave of them.
    """
    narrow, wide = ([1 if dim == "z" else size for dim in dims] for size in CAMERA_SIZES_PX)
    views = []
    for strip in (one, other):
        light = np.nan_to_num(strip.astype("f4"), nan=0.0, posinf=0.0, neginf=0.0)
        view = ndimage.uniform_filter(light, narrow) - ndimage.uniform_filter(light, wide)
        views.append(cut_down(view - view.mean()))
    centre = _match_of(*views)
    if centre <= least:
        return False
    ahead, behind = slice(BESIDE_PX, None), slice(None, -BESIDE_PX)
    for axis in (axis for axis, dim in enumerate(dims) if dim != "z"):
        sides = [(slice(None),) * axis + (part,) for part in (ahead, behind)]
        beside = [_match_of(views[0][a], views[1][b]) for a, b in (sides, sides[::-1])]
        if max(beside) > centre:
            return False
    return True


def _match_of(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.ravel(), other.ravel()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _telling(boxes: tuple[Box, Box], lights: Sequence[np.ndarray], most: int) -> tuple[Box, Box]:
    """Two strips of one place, cut along their longest axis to the part that shows most.

    Parameters
    ----------
    boxes
        Of the two tiles, which show the same, nearly.
    lights
        Brightness within them.
    most
        Pixels, at most.
    """
    axis = int(np.argmax(boxes[0].shape))
    n, size = boxes[0].shape[axis], max(boxes[0].size, 1)
    length = max(int(n * most / size), 1)
    if length >= n or boxes[0].shape != boxes[1].shape:
        return boxes
    others = tuple(k for k in range(boxes[0].ndim) if k != axis)
    shown = np.var(np.diff(lights[0], axis=others[-1]), axis=others)
    shown = np.minimum(shown, 4 * np.median(shown) + 1e-12)  # no speck of dust decides
    begin = int(np.argmax(np.convolve(shown, np.ones(length), "valid")))
    result = []
    for box in boxes:
        start, stop = list(box.start), list(box.stop)
        start[axis] += begin
        stop[axis] = start[axis] + length
        result.append(Box(tuple(start), tuple(stop)))
    return result[0], result[1]


def _lights(
    pixels: tuple[np.ndarray, np.ndarray], dims: Sequence[str], dark: float | None
) -> list[np.ndarray] | None:
    """Brightness of two strips on one scale; None where one of them is unknown."""
    some = [strip.ravel()[:: max(strip.size // ENOUGH, 1)].astype("f4") for strip in pixels]
    some = [values[np.isfinite(values)] for values in some]
    if not all(values.size for values in some):
        return None
    if dark is None:
        dark = min(quantile(values, DARKEST) for values in some)
    typical = float(np.mean([quantile(values, 0.5) for values in some])) - dark
    smooth = [unrounded(strip, dims, seed=k) for k, strip in enumerate(pixels)]
    return [brightness(strip, dark=dark, typical=typical) for strip in smooth]


__all__ = [
    "Candidate",
    "confirm",
    "correlations_of",
    "is_of_the_camera",
    "match",
    "reach_px",
    "strips",
]
