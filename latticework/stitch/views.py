"""Views of the same: two light sheets from two sides, of which each is sharp on its own.

::

    weight  1 ────────────╮      ╭──────────  The left sheet counts on the left, the right one on
                left      │      │   right    the right; in the middle of the volume the one takes
            0             ╰──────╯            over from the other as a logistic function does.
"""

from collections.abc import Sequence

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.stitch.pieces import LEANING, Lean

SIDES = ("left", "right")
"""Labels of light sheets that say where they come from."""


def check_views(lattice: Lattice, merged: Sequence[str], blend: str) -> None:
    """Refuse to blend more than two views by where they come from.

    Raises
    ------
    LatticeError
        That says which blends are possible.
    """
    for dim in merged:
        count = len(lattice.labels[dim])
        if count > 2 and blend in LEANING:
            raise LatticeError(
                f"merge={dim!r}: blend={blend!r} is for two light sheets, and there are {count} "
                'views: choose blend="content", "average", "maximum" or "first"'
            )


def leans(
    lattice: Lattice, merged: Sequence[str], axis: str, dims: Sequence[str], shape: Sequence[int]
) -> tuple[Lean | None, ...] | None:
    """For each tile, how its weight changes along the axis along which the sheets enter.

    Parameters
    ----------
    lattice
        Of the tiles.
    merged
        Lattice dims whose labels are views of the same.
    axis
        Along which the sheets enter.
    dims, shape
        Of the volume.

    Returns
    -------
    tuple or None
        None where there are not two views: all count alike then.

    Raises
    ------
    LatticeError
        If the volume has no such axis.
    """
    for dim in merged:
        labels = [str(label).lower() for label in lattice.labels[dim]]
        if len(labels) != 2:
            continue
        if axis not in dims:
            raise LatticeError(
                f"merge_axis={axis!r}: the volume has {' '.join(dims)} only; say along which of "
                "them the light sheets enter"
            )
        along = list(dims).index(axis)
        near = labels.index("left") if set(labels) == set(SIDES) else 0
        of_tile = lattice.index[:, lattice.dims.index(dim)]
        width = float(max(shape[along], 2))
        first = Lean(along, (shape[along] - 1) / 2, width)
        second = first._replace(width=-width)
        return tuple(first if side == near else second for side in np.asarray(of_tile).tolist())
    return None


__all__ = ["check_views", "leans"]
