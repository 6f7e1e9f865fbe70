"""One tile: where it is and what it is, without its pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from latticework.lattice.geometry import Box
from latticework.lattice.source import TileSource


@dataclass(frozen=True, slots=True)
class Tile:
    """The address of one tile with its facts; what stages and errors call a tile by.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 64, "x": 64}, dtype="u2")
    >>> tile = lattice.tile(y=1, x=2)
    >>> tile.id, tile.name, tile.index
    (5, 'y1_x2', (1, 2))
    >>> tile.address
    '(tile_y=1, tile_x=2)'
    """

    id: int
    """Position in acquisition order; stays with the tile for ever."""
    index: tuple[int, ...]
    """Grid position, in the order of the lattice's dims."""
    labels: Mapping[str, int | str]
    """Label along each lattice dim, such as ``{"tile_z": 3, "tile_y": 1}``."""
    name: str
    """Name in the acquisition, or one made from the labels."""
    position_um: Mapping[str, float]
    """Position of the first pixel, in micrometres, by spatial axis."""
    dims: tuple[str, ...]
    """Names of the pixel dims."""
    shape: tuple[int, ...]
    """Pixels along each pixel dim."""
    dtype: np.dtype
    """Type of the pixels."""
    pixel_size_um: Mapping[str, float]
    """Size of a pixel, in micrometres, by spatial axis."""
    problem: str | None = None
    """Why the tile cannot be read, where it cannot."""
    source: TileSource | None = field(default=None, repr=False, compare=False)
    """What reads its pixels, for pictures of it; stays behind when a tile travels."""

    @property
    def box(self) -> Box:
        """All pixels of the tile."""
        return Box.whole(self.shape)

    @property
    def address(self) -> str:
        """The labels as messages show them."""
        if not self.labels:
            return "(all tiles)"
        return "(" + ", ".join(f"{dim}={label}" for dim, label in self.labels.items()) + ")"

    def __getstate__(self) -> list[Any]:
        return [None if f.name == "source" else getattr(self, f.name) for f in fields(self)]

    def __setstate__(self, state: list[Any]) -> None:
        for known, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, known.name, value)

    def _repr_html_(self) -> str:
        from latticework.viz.tile_html import tile_html

        return tile_html(self)
