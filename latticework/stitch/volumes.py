"""The volume that tiles make: its pixels, where it begins, where each tile lies in it."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.stitch.resampling import WHOLE_PX
from latticework.stitch.tiles import places_of
from latticework.stitch.warps import Warp

if TYPE_CHECKING:
    from latticework.stitch.fusion_plan import FusionPlan

SPARSE, MUCH = 200.0, 2e9
"""Volumes of more pixels than these are refused if tiles fill less than one part of so many."""
MOST_TIMES = 1000.0
"""Volumes of more pixels than that are refused, too, if they have so many times those of tiles."""
MOST_BLOCKS = 5_000_000
"""Blocks of a volume: what meets each of them is kept in memory."""
UNEVEN = 0.25
"""Share of their distance by which planes may be off even distances."""


class Volume(NamedTuple):
    """Tiles in a volume; see `latticework.stitch.fusion_plan.FusionPlan` for what each is."""

    dims: tuple[str, ...]
    positions: np.ndarray
    shapes: np.ndarray
    shape: tuple[int, ...]
    origin_um: tuple[float, ...]
    pixel_size_um: tuple[float, ...]
    step: tuple[float, ...]
    low: np.ndarray
    high: np.ndarray
    warps: tuple[Warp | None, ...] | None


@dataclass(frozen=True, slots=True)
class Planes:
    """The axis along which a lattice has planes of tiles that have no pixels along it."""

    dim: str
    """The axis."""
    axis: int
    """Its place among the volume's spatial dims."""
    size_um: float
    """Distance of the planes."""
    at: np.ndarray
    """Of each tile, number of its plane; shape (tiles,)."""
    origin_um: float
    """Position of plane 0."""

    def reader(self, read: Callable[[Box], np.ndarray]) -> Callable[[Box], np.ndarray]:
        """A function that reads boxes with this axis, of one that reads boxes without it."""

        def planar(box: Box) -> np.ndarray:
            start, stop = list(box.start), list(box.stop)
            del start[self.axis], stop[self.axis]
            return np.expand_dims(read(Box(tuple(start), tuple(stop))), self.axis)

        return planar


def planes_of(lattice: Lattice) -> Planes | None:
    """The axis along which a lattice has several planes of tiles that have no pixels along it.

    Raises
    ------
    LatticeError
        If the planes do not lie at even distances, or there are several such axes.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"z": 3, "y": 1, "x": 2}, tile_shape={"y": 8, "x": 9}, dtype="u1",
    ...     pixel_size_um={"z": 5, "y": 1, "x": 1},
    ... )
    >>> planes = planes_of(lattice)
    >>> planes.dim, planes.size_um, planes.at.tolist()
    ('z', 5.0, [0, 0, 1, 1, 2, 2])
    """
    several = [
        dim
        for dim in lattice.spatial_dims
        if dim not in lattice.tile_dims and len(lattice.labels[f"tile_{dim}"]) > 1
    ]
    if not several:
        return None
    if len(several) > 1:
        raise LatticeError(
            f"the tiles have no pixels along {' and '.join(several)}: one such axis is possible"
        )
    dim = several[0]
    place = lattice.position_um[:, lattice.spatial_dims.index(dim)]
    of_label = lattice.index[:, lattice.dims.index(f"tile_{dim}")]
    means = np.array([place[of_label == label].mean() for label in np.unique(of_label)])
    gaps = np.diff(np.sort(means))
    size = float(np.median(gaps[gaps < 1.5 * gaps.min()]))  # where one is missing it is larger
    if size <= 0:
        raise LatticeError(f"all planes along {dim} lie at {means[0]:g} µm: give their positions")
    number = (place - means.min()) / size
    off = np.abs(number - np.rint(number))
    if off.max() > UNEVEN:
        raise LatticeError(
            f"planes along {dim} lie unevenly: most are {size:g} µm apart, but "
            f"{lattice.names[int(off.argmax())]} lies {off.max() * size:g} µm off that; fuse them "
            f"one at a time, as in lattice.sel({dim}=...)"
        )
    dims = [d for d in lattice.spatial_dims if d in lattice.tile_dims or d == dim]
    return Planes(dim, dims.index(dim), size, np.rint(number).astype(int), float(means.min()))


