"""What a stage reads of its parents: the declared patterns."""

from dataclasses import dataclass

import numpy as np

from latticework.lattice.dependencies import Dependency, EveryUnit, NearbyUnits, SameUnit
from latticework.lattice.halo import Halo, HaloGeometry
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis


@dataclass(frozen=True, slots=True)
class Reads:
    """A reading pattern; made by `same_tile`, `all_tiles` and `nothing`.

    Examples
    --------
    >>> all_tiles()
    Reads(pattern='all tiles')
    """

    pattern: str
    """``"same tile"``, ``"all tiles"`` or ``"nothing"``."""


def same_tile() -> Reads:
    """The same tile of the parents, with a halo where the stage has one: the default."""
    return Reads("same tile")


def all_tiles() -> Reads:
    """Every tile of the parents, once: the stage is a reduction over the lattice.

    The callable gets, for a parent that makes arrays, one lazy `xarray.DataArray` with a leading
    dim ``tile`` (labels and names as coordinates); for tables and records one
    `pandas.DataFrame` with the lattice labels as columns.
    """
    return Reads("all tiles")


def nothing() -> Reads:
    """No pixels: the callable gets a `Tile`, the address with its facts.

    The unit still runs only after the same unit of its parents, if it has any but the source.
    """
    return Reads("nothing")


def dependency(lattice: Lattice, parent: Lattice, halo: Halo | None) -> Dependency:
    """The edge from `parent`'s lattice to a stage on `lattice` that reads it with a halo."""
    if len(lattice) == 1 and not lattice.dims:
        return EveryUnit(len(parent), 1)
    if not parent.dims:
        return EveryUnit(1, len(lattice))  # what a reduction made, for every tile
    if halo is None or halo.empty:
        return SameUnit()
    return NearbyUnits(lattice, _reach(lattice, parent, halo), _periodic(lattice, parent, halo))


def _reach(lattice: Lattice, parent: Lattice, halo: Halo) -> np.ndarray:
    """All offsets whose tiles a halo can touch."""
    geometry = HaloGeometry(parent, halo)
    spans = []
    for dim in lattice.dims:
        axis = spatial_axis(dim)
        k = parent.tile_dims.index(axis) if axis in parent.tile_dims else None
        before, after = geometry.reach(k) if k is not None else (0, 0)
        spans.append(np.arange(-before, after + 1))
    offsets = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, len(spans))
    return offsets[offsets.any(axis=1)]


def _periodic(lattice: Lattice, parent: Lattice, halo: Halo) -> tuple[bool, ...]:
    modes = dict(zip(parent.tile_dims, halo.modes, strict=True))
    return tuple(modes.get(spatial_axis(dim) or "") == "periodic" for dim in lattice.dims)
