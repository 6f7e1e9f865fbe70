"""The tiles of one stage on disk: a sharded Zarr v3 array, read and written through tensorstore.

The store of a stage is a Zarr group that xarray opens, with the array, the lattice's labels and
the tiles' positions in it::

    data.zarr/            xarray.open_zarr("data.zarr")
        clean/            zarr.open_array("data.zarr/clean")
            zarr.json
            c.0.1.0.0     tile (0, 1): one shard, one file
        tile_y/ tile_x/   labels of the lattice
        y_um/ x_um/       positions

Tiles of a lattice that grows are a list instead, of dims ``(tile, y, x)`` with the id for an index
(``c.7.0.0``), and labels and positions are coordinates of ``tile``.

Pixels are read by box and touch only the inner chunks that the box meets; they are written by
attempts into staging areas, and appear by `latticework.io.publish`.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.handles import explain, open_handle, shared_context
from latticework.io.labelled import open_labelled
from latticework.io.layout import ArrayLayout
from latticework.io.list_group import ListGroup
from latticework.io.stage_group import stored_layout, write_metadata
from latticework.lattice.geometry import Box

__all__ = ["PendingRead", "TileArray", "open_labelled"]


class TileArray:
    """One stage's tiles on disk.

    Examples
    --------
    >>> import tempfile
    >>> from latticework import Lattice
    >>> from latticework.io.publish import publish
    >>> folder = Path(tempfile.mkdtemp())
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 50, "x": 80}, dtype="u2")
    >>> layout = ArrayLayout.plan(
    ...     lattice, dims=("y", "x"), shape=(50, 80), dtype="uint16", name="clean"
    ... )
    >>> store = TileArray.create(folder / "data.zarr", layout, lattice)

    An attempt writes a tile aside; publishing makes it appear:

    >>> pixels = np.arange(4000, dtype="u2").reshape(50, 80)
    >>> number_of_bytes = store.stage(folder / "staging", (1, 2), pixels)
    >>> publish(folder / "staging", store.path, layout.keys((1, 2)))

    Margins of many tiles are read side by side, straight into their places:

    >>> halo = np.zeros((4, 80), "u2")
    >>> first = store.start_read((1, 2), Box((0, 0), (2, 80)), halo[:2])
    >>> last = store.start_read((1, 2), Box((48, 0), (50, 80)), halo[2:])
    >>> first.result(), last.result()
    (None, None)
    >>> halo[:, 0].tolist()
    [0, 80, 3840, 3920]
    """

    __slots__ = (
        *("_group", "_handle", "_keys", "_staged"),
        *("cache_bytes", "cores", "generation", "layout", "path"),
    )

    def __init__(
        self,
        path: Path | str,
        layout: ArrayLayout,
        *,
        cache_bytes: int = 0,
        generation: int = 0,
        cores: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.layout = layout
        self.cache_bytes = int(cache_bytes)
        self.generation = int(generation)
        self.cores = cores
        self._handle: Any = None
        self._staged: tuple[Path | None, Any] = (None, None)
        self._keys: tuple[Sequence[int], tuple[str, ...]] = ((), ())
        self._group: ListGroup | None = None

    @classmethod
    def create(cls, path: Path | str, layout: ArrayLayout, lattice: Any = None) -> "TileArray":
        """A new, empty store: metadata and coordinates. What is there is left as it is.

        Parameters
        ----------
        path
            Folder of the group, such as ``stages/clean/data.zarr``.
        layout
            Geometry of the array.
        lattice
            Where the positions of the tiles come from; without it, labels are all there is.
        """
        path = Path(path)
        present = path / layout.name / "zarr.json"
        if present.exists():
            known = cls.open(path).layout
            if known != layout:
                raise StoreError(
                    f"{path} holds another array already: remove it, or create the new one "
                    "elsewhere"
                )
            layout = replace(layout, separator=known.separator)
        write_metadata(path, layout, lattice)
        return cls(path, layout)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        cache_bytes: int = 0,
        generation: int = 0,
        cores: int | None = None,
    ) -> "TileArray":
        """The store at `path`.

        Parameters
        ----------
        path
            Folder of the group.
        cache_bytes
            Memory for decoded chunks, shared by all stores of the process that ask for as much.
            A cached chunk is used only while its file is unchanged, so a tile that is published
            later, or again, is never read stale.
        generation
            Number of the array's rewritings, for whoever keeps several open.
        cores
            Threads that decode; default one per core of the machine.
        """
        layout = stored_layout(Path(path))
        return cls(path, layout, cache_bytes=cache_bytes, generation=generation, cores=cores)

    def grow(self, lattice: Any) -> "TileArray":
        """The store for a lattice with more tiles; no tile's file is touched.

        Where tiles are a list, this store goes on: it takes new ids at once, as do stores of other
        processes, and what the group says of tiles, which others read, follows when it is time
        (`refresh_coordinates`). Otherwise the metadata are written, for more labels at the end.
        """
        layout = self.layout.grown(lattice)
        if layout.kind == "list":
            self.refresh_coordinates(lattice, force=False)
            return self
        write_metadata(self.path, layout, lattice)
        return TileArray(
            self.path,
            layout,
            cache_bytes=self.cache_bytes,
            generation=self.generation,
            cores=self.cores,
        )

    def refresh_coordinates(self, lattice: Any, *, force: bool = True) -> bool:
        """Write how many tiles a list has, and their labels, positions and names.

        Whoever opens the group, or has it open, sees those of before or those of now.

        Parameters
        ----------
        lattice
            The lattice as it is now.
        force
            False: only if the last time is long enough ago for what it costs.

        Returns
        -------
        bool
            Whether they are as the lattice is.
        """
        if self.layout.kind != "list":
            raise StoreError(
                f"array {self.layout.name!r} is no list of tiles: its coordinates do not change"
            )
        if self._group is None:
            self._group = ListGroup(self.path)
        layout = self.layout.grown(lattice)
        written = self._group.write(layout, lattice, force=force)
        if written:
            self.layout = layout
        return written

    # -- reading --------------------------------------------------------------------------

    def read(self, index: Sequence[int], box: Box | None = None) -> np.ndarray:
        """Pixels of `box` (default: all) of the tile at a grid position, or at ``(id,)``."""
        box = self.layout.tile_box(index) if box is None else box
        out = np.empty(box.shape, self.layout.dtype)
        self.start_read(index, box, out).result()
        return out

    def start_read(self, index: Sequence[int], box: Box, out: np.ndarray) -> "PendingRead":
        """Begin to read `box` of a tile into `out`, which may be a view of a larger array.

        Nothing is copied on the way but from the decoded chunks to `out`. Start all that is
        needed, then wait for each: reads go on side by side.
        """
        region = self.layout.region(index, box)
        return self._start(region, box, out, tuple(map(int, index)))

    def start_read_volume(self, box: Box, out: np.ndarray) -> "PendingRead":
        """Begin to read any box of the volume (kind "volume") into `out`, whatever its blocks."""
        volume = self.layout.volume_shape
        if volume is None:
            raise StoreError(f"array {self.layout.name!r} keeps tiles apart: read them one by one")
        if not Box.whole(volume).contains(box):
            raise StoreError(f"array {self.layout.name!r}: {box} is not within its {volume} pixels")
        return self._start(box.slices, box, out, None)

    def _start(
        self, region: tuple[slice, ...], box: Box, out: np.ndarray, index: tuple[int, ...] | None
    ) -> "PendingRead":
        if out.shape != box.shape or out.dtype != self.layout.dtype or not out.flags.writeable:
            raise StoreError(
                f"array {self.layout.name!r}: {box} has {box.shape} pixels of {self.layout.dtype}; "
                f"they do not go into an array of {out.shape} {out.dtype}"
                + ("" if out.flags.writeable else " that cannot be written to")
            )
        if box.size == 0:
            return PendingRead(None, self, index)
        import tensorstore

        source = self._open_handle()[region]
        if lead := len(self.layout.lead_dims):
            source = source[tuple(s.start for s in region[:lead])]
        target = tensorstore.array(out)
        return PendingRead(target.write(source.translate_to[0]), self, index)

    def _open_handle(self) -> Any:
        if self._handle is None:
            self._handle = open_handle(
                self.path / self.layout.name,
                self.layout,
                context=shared_context(self.cores, self.cache_bytes),
                cached=self.cache_bytes > 0,
            )
        return self._handle

    # -- writing --------------------------------------------------------------------------

    def stage(self, staging: Path | str, index: Sequence[int], data: Any) -> int:
        """Write a tile below `staging`: exactly the files ``layout.keys(index)``.

        Pixels come in the layout's dtype, in any byte order, and in the tile's shape (where tiles
        differ in shape, a smaller one is padded with the fill value).

        Returns
        -------
        int
            Bytes on disk.
        """
        pixels = self._checked(index, data)
        staging = Path(staging)
        try:
            handle = self._staging_handle(staging)
            region = self.layout.region(index)
            place = handle[region].translate_to[0]
            place.write(
                pixels.reshape(place.shape),
                can_reference_source_data_indefinitely=True,  # halves the memory of a write
            ).result()
            return sum(os.stat(f"{staging}/{key}").st_size for key in self.keys(index))  # noqa: PTH116
        except (ValueError, RuntimeError, OSError, NotImplementedError) as error:
            raise StoreError(explain(self.layout, staging, tuple(index), error, "write")) from error

    def keys(self, index: Sequence[int]) -> tuple[str, ...]:
        """Files of a tile, relative to the store's folder; those of the last one are at hand."""
        known, keys = self._keys
        place = tuple(index)
        if known != place or not keys:
            keys = self.layout.keys(place)
            self._keys = place, keys
        return keys

    def _staging_handle(self, staging: Path) -> Any:
        """The array below `staging`, opened once for all tiles of a batch."""
        known, handle = self._staged
        if known != staging:
            handle = open_handle(
                staging / self.layout.name, self.layout, context=shared_context(self.cores, 0)
            )
            self._staged = staging, handle
        return handle

    def _checked(self, index: Sequence[int], data: Any) -> np.ndarray:
        pixels = np.asarray(data)
        want = self.layout.tile_box(index).shape
        if pixels.dtype.newbyteorder("=") != np.dtype(self.layout.dtype):
            raise StoreError(
                f"tile {tuple(index)} of array {self.layout.name!r} came as {pixels.dtype}, but "
                f"the array holds {self.layout.dtype}: convert with .astype({self.layout.dtype!r})"
            )
        fits = pixels.ndim == len(want) and all(
            0 < n <= m for n, m in zip(pixels.shape, want, strict=True)
        )
        if not fits or (self.layout.kind == "volume" and pixels.shape != want):
            raise StoreError(
                f"tile {tuple(index)} of array {self.layout.name!r} came with shape "
                f"{pixels.shape}, but has {want} pixels along ({', '.join(self.layout.dims)})"
            )
        if pixels.shape != want:
            blank = np.nan if pixels.dtype.kind in "fc" else 0
            padded = np.full(want, blank, pixels.dtype.newbyteorder("="))
            padded[tuple(slice(0, n) for n in pixels.shape)] = pixels
            return padded
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.cache_bytes, self.generation, self.cores)
        return _reopened, (self.path, self.layout, *options)

    def __repr__(self) -> str:
        shape = ", ".join(
            f"{dim}: {n}"
            for dim, n in zip(self.layout.array_dims, self.layout.array_shape, strict=True)
        )
        return f"<TileArray {self.layout.name!r} ({shape}) {self.layout.dtype} at {self.path}>"


class PendingRead:
    """A read that is under way; `result` waits for it."""

    __slots__ = ("_future", "_index", "_store")

    def __init__(self, future: Any, store: TileArray, index: tuple[int, ...] | None) -> None:
        self._future = future
        self._store = store
        self._index = index

    def done(self) -> bool:
        """Whether the pixels are there (or the read has failed)."""
        return self._future is None or bool(self._future.commit.done())

    def result(self) -> None:
        """Wait until the pixels are where they belong.

        Raises
        ------
        StoreError
            Where the tile is missing, damaged or not readable; names the file.
        """
        if self._future is None:
            return
        try:
            self._future.result()
        except (ValueError, RuntimeError, OSError, NotImplementedError) as error:
            store = self._store
            raise StoreError(
                explain(store.layout, store.path, self._index, error, "read")
            ) from error


def _reopened(
    path: Path, layout: ArrayLayout, cache_bytes: int, generation: int, cores: int | None
) -> TileArray:
    return TileArray(path, layout, cache_bytes=cache_bytes, generation=generation, cores=cores)