def volume_of(
    lattice: Lattice,
    planes: Planes | None,
    pixel_size_um: float | Sequence[float] | Mapping[str, float] | None,
    warps: tuple[Warp | None, ...] | None,
) -> Volume:
    """The volume that tiles make.

    Its grid of pixels is that of the lattice: a position of 0 is the middle of a pixel. With
    pixels of another size, the outer edges of the first pixels stay where they are.
    """
    dims, _, size, positions, shapes = places_of(lattice)
    if planes is not None:
        dims = (*dims[: planes.axis], planes.dim, *dims[planes.axis :])
        size = np.insert(size, planes.axis, planes.size_um)
        positions = np.insert(positions, planes.axis, planes.at, axis=1)
        shapes = np.insert(shapes, planes.axis, 1, axis=1)
        warps = _flat(warps, planes.axis)
    wanted = _sizes(pixel_size_um, dims, size)
    step = wanted / size
    start_um = np.zeros(len(dims))
    if planes is not None:
        start_um[planes.axis] = planes.origin_um
        if abs(step[planes.axis] - 1) > WHOLE_PX:
            raise LatticeError(
                f"planes along {planes.dim} are {planes.size_um:g} µm apart and stay so: give "
                "pixel_size_um for the other axes only, as in {'y': 2, 'x': 2}"
            )
    low, high = np.full(positions.shape, -0.5), shapes - 0.5
    for row, warp in enumerate(warps or ()):
        if warp is None:
            continue
        if warp.shape != tuple(shapes[row].tolist()):
            raise LatticeError(
                f"the warp of {lattice.names[row]} is one of a tile of {warp.shape} pixels, but "
                f"the tile has {tuple(shapes[row].tolist())}"
            )
        low[row], high[row] = warp.bounds()
    origin = (positions + low).min(axis=0) + 0.5  # at a tile's corner: its pixels are copied
    positions = positions - origin
    ends = (positions + high).max(axis=0) + 0.5
    same = np.abs(step - 1) < 1e-9
    shape = np.ceil(ends / step - 0.5 - WHOLE_PX)  # pixels whose middles lie in a tile
    _check_pixels(shape, ends / step, shapes, wanted, size)
    return Volume(
        dims,
        (positions + 0.5) / step - 0.5,
        shapes,
        tuple(np.maximum(shape, 1).astype(int).tolist()),
        tuple((start_um + origin * size + np.where(same, 0, (wanted - size) / 2)).tolist()),
        tuple(wanted.tolist()),
        tuple(np.where(same, 1.0, step).tolist()),
        (positions + low + 0.5) / step - 0.5,
        (positions + high + 0.5) / step - 0.5,
        warps,
    )


def _check_pixels(
    shape: np.ndarray, extent: np.ndarray, shapes: np.ndarray, wanted: np.ndarray, size: np.ndarray
) -> None:
    """Refuse a volume of absurdly many pixels, or of less than one."""
    asked = " x ".join(f"{um:g}" for um in wanted.tolist())
    whole, given = math.prod(shape.tolist()), float(shapes.prod(axis=1, dtype="f8").sum())
    if not np.isfinite(whole) or (whole > MUCH and whole > MOST_TIMES * given):
        sides = " x ".join(f"{n:,.0f}" for n in shape.tolist())
        raise LatticeError(
            f"the volume would have {sides} pixels, {whole / given:.1e} times those of all tiles: "
            f"are positions and pixel sizes in micrometres? pixel_size_um={asked} was asked for"
        )
    larger = wanted > size
    if larger.any() and (extent[larger] < 1).all():
        raise LatticeError(
            f"pixel_size_um={asked}: one pixel would be larger than all tiles together, which are "
            f"{' x '.join(f'{um:g}' for um in (extent * wanted).tolist())} µm"
        )


