"""Where the pixels of a lattice come from: the one seam that readers implement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from latticework.lattice.geometry import Box


@runtime_checkable
class TileSource(Protocol):
    """What a reader of acquisitions provides.

    Readers of files live in `latticework.io`; arrays in memory are first-class sources too
    (`BlockSource` below and `latticework.io.memory`).

    A source of an acquisition that is under way may have a method ``presence()`` too: a code of
    `latticework.lattice.states.State` (uint8) for each tile id, which is ``COMPLETE`` where the
    tile is there, ``WAITING`` where the microscope has announced it, and ``ABSENT`` where it was
    withdrawn. Without it, all tiles are there.
    """

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box`, given within the tile in the order of its dims.

        Touches as few bytes as the format allows, and may be called from several threads.
        """
        ...

    def fingerprints(self) -> np.ndarray:
        """One uint64 for each tile id that changes whenever the bytes of the tile change."""
        ...


@dataclass(frozen=True, slots=True)
class SelectedSource:
    """Some tiles of another source, numbered from 0.

    Parameters
    ----------
    inner
        Where the pixels come from.
    tiles
        For each of its own tiles, the id in `inner`.

    Examples
    --------
    >>> blocks = BlockSource(np.arange(6), np.array([[0], [2], [4]]))
    >>> SelectedSource(blocks, np.array([2, 0])).read(0, Box((0,), (2,)))
    array([4, 5])
    """

    inner: TileSource
    tiles: np.ndarray

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` of a tile."""
        return self.inner.read(int(self.tiles[tile]), box)

    def fingerprints(self) -> np.ndarray:
        """Those of the tiles that they are."""
        return np.asarray(self.inner.fingerprints()[self.tiles])

    def refreshed(self) -> Self:
        """The same tiles with their files as they are now, where the other source can look."""
        look: Callable[[], TileSource] | None = getattr(self.inner, "refreshed", None)
        return self if look is None else replace(self, inner=look())


@dataclass(frozen=True, slots=True)
class BlockSource:
    """Blocks of one big array, each a tile.

    Parameters
    ----------
    array
        Anything with ``shape``, ``dtype`` and NumPy slicing: NumPy, dask, zarr.
    starts
        First pixel of each block in the array, shape (n, array.ndim).
    """

    array: Any
    starts: np.ndarray

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` within block `tile`."""
        return np.asarray(self.array[box.shift(self.starts[tile].tolist()).slices])

    def read_volume(self, box: Box) -> np.ndarray:
        """Pixels of any box of the array, at once."""
        return np.asarray(self.array[box.slices])

    def fingerprints(self) -> np.ndarray:
        """Block numbers: an array in memory has no versions."""
        return np.arange(len(self.starts), dtype=np.uint64)


def array_dims(ndim: int, dims: Sequence[str] | None) -> tuple[str, ...]:
    """Dims of an array: as given, or the last of ``c z y x``."""
    if dims is not None:
        return tuple(str(dim) for dim in dims)
    return ("c", "z", "y", "x")[4 - ndim :] if 0 < ndim <= 4 else ()
