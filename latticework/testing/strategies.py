"""Hypothesis strategies: lattices of every kind, and what is done to them.

For property tests of stages, stores and readers, ours and yours. Everything is small (a few tiles
of a few pixels), so that a test can run hundreds of examples and Hypothesis shrinks a failure to a
lattice one can draw by hand. Needs Hypothesis (``pip install latticework[test]``).

Examples
--------
>>> from hypothesis import HealthCheck, given, settings
>>> @settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
... @given(lattices(pixels=True))
... def test_every_tile_can_be_read(lattice):
...     for tile in lattice:
...         assert lattice.source.read(tile.id, Box.whole(tile.shape)).shape == tile.shape
>>> test_every_tile_can_be_read()
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from latticework.lattice import Box, Lattice

T = TypeVar("T")
SPATIAL = ("z", "y", "x")
Halo = dict[str, int | tuple[int, int]]

dtypes: st.SearchStrategy[np.dtype[Any]] = st.sampled_from(
    [np.dtype(t) for t in ("uint16", "uint8", "int16", "uint32", "float32", "float64")]
)
"""Types of pixels."""

boundaries: st.SearchStrategy[Any] = st.sampled_from(
    ["reflect", "periodic", "nearest", "none", 0, 7]
)
"""Boundary modes: dask's names, or a constant."""

labels: st.SearchStrategy[str] = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="äß漢字😀 .-_%<>&\"'"),
    min_size=1,
    max_size=8,
)
"""Names and labels as people write them, with spaces, markup and any script; never empty."""


@dataclass(frozen=True)
class RandomTiles:
    """A `TileSource` of noise: each tile's pixels follow from the seed and its id.

    Examples
    --------
    >>> source = RandomTiles(1, np.array([[4, 6], [4, 5]]), np.dtype("uint8"))
    >>> source.read(1, Box((0, 2), (4, 5))).shape
    (4, 3)
    """

    seed: int
    shapes: npt.NDArray[np.int64]
    dtype: np.dtype[Any]

    def whole(self, tile: int) -> npt.NDArray[Any]:
        """All pixels of a tile."""
        return random_array(self.shapes[tile].tolist(), self.dtype, seed=(self.seed, tile))

    def read(self, tile: int, box: Box) -> npt.NDArray[Any]:
        """Pixels of a box of a tile."""
        return self.whole(tile)[box.slices]

    def fingerprints(self) -> npt.NDArray[np.uint64]:
        """One number per tile."""
        return np.arange(len(self.shapes), dtype=np.uint64) + np.uint64(self.seed)


def random_array(
    shape: Sequence[int], dtype: Any, *, seed: int | tuple[int, ...]
) -> npt.NDArray[Any]:
    """Noise of any type; integers span their range, so that a wrapped sum or a lost sign shows.

    Examples
    --------
    >>> random_array((2, 3), "int16", seed=1).dtype
    dtype('int16')
    """
    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return generator.integers(
            limits.min, limits.max, size=tuple(shape), dtype=kind, endpoint=True
        )
    if kind.kind == "b":
        return generator.random(tuple(shape)) < 0.5
    return generator.normal(size=tuple(shape)).astype(kind)


@st.composite
def arrays(
    draw: st.DrawFn,
    *,
    ndim: int | None = None,
    max_side: int = 12,
    dtype: st.SearchStrategy[np.dtype[Any]] = dtypes,
) -> npt.NDArray[Any]:
    """Small arrays of noise, 2-D or 3-D.

    Parameters
    ----------
    ndim, max_side, dtype
        Number of dims (2 or 3 if not given), longest side and a strategy for the type.
    """
    n = draw(st.integers(2, 3)) if ndim is None else ndim
    shape = [draw(st.integers(1, max_side)) for _ in range(n)]
    return random_array(shape, draw(dtype), seed=draw(st.integers(0, 999)))


@st.composite
def boxes(draw: st.DrawFn, shape: Sequence[int], *, empty: bool = False) -> Box:
    """Boxes inside an array of a shape; with no pixels too, if `empty`."""
    start = [draw(st.integers(0, size if empty else size - 1)) for size in shape]
    stop = [
        draw(st.integers(first + (not empty), size))
        for first, size in zip(start, shape, strict=True)
    ]
    return Box(tuple(start), tuple(stop))


@st.composite
def halos(
    draw: st.DrawFn,
    axes: Sequence[str] = SPATIAL,
    *,
    most: int | Mapping[str, int] = 3,
    two_sided: bool = False,
) -> Halo:
    """Margins in pixels by axis; not every axis is named. `two_sided`: some are (before, after)."""
    halo: Halo = {}
    for axis in axes:
        limit = most[axis] if isinstance(most, Mapping) else most
        margin = st.integers(0, limit)
        one: st.SearchStrategy[Any] = (
            st.one_of(margin, st.tuples(margin, margin)) if two_sided else margin
        )
        if draw(st.booleans()):
            halo[axis] = draw(one)
    return halo


def offsets(axes: Sequence[str] = SPATIAL) -> st.SearchStrategy[Any]:
    """Sets of lattice offsets: names ("faces", "+z", ...) and tuples, one number per axis."""
    steps = st.tuples(*(st.integers(-2, 2) for _ in axes)).filter(any)
    named = st.sampled_from(["faces", "edges", "corners", *(f"{s}{a}" for a in axes for s in "+-")])
    return st.one_of(named, st.lists(steps, min_size=1, max_size=6, unique=True))