def check_blocks(shape: Sequence[int], block: Sequence[int], dtype: np.dtype) -> None:
    """Refuse blocks that are too many, or larger than memory.

    Parameters
    ----------
    shape, block
        Pixels of the volume and of a block.
    dtype
        Of the pixels.

    Raises
    ------
    LatticeError
        Saying how many or large they would be.

    Examples
    --------
    >>> check_blocks((10**6, 10**6), (100, 100), np.dtype("u2"))
    Traceback (most recent call last):
        ...
    latticework.errors.LatticeError: block=(100, 100): the volume of 1,000,000 x 1,000,000 pixels...
    """
    sides = " x ".join(f"{n:,}" for n in shape)
    count = math.prod(-(-n // b) for n, b in zip(shape, block, strict=True))
    if count > MOST_BLOCKS:
        raise LatticeError(
            f"block={tuple(block)}: the volume of {sides} pixels would have {count:,} blocks, more "
            f"than {MOST_BLOCKS:,}: make blocks larger, or pixels"
        )
    bytes_, memory = math.prod(block) * dtype.itemsize, memory_bytes()
    if bytes_ > memory:
        raise LatticeError(
            f"block={tuple(block)}: a block would be {bytes_ / 1e9:,.1f} GB, and there are "
            f"{memory / 1e9:,.1f} GB of memory: make blocks smaller"
        )


def memory_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_density(plan: "FusionPlan") -> None:
    """Refuse a volume of which tiles fill next to nothing.

    Parameters
    ----------
    plan
        Of the volume.

    Raises
    ------
    LatticeError
        Saying how large it would be.
    """
    whole = float(np.prod(np.asarray(plan.shape, "f8")))
    filled = float((plan.high - plan.low).prod(axis=1).sum())
    if whole > SPARSE * filled and whole > MUCH:
        size = " x ".join(f"{n:,}" for n in plan.shape)
        raise LatticeError(
            f"the volume would have {size} pixels, of which tiles fill {filled / whole:.1e}: are "
            "positions and pixel size in micrometres? Stitch groups of tiles that lie together, "
            "as in lattice.within(...)"
        )


def _sizes(
    asked: float | Sequence[float] | Mapping[str, float] | None,
    dims: Sequence[str],
    own: np.ndarray,
) -> np.ndarray:
    """Size of the volume's pixels; one number is for all axes, and those not named stay."""
    if asked is None:
        return own
    if isinstance(asked, Mapping):
        unknown = set(asked) - set(dims)
        if unknown:
            raise LatticeError(f"pixel_size_um: the volume has no {', '.join(unknown)}, but {dims}")
        asked = [asked.get(dim, size) for dim, size in zip(dims, own.tolist(), strict=True)]
    try:
        found = np.broadcast_to(np.asarray(asked, "f8"), np.shape(asked) or (len(dims),))
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (len(dims),) or not (np.isfinite(found) & (found > 0)).all():
        raise LatticeError(
            f"pixel_size_um={asked!r}: give one number above 0, or one for each of {' '.join(dims)}"
        )
    return found


def _flat(warps: tuple[Warp | None, ...] | None, axis: int) -> tuple[Warp | None, ...] | None:
    """Warps of planes, with the axis that planes do not have."""
    if warps is None:
        return None
    found = list[Warp | None]()
    for warp in warps:
        if warp is None:
            found.append(None)
            continue
        matrix = np.insert(np.insert(warp.matrix, axis, 0, axis=0), axis, 0, axis=1)
        matrix[axis, axis] = 1
        grid = warp.grid_px
        if grid is not None:
            grid = np.insert(np.expand_dims(grid, axis + 1), axis, 0, axis=0)
        shape = (*warp.shape[:axis], 1, *warp.shape[axis:])
        found.append(Warp(shape, matrix, grid))
    return tuple(found)


__all__ = ["Planes", "Volume", "check_blocks", "check_density", "planes_of", "volume_of"]
