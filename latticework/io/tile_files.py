"""Which files the tiles of a lattice lie in, for programs that open them by themselves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice import Lattice


@dataclass(frozen=True, slots=True)
class TileFiles:
    """Files and pages of the planes of every tile; one row per tile, in order of ``lattice.ids``.

    ::

        file[tile, channel, z]     row of `names`, or -1 where there is none that can be read
        page[tile, channel, z]     page within the file
        sample[channel, z]         sample within the page (RGB)
    """

    root: Path
    names: Sequence[str]
    """Files relative to the root."""
    file: np.ndarray
    page: np.ndarray
    sample: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """Tiles of which every plane is there, bool (n,)."""
        return np.asarray((self.file >= 0).all(axis=(1, 2)))

    def first(self, folder: Path, channel: int = 0) -> list[str]:
        """File of every tile's first plane, relative to `folder`."""
        root = os.path.relpath(self.root, folder.absolute()).replace(os.sep, "/")
        prefix = "" if root == "." else f"{root}/"
        return [
            prefix + self.names[row] if row >= 0 else ""
            for row in self.file[:, channel, 0].tolist()
        ]

    def one_file_each(self, program: str) -> None:
        """Refuse tiles whose planes along z lie in several files, and files of several tiles."""
        spread = (self.file != self.file[:, :, :1]).any(axis=(1, 2)) & self.present
        if spread.any():
            row = int(spread.argmax())
            raise LatticeError(
                f"the planes of {int(spread.sum()):,} tiles are files of their own (tile {row}: "
                f"{self.names[self.file[row, 0, 0]]!r} ...), but {program} takes a file per tile: "
                'write the tiles as stacks, or use format="terastitcher" or "csv"'
            )
        rows = np.flatnonzero(self.present)
        first = self.file[rows, :, 0]
        pairs = np.unique(
            np.stack([first.ravel(), np.repeat(rows, first.shape[1])], axis=1), axis=0
        )
        shared, tiles = np.unique(pairs[:, 0], return_counts=True)
        if (tiles > 1).any():
            name = self.names[int(shared[int((tiles > 1).argmax())])]
            raise LatticeError(
                f"{name!r} holds several tiles, but {program} is told one tile per file here: "
                'write the tiles to files of their own, or use format="csv"'
            )


def tile_files(lattice: Lattice) -> TileFiles | None:
    """Files of a lattice's tiles, or None where its pixels are not in TIFF files."""
    from latticework.io.tiff_source import TiffSource

    source = lattice.source
    if not isinstance(source, TiffSource):
        return None
    sizes = lattice.tile_shape
    shape = (sizes.get("c", 1), sizes.get("z", 1))
    file = source.file_of[lattice.ids][:, source.slot].reshape(-1, *shape)
    page = (source.page_of[lattice.ids][:, source.slot] + source.page).reshape(-1, *shape)
    unreadable = np.isin(lattice.ids, list(lattice.problems))
    file = np.where(unreadable[:, None, None], -1, np.maximum(file, -1)).astype(np.int64)
    return TileFiles(source.root, source.names, file, page, source.sample.reshape(shape))


def channel_number(lattice: Lattice, channel: int | str) -> int:
    """Index of a channel by its index or name.

    Raises
    ------
    LatticeError
        If there is no such channel.
    """
    count = lattice.tile_shape.get("c", 1)
    names = lattice.channels or ()
    if isinstance(channel, str) and channel in names:
        return names.index(channel)
    if isinstance(channel, int) and 0 <= channel < count:
        return channel
    known = f" ({', '.join(names)})" if names else ""
    raise LatticeError(
        f"channel={channel!r}: the tiles have {count} channel{'s' * (count > 1)}{known}; expected "
        f"0 to {count - 1}, or a name"
    )


def spatial_only(lattice: Lattice, program: str, allowed: Sequence[str]) -> None:
    """Refuse lattices that spread along axes that the program does not know.

    Raises
    ------
    LatticeError
        If a lattice dim that is not among `allowed` has several labels.
    """
    for dim, size in lattice.sizes.items():
        if dim not in allowed and size > 1:
            label = lattice.labels[dim][0].item()
            name = dim.removeprefix("tile_")
            raise LatticeError(
                f"{program} knows no axis {dim!r}, and this lattice has {size} labels along it: "
                f"write one file for each, of lattice.sel({name}={label!r}) ..."
            )
