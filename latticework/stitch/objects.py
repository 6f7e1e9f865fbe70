"""By how many separate objects two views match: one that looks like another is no proof."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from latticework.stitch.filtering import SMALL_PX, SMALL_Z_PX

OBJECT_PX, OBJECT_Z_PX = 33, 9
"""Size of an object: what is shared within this is taken for one."""
DETAILS = 60.0
"""Details of a texture that tell as much as an object."""


def objects_of(
    first: np.ndarray, second: np.ndarray, shift: Sequence[int], dims: Sequence[str]
) -> float:
    """By how many separate objects two views match: 1 if all that they share lies in one place.

    The inverse of the chance that two bits of what they share lie beside each other. A texture that
    has many details counts as one object for each `DETAILS`, however small its place.

    Parameters
    ----------
    first, second
        Contrast of the two.
    shift
        Pixel ``x`` of the second shows what pixel ``x + shift`` of the first shows.
    dims
        Their axes, of ``z y x``.

    Examples
    --------
    >>> view = np.zeros((40, 200), "f4")
    >>> view[18:23, 20:25] = 1
    >>> one = objects_of(view, view, (0, 0), "yx")
    >>> view[10:15, 150:155] = 1
    >>> round(one, 2), round(objects_of(view, view, (0, 0), "yx"), 2)
    (1.0, 2.0)
    """
    parts = [
        of[tuple(slice(max(0, d), max(min(n, m + d), 0)) for n, m, d in zip(*sizes, strict=True))]
        for of, *sizes in (
            (first, first.shape, second.shape, shift),
            (second, second.shape, first.shape, [-d for d in shift]),
        )
    ]
    shared = np.maximum(parts[0] * parts[1], 0)
    total = float(shared.sum(dtype="f8"))
    if total <= 0:
        return 0.0
    size = [OBJECT_Z_PX if dim == "z" else OBJECT_PX for dim in dims]
    beside = ndimage.uniform_filter(shared, size, mode="constant") * np.prod(size)
    apart = total**2 / max(float((shared * beside).sum(dtype="f8")), 1e-30)
    details = total**2 / max(float(np.square(shared).sum(dtype="f8")), 1e-30) / patch_px(dims)
    return max(apart, details / DETAILS)


def patch_px(dims: Sequence[str]) -> float:
    """Pixels that filtering makes alike: the area of the filter's autocorrelation."""
    widths = [np.sqrt(4 * np.pi) * (SMALL_Z_PX if d == "z" else SMALL_PX) for d in dims]
    return float(np.prod(widths))


__all__ = ["objects_of", "patch_px"]
