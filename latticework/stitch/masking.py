"""Which pixels of a tile are not to be used, however that was said."""

from collections.abc import Callable

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.stitch.tiles import read_tile

Masks = np.ndarray | Lattice | Callable[[int, Box], np.ndarray]
"""True where pixels are not used: one array of a tile's pixels for all tiles (or of its last axes,
as ``y x`` of a camera), a lattice of masks with the same ids, or a function of a tile's id and a
box of its spatial pixels."""


def mask_reader(
    masks: Masks | None, lattice: Lattice, row: int, channel: int = 0
) -> Callable[[Box], np.ndarray] | None:
    """A function that tells which pixels of a box of a tile are not used; None if all are.

    Parameters
    ----------
    masks
        As they were said.
    lattice
        Of the tiles.
    row, channel
        Of the tile.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"y": 1, "x": 2}, tile_shape={"z": 3, "y": 2, "x": 2}, dtype="u1"
    ... )
    >>> camera = np.array([[True, False], [False, False]])
    >>> mask_reader(camera, lattice, 0)(Box((1, 0, 0), (2, 1, 2))).tolist()
    [[[True, False]]]
    """
    if masks is None:
        return None
    if isinstance(masks, Lattice):
        return _of_lattice(masks, lattice, row, channel)
    if callable(masks):
        told, tile = masks, int(lattice.ids[row])
        return lambda box: np.asarray(told(tile, box))
    return _of_array(np.asarray(masks), lattice, row)


def check_masks(masks: Masks | None, lattice: Lattice) -> None:
    """Refuse masks that do not fit, before any work.

    Raises
    ------
    LatticeError
        That names the tile, what it has and what was given.
    """
    if isinstance(masks, Lattice):
        missing = set(lattice.ids.tolist()) - set(masks.ids.tolist())
        if missing:
            raise LatticeError(f"masks: the lattice of masks has no tile with id {min(missing)}")
    if masks is None or callable(masks):
        return
    for row in range(len(lattice)):
        mask_reader(masks, lattice, row)
        if lattice.shapes is None:
            return


def _of_array(mask: np.ndarray, lattice: Lattice, row: int) -> Callable[[Box], np.ndarray]:
    dims = [dim for dim in lattice.tile_dims if dim != "c"]
    shape = [lattice.tile_shape[dim] for dim in dims]
    if lattice.shapes is not None:
        shape = [int(lattice.shapes[row, lattice.tile_dims.index(dim)]) for dim in dims]
    if not 1 <= mask.ndim <= len(shape) or list(mask.shape) != shape[len(shape) - mask.ndim :]:
        raise LatticeError(
            f"masks: an array of shape {mask.shape} is no mask of {lattice.names[row]}, which has "
            f"{' x '.join(map(str, shape))} pixels ({' '.join(dims)})"
        )

    def read(box: Box) -> np.ndarray:
        return np.broadcast_to(mask[box.slices[-mask.ndim :]], box.shape)

    return read


def _of_lattice(
    masks: Lattice, lattice: Lattice, row: int, channel: int
) -> Callable[[Box], np.ndarray]:
    own = int(masks.rows_of([int(lattice.ids[row])])[0])
    dims = [dim for dim in lattice.tile_dims if dim != "c"]
    theirs = [dim for dim in masks.tile_dims if dim != "c"]
    sizes = [lattice.tile_shape[dim] for dim in dims], [masks.tile_shape[dim] for dim in theirs]
    if theirs != dims or sizes[0] != sizes[1]:
        raise LatticeError(
            f"masks: those of {lattice.names[row]} have {sizes[1]} pixels ({' '.join(theirs)}), "
            f"its own are {sizes[0]} ({' '.join(dims)})"
        )
    count = masks.tile_shape.get("c", 1)
    return read_tile(masks, own, channel if channel < count else 0)


__all__ = ["Masks", "check_masks", "mask_reader"]
