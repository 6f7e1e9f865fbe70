"""All tiles fused into one volume on disk, block by block."""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from latticework.errors import LatticeError, StoreError
from latticework.io.pyramid import Pyramid, Version
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.stitch.blending import BLENDS, Blend, Piece, fuse_block
from latticework.stitch.tiles import places_of, read_tile

RAMP = 0.1
"""Share of a tile over which its weight grows from its edge, where tiles do not overlap by more."""


@dataclass(frozen=True)
class FusionPlan:
    """Which tiles meet which block, found once.

    Parameters
    ----------
    lattice
        Tiles at their final positions.
    """

    lattice: Lattice
    """Tiles at their final positions."""
    dims: tuple[str, ...]
    """Spatial dims of the volume."""
    positions: np.ndarray
    """Of each tile's first pixel, in pixels of the volume; shape (tiles, dims)."""
    shapes: np.ndarray
    """Pixels of each tile; shape (tiles, dims)."""
    shape: tuple[int, ...]
    """Pixels of the volume."""
    origin_um: tuple[float, ...]
    """Position of its first pixel."""
    ramp: tuple[float, ...]
    """Pixels over which weights grow from a tile's edge."""

    @classmethod
    def of(cls, lattice: Lattice) -> "FusionPlan":
        """The plan for all tiles of a lattice, in its pixel size.

        Examples
        --------
        >>> lattice = Lattice.from_grid(
        ...     {"y": 2, "x": 2}, tile_shape={"y": 100, "x": 100}, step_px={"y": 80, "x": 80},
        ...     dtype="u2",
        ... )
        >>> plan = FusionPlan.of(lattice)
        >>> plan.shape, plan.ramp
        ((180, 180), (20.0, 20.0))
        """
        dims, _, size, positions, shapes = places_of(lattice)
        origin = np.floor(positions.min(axis=0) + 1e-3)
        positions = positions - origin
        shape = np.ceil((positions + shapes).max(axis=0) - 1e-3).astype(int)
        overlap = lattice.overlap_px
        ramp = [
            float(max(overlap.get(dim, 0), RAMP * n)) if f"tile_{dim}" in lattice.dims else 1.0
            for dim, n in zip(dims, shapes.max(axis=0), strict=True)
        ]
        return cls(
            *(lattice, dims, positions, shapes),
            *(tuple(shape.tolist()), tuple((origin * size).tolist()), tuple(ramp)),
        )

    def meeting(self, block: Sequence[int]) -> dict[tuple[int, ...], list[int]]:
        """Rows of the tiles that meet each block of that size, by the block's place in the grid."""
        found: dict[tuple[int, ...], list[int]] = {}
        sides = np.asarray(block)
        first = np.floor(self.positions).astype(int) // sides
        last = np.ceil(self.positions + self.shapes - 1).astype(int) // sides
        most = [-(-n // b) - 1 for n, b in zip(self.shape, block, strict=True)]
        for row, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            spans = [
                range(max(a, 0), min(b, m) + 1) for a, b, m in zip(low, high, most, strict=True)
            ]
            for index in product(*spans):
                found.setdefault(index, []).append(row)
        return found

    def piece(self, row: int, channel: int, gain: float = 1.0) -> Piece:
        """A tile of the lattice as what is fused."""
        return Piece(
            tuple(self.positions[row].tolist()),
            tuple(self.shapes[row].tolist()),
            read_tile(self.lattice, row, channel),
            self.ramp,
            gain,
        )


def fuse(
    lattice: Lattice,
    path: Path | str,
    *,
    blend: Blend = "cosine",
    gains: Sequence[float] | None = None,
    version: Version = "0.5",
    block: Sequence[int] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Pyramid:
    """Fuse all tiles of a lattice into one OME-Zarr image with a pyramid.

    Memory is that of the blocks that are made at the same time, whatever the size of the volume.

    Parameters
    ----------
    lattice
        Tiles at their final positions, with pixels.
    path
        Folder of the new image, such as ``brain.ome.zarr``.
    blend
        How pixels of several tiles become one; see `latticework.stitch.blending.BLENDS`.
    gains
        For each tile, what its pixels are multiplied by.
    version
        Of OME-Zarr, ``"0.5"`` or ``"0.4"``.
    block
        Pixels of a block along the spatial dims.
    threads
        Blocks at a time; as many as there are cores if not given.
    progress
        Called with the number of blocks that are done, and of all.

    Returns
    -------
    Pyramid
        The image on disk. It has its name only when it is complete.

    Raises
    ------
    LatticeError
        If the lattice has an axis that its tiles have not (a plane at a time can be fused), or
        its pixels are no numbers.
    ValueError
        If an option makes no sense.
    StoreError
        If something is there already.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 64, "x": 64}, seed=2)
    >>> image = fuse(tiles, Path(tempfile.mkdtemp()) / "image.ome.zarr")
    >>> image.dims, len(image.levels)
    (('y', 'x'), 1)
    """
    plan, path = FusionPlan.of(lattice), Path(path)
    _check(lattice, path, blend, gains)
    count = lattice.tile_shape.get("c", 1)
    with_channels = "c" in lattice.tile_dims
    image = Pyramid.create(
        path.with_name(f"{path.name}.{os.getpid()}.part"),
        dims=(*(("c",) if with_channels else ()), *plan.dims),
        shape=(*((count,) if with_channels else ()), *plan.shape),
        dtype=lattice.dtype,
        pixel_size_um=[lattice.pixel_size_um[dim] for dim in plan.dims],
        origin_um=plan.origin_um,
        block=block,
        channels=lattice.channels,
        version=version,
    )
    blocks = image.blocks()
    sides = image.block[-len(plan.dims) :]
    meeting = plan.meeting(sides)

    def make(box: Box) -> None:
        channel = box.start[0] if with_channels else 0
        inner = Box(box.start[-len(sides) :], box.stop[-len(sides) :])
        index = tuple(a // b for a, b in zip(inner.start, sides, strict=True))
        rows = meeting.get(index, [])
        pieces = [plan.piece(row, channel, 1.0 if gains is None else gains[row]) for row in rows]
        pixels = fuse_block(inner, pieces, lattice.dtype, blend=blend)
        image.write_block(box, pixels[None] if with_channels else pixels)

    try:
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for done, _ in enumerate(pool.map(make, blocks), 1):
                progress(done, len(blocks))
        return image.finish(path, threads=threads)
    except BaseException:
        shutil.rmtree(image.path, ignore_errors=True)
        raise


def check_fusible(lattice: Lattice) -> None:
    """Refuse tiles that cannot be one volume.

    Raises
    ------
    LatticeError
        Saying what about them is in the way.
    """
    others = [
        dim
        for dim in lattice.dims
        if len(lattice.labels[dim]) > 1 and dim.removeprefix("tile_") not in lattice.tile_dims
    ]
    if others:
        raise LatticeError(
            f"the tiles have no pixels along {', '.join(others)}, so that these would be fused "
            f"into one: fuse one at a time, as in lattice.sel({others[0]}=...)"
        )
    if lattice.dtype.kind not in "iuf":
        raise LatticeError(
            f"pixels of type {lattice.dtype} cannot be fused: convert them, as to uint8"
        )


def _check(lattice: Lattice, path: Path, blend: str, gains: Sequence[float] | None) -> None:
    """Refuse before any work what cannot be done."""
    check_fusible(lattice)
    if blend not in BLENDS:
        raise ValueError(f"blend={blend!r}: choose one of {', '.join(BLENDS)}")
    if gains is not None and (len(gains) != len(lattice) or not np.isfinite(gains).all()):
        raise ValueError(f"gains: give a finite number for each of the {len(lattice):,} tiles")
    if path.exists():
        raise StoreError(f"{path} exists already: remove it, or choose another name")


__all__ = ["FusionPlan", "check_fusible", "fuse"]
