"""The lattices on which the units of a project's stages lie, each under a key.

=========================  ==================================================================
``"tiles"``                the acquisition's tiles
``"unit"``                 one unit: what is made once of all tiles
``"planes:tile_z:tiles"``  one unit for each plane along ``tile_z`` of the lattice ``tiles``
``"own:1f0c..."``          a lattice of a stage's own, kept in the project folder
=========================  ==================================================================
"""

import hashlib
from collections.abc import Callable

import numpy as np

from latticework.lattice.dependencies import plane_groups
from latticework.lattice.lattice import Lattice

TILES, UNIT = "tiles", "unit"


def planes_of(key: str, dim: str) -> str:
    """Key of the planes along a lattice dim of the lattice with this key."""
    return f"planes:{dim}:{key}"


def of_several_tiles(key: str) -> bool:
    """Whether units of the lattice with this key are planes of tiles, or all tiles.

    Examples
    --------
    >>> [of_several_tiles(key) for key in (planes_of(TILES, "tile_z"), UNIT, TILES)]
    [True, True, False]
    """
    return key == UNIT or key.startswith("planes:")


def lattice_key(lattice: Lattice) -> str:
    """Key of a lattice of a stage's own: a hash of everything that says where its tiles are."""
    parts = [
        repr((lattice.dims, lattice.tile_dims, dict(lattice.tile_shape), str(lattice.dtype))),
        repr((dict(lattice.pixel_size_um), dict(lattice.step_px), lattice.volume_shape)),
        *(repr(lattice.labels[dim].tolist()) for dim in lattice.dims),
    ]
    digest = hashlib.blake2b("\n".join(parts).encode(), digest_size=8)
    for array in (lattice.index, lattice.ids, lattice.position_um, lattice.shapes):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return f"own:{digest.hexdigest()}"


def plane_lattice(lattice: Lattice, dim: str) -> Lattice:
    """One unit for each label along a dim that tiles have, in order of their first tiles.

    That order does not change when tiles are added, so the ids of planes do not either.
    """
    groups = plane_groups(lattice, dim)
    n = int(groups.max()) + 1 if len(groups) else 0
    position = np.zeros(n, dtype=np.int64)
    position[groups] = lattice.index[:, lattice.dims.index(dim)]
    return Lattice(
        dims=(dim,),
        labels={dim: lattice.labels[dim]},
        index=position[:, None],
        tile_dims=lattice.tile_dims,
        tile_shape=tuple(lattice.tile_shape.values()),
        dtype=lattice.dtype,
        pixel_size_um=lattice.known_pixel_size_um,
        step_px={a: s for a, s in lattice.step_px.items() if f"tile_{a}" == dim},
        channels=lattice.channels,
    )


class Lattices:
    """The lattices of a project by key, each made or loaded once.

    Parameters
    ----------
    tiles
        The lattice of the acquisition.
    load
        Gives a lattice of a stage's own by its key.
    """

    def __init__(self, tiles: Lattice, load: Callable[[str], Lattice]) -> None:
        self._load = load
        self._known: dict[str, Lattice] = {TILES: tiles, UNIT: Lattice.unit()}

    def __getitem__(self, key: str) -> Lattice:
        if key not in self._known:
            if key.startswith("planes:"):
                _, dim, base = key.split(":", 2)
                self._known[key] = plane_lattice(self[base], dim)
            else:
                self._known[key] = self._load(key)
        return self._known[key]

    def keep(self, key: str, lattice: Lattice) -> None:
        """Know a lattice of a stage's own without loading it."""
        self._known[key] = lattice

    def grown(self, tiles: Lattice) -> None:
        """The acquisition has grown: what follows from its lattice is made anew."""
        own = {key: lattice for key, lattice in self._known.items() if key.startswith("own:")}
        self._known = {TILES: tiles, UNIT: self._known[UNIT], **own}


def lattice_grows(key: str) -> bool:
    """Whether the lattice with this key grows when tiles are added to the acquisition."""
    return key == TILES or (key.startswith("planes:") and key.endswith(f":{TILES}"))
