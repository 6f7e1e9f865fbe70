"""Stacks of a few planes: compared across their planes, and by whole planes along z.

Between planes a fit needs some of them on either side. Without these the peak of a correlation is
drawn to where fewer planes overlap, by up to half a plane, and y and x with it.
"""

from collections.abc import Sequence

import numpy as np

from latticework.stitch.refining import Fit, is_wide_enough, refine

THICK = 8
"""Planes from which on stacks are compared between planes as well."""
PLANE_ERROR = 0.3
"""Standard error of a place that is known to a whole plane."""


def is_thin(shapes: Sequence[Sequence[int]], dims: Sequence[str]) -> bool:
    """Whether tiles of these shapes are such stacks."""
    return dims[0] == "z" and max(shape[0] for shape in shapes) < THICK


def planes_are_wide_enough(
    lights: Sequence[np.ndarray], shift: Sequence[float], dims: Sequence[str]
) -> bool:
    """Whether enough of their planes overlaps to compare it."""
    planes = _shared(lights, round(shift[0]))
    first, second = (light.shape[1:] for light in lights)
    return bool(len(planes[0])) and is_wide_enough(first, second, shift[1:], dims[1:])


def refine_in_planes(
    lights: Sequence[np.ndarray],
    shift: Sequence[float],
    dims: Sequence[str],
    *,
    valid: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Fit | None:
    """As `latticework.stitch.refining.refine`, of means of the planes that both show.

    Parameters
    ----------
    lights, shift, dims, valid
        As there; z is the first axis. The shift along it is taken as a whole number.

    Examples
    --------
    >>> from scipy import ndimage
    >>> rng = np.random.default_rng(2)
    >>> scene = ndimage.gaussian_filter(rng.normal(size=(6, 90, 80)), 1.5).astype("f4")
    >>> views = scene[1:5, :80, :40], scene[:4, 3:83, 21:70]
    >>> found = refine_in_planes(views, (-1.3, 2, 22), "zyx")
    >>> [round(s, 2) for s in found.shift]
    [-1.0, 3.0, 21.0]
    """
    whole = round(shift[0])
    parts = _shared(lights, whole)
    first, second = (
        np.asarray(light[part].mean(axis=0)) for light, part in zip(lights, parts, strict=True)
    )
    known = tuple(
        None if of is None else np.asarray(of[part].all(axis=0))
        for of, part in zip(valid, parts, strict=True)
    )
    found = refine(first, second, shift[1:], dims[1:], valid=(known[0], known[1]))
    if found is None:
        return None
    return Fit((float(whole), *found.shift), found.likeness, (PLANE_ERROR, *found.error_px))


def _shared(lights: Sequence[np.ndarray], whole: int) -> tuple[range, range]:
    """Planes that both show, of either: plane z of the second is plane z + whole of the first."""
    low, high = max(0, -whole), min(len(lights[1]), len(lights[0]) - whole)
    high = max(low, high)
    return range(low + whole, high + whole), range(low, high)


__all__ = ["is_thin", "planes_are_wide_enough", "refine_in_planes"]
