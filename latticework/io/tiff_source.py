"""Tiles whose planes are pages of TIFF files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from latticework.errors import SourceError
from latticework.io.sources import (
    Strings,
    hash_strings,
    mix,
    path_from_spec,
    path_spec,
    read_table,
    write_table,
)
from latticework.io.tiff import ByteCount, TiffFile
from latticework.lattice.geometry import Box


@dataclass(slots=True)
class TiffSource:
    """Reads tiles from TIFF files; planes of one tile may lie in one file or in several.

    All tiles are laid out alike. The planes of a tile (every combination of its leading dims, in
    C order) are numbered; plane ``p`` is in the file of slot ``slot[p]``, ``page[p]`` pages after
    the slot's first page, and is sample ``sample[p]`` of that page::

        tile 7   file_of[7] = (14, 15)     page_of[7] = (0, 0)      two channels, a file for each
                 slot = (0, 0, 0, 1, 1, 1) page = (0, 1, 2, 0, 1, 2)   three z planes in each
    """

    kind: ClassVar[str] = "tiff"

    root: Path
    """Folder that the names are relative to."""
    names: Sequence[str]
    """Files, relative to the root, with forward slashes."""
    sizes: np.ndarray
    """Bytes of every file."""
    mtimes: np.ndarray
    """When each file was last changed, nanoseconds."""
    file_of: np.ndarray
    """Row of the file for every tile and slot, shape (n, slots); -1 where it is missing,
    ``-2 - row`` where it cannot be used."""
    page_of: np.ndarray
    """First page for every tile and slot."""
    slot: np.ndarray
    """Slot of every plane."""
    page: np.ndarray
    """Page of every plane, from the slot's first."""
    sample: np.ndarray
    """Sample of every plane within its page."""
    shape: tuple[int, ...]
    """Shape of a tile; the last two are y and x."""
    dtype: np.dtype
    """Type of the pixels."""
    count: ByteCount = field(default_factory=ByteCount)
    """Bytes read so far in this process."""

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of `box` in tile `tile`; reads only the strips, tiles and rows in it."""
        out = np.empty(box.shape, self.dtype)
        if not box.size:
            return out
        self._check(tile, box)
        lead = self.shape[:-2]
        ranges = [np.arange(a, b) for a, b in zip(box.start[:-2], box.stop[:-2], strict=True)]
        planes = np.zeros(1, np.int64)
        if ranges:
            grids = np.meshgrid(*ranges, indexing="ij")
            planes = np.ravel_multi_index([grid.ravel() for grid in grids], lead)
        flat = out.reshape(-1, *out.shape[-2:])
        y, x = (box.start[-2], box.stop[-2]), (box.start[-1], box.stop[-1])
        for slot in np.unique(self.slot[planes]):
            self._read_slot(tile, int(slot), planes, flat, y, x)
        return out

    def _read_slot(
        self,
        tile: int,
        slot: int,
        planes: np.ndarray,
        out: np.ndarray,
        y: tuple[int, int],
        x: tuple[int, int],
    ) -> None:
        row, first = int(self.file_of[tile, slot]), int(self.page_of[tile, slot])
        rows = np.flatnonzero(self.slot[planes] == slot)
        if row < -1:
            path = self.root / self.names[-2 - row]
            raise SourceError(
                f"{path} could not be used when the acquisition was opened (lattice.problems says "
                f"why); tile {tile} needs it: restore it and open the acquisition again",
                path,
            )
        if row < 0:
            index = np.unravel_index(int(planes[rows[0]]), self.shape[:-2] or (1,))
            raise SourceError(
                f"tile {tile} has no file for plane {tuple(map(int, index))}: it was missing when "
                "the acquisition was "
                "opened; complete the folder and open it again"
            )
        with TiffFile(self.root / self.names[row], self.count) as file:
            for page in np.unique(self.page[planes[rows]]):
                there = rows[self.page[planes[rows]] == page]
                layout = file.page(first + int(page))
                found = (layout.samples, layout.length, layout.width)
                expected = (int(self.sample.max()) + 1, *self.shape[-2:])
                if found != expected or layout.dtype.newbyteorder("=") != self.dtype:
                    raise SourceError(
                        f"page {first + int(page)} of {file.path} has samples x rows x columns "
                        f"{found} of {layout.dtype}; expected {expected} of {self.dtype}: open the "
                        "acquisition again",
                        file.path,
                    )
                out[there] = file.read(first + int(page), y, x)[self.sample[planes[there]]]

    def _check(self, tile: int, box: Box) -> None:
        if not 0 <= tile < len(self.file_of):
            raise SourceError(
                f"no tile {tile}: this source has the tiles 0 to {len(self.file_of) - 1}"
            )
        if not Box.whole(self.shape).contains(box):
            raise SourceError(f"{box} is not within tile {tile}, which has the shape {self.shape}")

    def path(self, tile: int) -> Path:
        """First file of a tile, for messages and people."""
        rows = self.file_of[tile]
        return self.root / self.names[int(rows[rows >= 0][0])] if (rows >= 0).any() else self.root

    def fingerprints(self) -> np.ndarray:
        """From name, size and time of change of each tile's files, as they were when opened."""
        files = mix(hash_strings(self.names), self.sizes, self.mtimes)
        files = np.append(files, np.uint64(0))
        columns = [
            mix(files[np.where(rows < -1, -2 - rows, rows)], first)
            for rows, first in zip(self.file_of.T, self.page_of.T, strict=True)
        ]
        return mix(*columns)

    def refreshed(self) -> Self:
        """The same source with the files' sizes and times of change as they are now.

        Of files that are not there now, what was known of them stays.
        """
        from dataclasses import replace

        from latticework.io.scan import file_stats

        sizes, mtimes = file_stats(self.root, self.names)
        gone = (sizes == 0) & (mtimes == 0)
        return replace(
            self,
            sizes=np.where(gone, self.sizes, sizes),
            mtimes=np.where(gone, self.mtimes, mtimes),
        )

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write the tables; see `latticework.io.sources.SavableSource`."""
        column = self.names.column if isinstance(self.names, Strings) else list(self.names)
        write_table(
            folder / "files.arrow", {"name": column, "size": self.sizes, "mtime_ns": self.mtimes}
        )
        write_table(
            folder / "tiles.arrow", {"file": self.file_of.ravel(), "page": self.page_of.ravel()}
        )
        return {
            "root": path_spec(self.root, base),
            "slots": self.file_of.shape[1],
            "planes": [self.slot.tolist(), self.page.tolist(), self.sample.tolist()],
            "shape": list(self.shape),
            "dtype": self.dtype.str,
        }

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:
        """Open the tables, memory-mapped."""
        files, tiles = read_table(folder / "files.arrow"), read_table(folder / "tiles.arrow")
        slot, page, sample = (np.array(column, np.int64) for column in spec["planes"])
        return cls(
            path_from_spec(spec["root"], base),
            Strings(files.column("name")),
            files.column("size").to_numpy(),
            files.column("mtime_ns").to_numpy(),
            tiles.column("file").to_numpy().reshape(-1, spec["slots"]),
            tiles.column("page").to_numpy().reshape(-1, spec["slots"]),
            slot, page, sample,
            tuple(spec["shape"]),
            np.dtype(spec["dtype"]),
        )  # fmt: skip
