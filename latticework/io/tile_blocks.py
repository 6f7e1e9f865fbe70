"""One tile of an acquisition, such as a TIFF stack, divided into blocks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.sources import load_source, mix, read_table, save_source, write_table
from latticework.lattice import Lattice
from latticework.lattice.geometry import Box
from latticework.lattice.source import TileSource

INNER = "tile"
"""Folder, within that of the blocks, of the source that has the tile."""


@dataclass(frozen=True, slots=True)
class TileBlockSource:
    """Tiles that are boxes of one tile of another source.

    ::

        one tile of `inner`         +------+------+---+
                                    |  0   |  1   | 2 |    each block a tile,
                                    +------+------+---+    the last ones smaller
                                    |  3   |  4   | 5 |
                                    +------+------+---+
    """

    kind: ClassVar[str] = "tile-blocks"

    inner: TileSource
    """Where the pixels come from."""
    tile: int
    """The tile of `inner` that is divided."""
    starts: np.ndarray
    """First pixel of each block in it, shape (n, number of tile dims)."""

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in block `tile`; reads what `inner` touches for them."""
        return self.inner.read(self.tile, box.shift(self.starts[tile].tolist()))

    def read_volume(self, box: Box) -> np.ndarray:
        """Pixels of any box of the divided tile, at once."""
        return self.inner.read(self.tile, box)

    def fingerprints(self) -> np.ndarray:
        """From the divided tile's, and each block's place."""
        whole = self.inner.fingerprints()[self.tile]
        return mix(np.full(len(self.starts), whole, np.uint64), *self.starts.T)

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the table, and the inner source below it."""
        save_source(self.inner, folder / INNER, base=base)
        write_table(folder / "blocks.arrow", {"start": self.starts.ravel()})
        return {"tile": self.tile, "ndim": self.starts.shape[1]}

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:
        """Open the tables, memory-mapped."""
        starts = read_table(folder / "blocks.arrow").column("start").to_numpy()
        inner = load_source(folder / INNER, base=base)
        return cls(inner, int(spec["tile"]), starts.reshape(-1, spec["ndim"]))


def divided(
    lattice: Lattice, block: Mapping[str, int], pixel_size_um: Mapping[str, float], where: str
) -> Lattice:
    """A lattice of one tile as a lattice of its blocks.

    Parameters
    ----------
    lattice
        Of one tile, with its source.
    block
        Pixels of a block by axis.
    pixel_size_um
        Pixel sizes that are known.
    where
        The acquisition, for messages.

    Examples
    --------
    >>> from latticework.io.memory import MemorySource
    >>> one = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 5, "x": 6}, dtype="i8")
    >>> one = one.replace(source=MemorySource([np.arange(30).reshape(5, 6)]))
    >>> blocks = divided(one, {"y": 4, "x": 4}, {}, "an image")
    >>> blocks.sizes, blocks.source.read(3, Box((0, 0), (1, 2))).tolist()
    ({'tile_y': 2, 'tile_x': 2}, [[28, 29]])
    """
    if lattice.n_tiles != 1:
        raise LatticeError(
            f"block={dict(block)} divides one image, but {where} holds {lattice.n_tiles:,} tiles: "
            "open one of them, or leave block out"
        )
    if lattice.problems:
        raise SourceError(next(iter(lattice.problems.values())))
    assert lattice.source is not None
    shape = tuple(lattice.tile_shape.values())
    outline = np.broadcast_to(np.zeros((), lattice.dtype), shape)  # a shape without memory
    blocks = Lattice.from_array(
        outline, block=block, dims=lattice.tile_dims, pixel_size_um=pixel_size_um
    )
    starts: np.ndarray = blocks.source.starts  # type: ignore[union-attr]
    source = TileBlockSource(lattice.source, int(lattice.ids[0]), starts)
    return blocks.replace(source=source, channels=lattice.channels)