def _subset(values: Sequence[T]) -> st.SearchStrategy[list[T]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=len(values))


@st.composite
def block_lattices(
    draw: st.DrawFn,
    *,
    ndim: int | None = None,
    max_side: int = 14,
    dtype: st.SearchStrategy[np.dtype[Any]] = dtypes,
) -> Lattice:
    """Lattices of blocks of one array (which is their source), the last blocks often smaller.

    Some axes may be undivided. 2-D or 3-D, without a channel dim.
    """
    array = draw(arrays(ndim=ndim, max_side=max_side, dtype=dtype))
    axes = SPATIAL[-array.ndim :]
    block = {a: draw(st.integers(1, n)) for a, n in zip(axes, array.shape, strict=True)}
    while np.prod([-(-n // block[a]) for a, n in zip(axes, array.shape, strict=True)]) > 64:
        block = {a: 2 * n for a, n in block.items()}
    block = {a: min(block[a], n) for a, n in zip(axes, array.shape, strict=True)}
    size = {a: draw(st.sampled_from([1.0, 0.35, 2.5])) for a in axes}
    return Lattice.from_array(array, block=block, pixel_size_um=size)


@st.composite
def tile_lattices(
    draw: st.DrawFn,
    *,
    ndim: int | None = None,
    holes: bool = True,
    other_axes: bool = True,
    channels: bool = True,
    overlap: bool = True,
    ragged: bool = False,
    max_tiles: int = 3,
    max_side: int = 8,
    dtype: st.SearchStrategy[np.dtype[Any]] = dtypes,
    pixels: bool = False,
) -> Lattice:
    """Lattices of acquired tiles: overlapping or not, in any order, with holes and odd names.

    Parameters
    ----------
    ndim
        Spatial lattice axes, 2 or 3; either if not given.
    holes, other_axes, channels, overlap, ragged
        What may occur (ragged: tiles of different shapes).
    max_tiles, max_side
        Along each axis.
    dtype
        Strategy for the type of the pixels.
    pixels
        Whether tiles can be read (`RandomTiles`).
    """
    n_axes = draw(st.integers(2, 3)) if ndim is None else ndim
    axes = SPATIAL[-n_axes:]
    other = draw(_subset(["sheet", "round", "well"])) if other_axes else []
    dims = [*other[:1], *(f"tile_{axis}" for axis in axes)]
    tile_axes = SPATIAL if n_axes == 3 else draw(st.sampled_from([SPATIAL, SPATIAL[1:]]))
    tile_shape = {axis: draw(st.integers(1, max_side)) for axis in tile_axes}
    with_c = channels and draw(st.booleans())
    if with_c:
        tile_shape = {"c": draw(st.integers(1, 2)), **tile_shape}
    grid_labels = {dim: draw(_grid_labels(dim, max_tiles)) for dim in dims}
    places = list(np.ndindex(*(len(grid_labels[dim]) for dim in dims)))
    if holes and draw(st.booleans()):
        places = draw(st.lists(st.sampled_from(places), min_size=1, unique=True))
    elif draw(st.booleans()):
        places = draw(st.permutations(places))
    n = len(places)
    step = {
        a: draw(st.integers(1, tile_shape[a])) if overlap else tile_shape[a]
        for a in axes
        if a in tile_shape
    }
    names = draw(st.none() | st.lists(labels, min_size=n, max_size=n, unique=True))
    shape = np.array(list(tile_shape.values()))
    shapes = np.tile(shape, (n, 1))
    if ragged and draw(st.booleans()):
        short = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
        shapes = np.maximum(1, shape - np.array(short)[:, None])
        shapes[0] = shape
    kind = draw(dtype)
    seed = draw(st.integers(0, 999))
    return Lattice(
        dims=dims,
        labels=grid_labels,
        index=np.array(places, dtype=np.int64).reshape(n, len(dims)),
        tile_dims=tuple(tile_shape),
        tile_shape=tuple(tile_shape.values()),
        dtype=kind,
        pixel_size_um={a: draw(st.sampled_from([1.0, 0.35, 2.5])) for a in axes},
        step_px=step,
        names=names,
        shapes=shapes,
        channels=[f"channel {i}" for i in range(tile_shape["c"])] if with_c else None,
        source=RandomTiles(seed, shapes, kind) if pixels else None,
    )


def _grid_labels(dim: str, most: int) -> st.SearchStrategy[npt.NDArray[Any]]:
    numbers = st.integers(1, most).flatmap(
        lambda n: st.integers(-2, 9).map(lambda first: np.arange(first, first + n))
    )
    if dim.startswith("tile_"):
        return numbers
    words = st.lists(labels, min_size=1, max_size=most, unique=True).map(np.array)
    return st.one_of(numbers, words)


def lattices(
    *, ndim: int | None = None, pixels: bool = False, **options: Any
) -> st.SearchStrategy[Lattice]:
    """Any lattice: of tiles (`tile_lattices`, which takes the options) or of blocks of an array."""
    return st.one_of(tile_lattices(ndim=ndim, pixels=pixels, **options), block_lattices(ndim=ndim))
