"""Where each tile of a stage lies in the stage's Zarr array: pure geometry, no files.

A stage's output is one sharded Zarr v3 array. It comes in three kinds, two of which are::

    kind "tiles"   dims (tile_y, tile_x, y, x)       kind "volume"  dims (y, x)
                                                     blocks of one volume, no overlap
    (0,0)┌─────┐ (0,1)┌─────┐                        ┌─────┬─────┬──┐
         │     │      │     │                        │(0,0)│(0,1)│  │   the last blocks
         └─────┘      └─────┘                        ├─────┼─────┼──┤   are ragged
    (1,0)┌─────┐ (1,1)┌─────┐                        │(1,0)│(1,1)│  │
         └─────┘      └─────┘                        └─────┴─────┴──┘
    a tile is one shard (one file);                  a block is one shard

    one shard = a grid of inner chunks, each compressed by itself:

    ┌───┬───┬───┬───┐   a margin of a tile is read by touching
    │ ▒ │ ▒ │ ▒ │ ▒ │   the inner chunks that it meets (▒) only
    ├───┼───┼───┼───┤
    │   │   │   │   │
    └───┴───┴───┴───┘

A tile above 1 GiB is several shards, split along ``c``, then ``z``, and so on. All files of an
array lie in one folder: making folders costs more than the files of small blocks.

The third kind, "list", is for lattices that grow: dims ``(tile, y, x)``, where ``tile`` is the id.
A tile's file is named after its id, so it stays where it is whatever labels and grid positions
become; these are coordinates beside the array (`latticework.io.list_group`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, Self

import numpy as np

from latticework.errors import StoreError
from latticework.io.chunking import inner_chunk, shard_shape
from latticework.io.labels import Label, compact, expand
from latticework.io.plain_zarr import fill_value
from latticework.lattice.geometry import Box

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
"""Pixel types that zarr-python and tensorstore both store."""

MEMBERS = ("tile_name", "z_um", "y_um", "x_um")
"""Coordinates that lie beside the array in its group."""
LIST_DIM = "tile"
"""Dim of the ids in arrays of kind "list"."""


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Geometry and storage of one stage's array; a value that travels as JSON.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 500, "x": 800}, dtype="u2")
    >>> layout = ArrayLayout.plan(
    ...     lattice, dims=("y", "x"), shape=(500, 800), dtype="uint16", name="clean"
    ... )
    >>> layout.kind, layout.array_dims, layout.array_shape
    ('tiles', ('tile_y', 'tile_x', 'y', 'x'), (2, 3, 500, 800))
    >>> layout.keys((1, 2))
    ('clean/c.1.2.0.0',)
    >>> layout.region((1, 2), Box((0, 0), (500, 10)))
    (slice(1, 2, None), slice(2, 3, None), slice(0, 500, None), slice(0, 10, None))
    >>> ArrayLayout.from_json(layout.to_json()) == layout
    True
    """

    name: str
    """Name of the array within its group: the stage's."""
    kind: Literal["tiles", "volume", "list"]
    """Whether tiles lie on the grid, are the blocks of one volume, or lie by their ids."""
    dtype: str
    """Name of the NumPy dtype of the pixels."""
    lattice_dims: tuple[str, ...]
    """Dims of the lattice."""
    labels: tuple[tuple[Label, ...], ...]
    """Labels along each lattice dim; none for kind "list"."""
    dims: tuple[str, ...]
    """Pixel dims of one tile."""
    tile_shape: tuple[int, ...]
    """Pixels of one (largest) tile along `dims`."""
    shard: tuple[int, ...]
    """Pixels of one shard along `dims`."""
    inner: tuple[int, ...]
    """Pixels of one inner chunk along `dims`; divides `shard`."""
    volume_shape: tuple[int, ...] | None = None
    """Pixels of the whole volume along `dims` (kind "volume")."""
    pixel_size_um: tuple[tuple[str, float], ...] = ()
    """Size of a pixel in micrometres by spatial axis."""
    codec: str = "lz4"
    """Blosc's compressor, behind its bitshuffle."""
    checksum: bool = False
    """Whether each inner chunk carries a CRC32C (each shard's index always does)."""
    capacity: int = field(default=0, compare=False)
    """Kind "list": tiles that the metadata announce. No tile's place depends on it."""
    separator: Literal[".", "/"] = field(default=".", compare=False)
    """Between the numbers in a file's name; "/" (a folder for each) in older projects' volumes."""
    _sizes: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Numbers of labels."""
    _axes: tuple[int | None, ...] = field(init=False, repr=False, compare=False)
    """For each pixel dim, which number of an index tells the block along it."""

    def __post_init__(self) -> None:
        places = {dim: axis for axis, dim in enumerate(self.lattice_dims)}
        axes = tuple(places.get(f"tile_{dim}") for dim in self.dims)
        object.__setattr__(self, "_sizes", tuple(len(labels) for labels in self.labels))
        object.__setattr__(self, "_axes", axes)

    @classmethod
    def plan(
        cls,
        lattice: Any,
        *,
        dims: Sequence[str],
        shape: Sequence[int],
        dtype: Any,
        name: str,
        codec: str = "lz4",
        checksum: bool = False,
        inner: Sequence[int] | None = None,
        kind: Literal["list"] | None = None,
    ) -> Self:
        """Layout for a stage's outputs on a lattice.

        Parameters
        ----------
        lattice
            The lattice that the stage runs on.
        dims, shape
            Pixel dims of one output tile, and its (largest) shape.
        dtype
            Type of the pixels.
        name
            The stage's name, which becomes the array's.
        codec, checksum, inner
            Storage, where the measured defaults do not fit.
        kind
            "list" for a lattice that may grow; what does not grow, the blocks of a volume and the
            one result of a reduction, is stored as ever. By default, what fits the lattice.
        """
        dims, shape = tuple(dims), tuple(int(n) for n in shape)
        blocks = _is_volume(lattice, dims, shape)
        by_id = kind == "list" and not blocks and bool(lattice.dims)
        others = dict.fromkeys((*lattice.dims, LIST_DIM) if by_id else lattice.dims)
        pixel = _check(name, tuple(others), dims, shape, dtype)
        chunk = tuple(inner) if inner else inner_chunk(dims, shape, pixel.itemsize, divide=blocks)
        return cls(
            name=name,
            kind="volume" if blocks else "list" if by_id else "tiles",
            dtype=pixel.name,
            lattice_dims=tuple(lattice.dims),
            labels=() if by_id else _labels_of(lattice),
            dims=dims,
            tile_shape=shape,
            shard=shard_shape(shape, chunk, pixel.itemsize, divide=blocks),
            inner=chunk,
            volume_shape=tuple(int(lattice.volume_shape[dim]) for dim in dims) if blocks else None,
            pixel_size_um=tuple(
                (axis, float(lattice.pixel_size_um[axis]))
                for axis in lattice.spatial_dims
                if axis in dims
            ),
            codec=codec,
            checksum=checksum,
            capacity=_capacity(lattice) if by_id else 0,
        )

    # -- geometry -------------------------------------------------------------------------

    @property
    def grid(self) -> tuple[int, ...]:
        """Sizes of the dims before the tiles' own: numbers of labels, or of tiles in a list."""
        if self.kind == "list":
            return (self.capacity,)
        return self._sizes

    @property
    def lead_dims(self) -> tuple[str, ...]:
        """Dims of the array before the tile's own."""
        if self.kind == "list":
            return (LIST_DIM,)
        return () if self.kind == "volume" else self.lattice_dims

    @property
    def array_dims(self) -> tuple[str, ...]:
        """Dims of the array."""
        return (*self.lead_dims, *self.dims)

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        if self.volume_shape is not None:
            return self.volume_shape
        return (*self.grid, *self.tile_shape)

    def place(self, lattice: Any, unit: int) -> tuple[int, ...]:
        """Address in the array of the tile that a unit makes: what ``index`` is elsewhere here.

        Parameters
        ----------
        lattice
            The lattice that the array was planned for.
        unit
            Id of a tile of it.

        Examples
        --------
        >>> from latticework import Lattice
        >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u2")
        >>> layout = ArrayLayout.plan(
        ...     lattice, dims=("y", "x"), shape=(8, 8), dtype="uint16", name="clean"
        ... )
        >>> layout.place(lattice, 4)
        (1, 1)
        """
        unit = int(unit)
        if self.kind == "list":
            return (unit,)
        ids = lattice.ids
        row = unit if 0 <= unit < len(ids) and ids[unit] == unit else lattice.rows_of([unit])[0]
        return tuple(lattice.index[row].tolist())

    def tile_box(self, index: Sequence[int]) -> Box:
        """Box of the tile in its own pixels; smaller for a ragged last block."""
        if self.volume_shape is None:
            self._check_index(index)
            return Box.whole(self.tile_shape)
        start = self._block_start(index)
        return Box.whole(
            [
                min(n, v - s)
                for n, v, s in zip(self.tile_shape, self.volume_shape, start, strict=True)
            ]
        )

    def region(self, index: Sequence[int], box: Box | None = None) -> tuple[slice, ...]:
        """Slices of the array that hold `box` (default: all) of a tile, in tile pixels."""
        whole = self.tile_box(index)
        box = whole if box is None else box
        if box.ndim != whole.ndim or not whole.contains(box):
            raise StoreError(
                f"array {self.name!r}: {box} is not within tile {tuple(index)}, which has "
                f"{' x '.join(map(str, whole.shape))} pixels along ({', '.join(self.dims)})"
            )
        if self.kind == "volume":
            return box.shift(self._block_start(index)).slices
        return (*(slice(i, i + 1) for i in map(int, index)), *box.slices)

    def keys(self, index: Sequence[int]) -> tuple[str, ...]:
        """Files of a tile, relative to the group's folder; almost always one."""
        if self.volume_shape is None:
            self._check_index(index)
            head = tuple(map(int, index))
            first: Sequence[int] = (0,) * len(self.dims)
        else:
            head = ()
            start = self._block_start(index)
            first = [s // n for s, n in zip(start, self.shard, strict=True)]
        parts = [-(-n // s) for n, s in zip(self.tile_box(index).shape, self.shard, strict=True)]
        return tuple(
            f"{self.name}/" + self.separator.join(map(str, ("c", *head, *tail)))
            for tail in product(*(range(f, f + n) for f, n in zip(first, parts, strict=True)))
        )

    def _block_start(self, index: Sequence[int]) -> tuple[int, ...]:
        """First pixel of a block in the volume."""
        self._check_index(index)
        return tuple(
            [
                0 if axis is None else int(index[axis]) * n
                for axis, n in zip(self._axes, self.tile_shape, strict=True)
            ]
        )

    def _check_index(self, index: Sequence[int]) -> None:
        if self.kind == "list":
            if len(index) != 1 or index[0] < 0:
                raise StoreError(
                    f"array {self.name!r} has no tile {tuple(index)}: expected (id,), with an id "
                    "from 0"
                )
            return
        if len(index) == len(self._sizes):
            for i, n in zip(index, self._sizes, strict=True):
                if not 0 <= i < n:
                    break
            else:
                return
        raise StoreError(
            f"array {self.name!r} has no tile {tuple(index)}: its grid is "
            f"{dict(zip(self.lattice_dims, self.grid, strict=True))}"
        )

    # -- growth ---------------------------------------------------------------------------

    def grown(self, lattice: Any) -> Self:
        """The layout for a lattice that got more tiles.

        Every tile keeps its files, so only the metadata has to be written again. A list takes any
        lattice of the same dims; a grid of tiles takes more labels at the end of some axes.

        Raises
        ------
        StoreError
            Where the axes differ, or labels came at the front or in between (existing tiles would
            change their place), or the array is a volume.
        """
        if self.kind == "list" and tuple(lattice.dims) == self.lattice_dims:
            return replace(self, capacity=max(self.capacity, _capacity(lattice)))
        labels = _labels_of(lattice)
        if labels == self.labels and tuple(lattice.dims) == self.lattice_dims:
            return self
        if tuple(lattice.dims) != self.lattice_dims or self.kind == "volume":
            raise StoreError(
                f"array {self.name!r} over {self.lattice_dims} cannot grow to {tuple(lattice.dims)}"
                if self.kind != "volume"
                else f"array {self.name!r} is one volume of {self.volume_shape}, which cannot grow"
            )
        for dim, old, new in zip(self.lattice_dims, self.labels, labels, strict=True):
            if new[: len(old)] != old:
                raise StoreError(
                    f"array {self.name!r} cannot grow along {dim}: its labels {_short(old)} are "
                    f"not the first of {_short(new)}. Declare the whole range of labels at the "
                    f"start, or run the stage again into a new array"
                )
        return replace(self, labels=labels)

    # -- as JSON --------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The layout as a JSON value; runs of integer labels are kept as ranges."""
        return {
            "name": self.name,
            "kind": self.kind,
            "dtype": self.dtype,
            "lattice_dims": list(self.lattice_dims),
            "labels": [compact(labels) for labels in self.labels],
            "dims": list(self.dims),
            "tile_shape": list(self.tile_shape),
            "shard": list(self.shard),
            "inner": list(self.inner),
            "volume_shape": None if self.volume_shape is None else list(self.volume_shape),
            "pixel_size_um": dict(self.pixel_size_um),
            "codec": self.codec,
            "checksum": self.checksum,
            "separator": self.separator,
            **({"capacity": self.capacity} if self.kind == "list" else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The layout from what `to_json` gave."""
        volume = value["volume_shape"]
        return cls(
            name=value["name"],
            kind=value["kind"],
            dtype=value["dtype"],
            lattice_dims=tuple(value["lattice_dims"]),
            labels=tuple(expand(labels) for labels in value["labels"]),
            dims=tuple(value["dims"]),
            tile_shape=tuple(value["tile_shape"]),
            shard=tuple(value["shard"]),
            inner=tuple(value["inner"]),
            volume_shape=None if volume is None else tuple(volume),
            pixel_size_um=tuple(value["pixel_size_um"].items()),
            codec=value["codec"],
            checksum=value["checksum"],
            capacity=int(value.get("capacity", 0)),
            separator=value.get("separator", "/" if value["kind"] == "volume" else "."),
        )

    def metadata(self) -> dict[str, Any]:
        """The array's ``zarr.json``."""
        lead = len(self.lead_dims)
        itemsize = np.dtype(self.dtype).itemsize
        blosc = {"cname": self.codec, "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0}
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        pixels = [little, {"name": "blosc", "configuration": {**blosc, "typesize": itemsize}}]
        crc = {"name": "crc32c"}
        sharding = {
            "chunk_shape": [1] * lead + list(self.inner),
            "codecs": [*pixels, crc] if self.checksum else pixels,
            "index_codecs": [little, crc],
            "index_location": "end",
        }
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.array_shape),
            "data_type": self.dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [1] * lead + list(self.shard)},
            },
            "chunk_key_encoding": {
                "name": "default",
                "configuration": {"separator": self.separator},
            },
            "fill_value": fill_value(np.dtype(self.dtype)),
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "dimension_names": list(self.array_dims),
            "attributes": {
                "pixel_size_um": dict(self.pixel_size_um),
                "coordinates": " ".join(f"{axis}_um" for axis, _ in self.pixel_size_um),
                "latticework": self.to_json(),
            },
        }


def _is_volume(lattice: Any, dims: tuple[str, ...], shape: tuple[int, ...]) -> bool:
    """Whether output tiles are blocks of one volume, as the lattice's tiles are."""
    if lattice.volume_shape is None or dims != tuple(lattice.tile_dims):
        return False
    along = {f"tile_{dim}" for dim in dims}
    return set(lattice.dims) <= along and shape == tuple(
        int(lattice.tile_shape[dim]) for dim in dims
    )


def _check(
    name: str,
    lattice_dims: tuple[str, ...],
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: Any,
) -> np.dtype:
    """The pixel dtype in this machine's byte order, once everything is found storable."""
    pixel: np.dtype = np.dtype(dtype).newbyteorder("=")
    taken = {*lattice_dims, *dims, *MEMBERS}
    if not name or name in taken or name.startswith((".", "__")) or set("/\\\0") & set(name):
        raise StoreError(
            f"an array cannot be called {name!r}: choose a name that is none of {sorted(taken)}, "
            f"has no slash and does not start with a dot"
        )
    if pixel.name not in DTYPES:
        raise StoreError(
            f"array {name!r}: pixels of type {pixel} cannot be stored; use one of {DTYPES}"
        )
    if len(dims) != len(shape) or not shape:
        raise StoreError(
            f"array {name!r}: dims {dims} and shape {shape} do not make an array; "
            f"return numbers as a record instead"
        )
    if len({*lattice_dims, *dims}) != len(lattice_dims) + len(dims):
        raise StoreError(f"array {name!r}: {dims} and the lattice's {lattice_dims} repeat a name")
    if 0 in shape:
        raise StoreError(f"array {name!r}: a tile of shape {shape} along {dims} has no pixels")
    return pixel


def _capacity(lattice: Any) -> int:
    """Rows of a list that has a row for every id of a lattice."""
    return int(np.max(lattice.ids)) + 1 if len(lattice) else 0


def _labels_of(lattice: Any) -> tuple[tuple[Label, ...], ...]:
    return tuple(tuple(np.asarray(lattice.labels[dim]).tolist()) for dim in lattice.dims)


def _short(labels: tuple[Label, ...]) -> str:
    head = ", ".join(map(str, labels[:5]))
    return f"({head}, ... {labels[-1]})" if len(labels) > 6 else f"({', '.join(map(str, labels))})"


__all__ = ["DTYPES", "ArrayLayout"]
