"""Which tiles meet which block of a volume, and how each of them is to be read: found once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.stitch.masking import Masks, check_masks, mask_reader
from latticework.stitch.pieces import Lean, Piece
from latticework.stitch.resampling import INTERPOLATIONS, Interpolation
from latticework.stitch.tiles import read_tile
from latticework.stitch.views import leans
from latticework.stitch.volumes import Planes, planes_of, volume_of
from latticework.stitch.warps import Warp

RAMP = 0.1
"""Share of a tile over which its weight grows from its edge, where tiles do not overlap by more."""
CHANNEL = "channel"
"""Lattice dim whose tiles are the channels of the volume."""


@dataclass(frozen=True)
class FusionPlan:
    """Which tiles meet which block, found once; see `FusionPlan.of`."""

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
    pixel_size_um: tuple[float, ...]
    """Size of the volume's pixels."""
    step: tuple[float, ...]
    """The same in pixels of the tiles."""
    low: np.ndarray
    """Where each tile begins, in pixels of the volume: half a pixel before its first one's middle;
    shape (tiles, dims)."""
    high: np.ndarray
    """Where each ends; shape (tiles, dims)."""
    ramp: tuple[float, ...]
    """Pixels of a tile over which weights grow from its edge."""
    planes: Planes | None = None
    """Of lattices of planes: the axis that the tiles do not have."""
    gains: np.ndarray | None = None
    """What pixels are multiplied by; shape (tiles, channels)."""
    offsets: np.ndarray | None = None
    """What is added to them then; shape (tiles, channels)."""
    masks: Masks | None = None
    """Pixels that are not used."""
    interpolation: Interpolation = "linear"
    """Between pixels."""
    warps: tuple[Warp | None, ...] | None = None
    """How each tile is bent."""
    leans: tuple[Lean | None, ...] | None = None
    """Weights of light sheets, of each tile."""

    @classmethod
    def of(
        cls,
        lattice: Lattice,
        *,
        pixel_size_um: float | Sequence[float] | Mapping[str, float] | None = None,
        warps: Sequence[Warp | None] | None = None,
        interpolation: Interpolation = "linear",
        gains: Any = None,
        offsets: Any = None,
        masks: Masks | None = None,
        merge: str | Sequence[str] = (),
        merge_axis: str = "x",
    ) -> "FusionPlan":
        """The plan for all tiles of a lattice.

        Parameters
        ----------
        lattice
            Tiles at their final positions.
        pixel_size_um, warps, interpolation, gains, offsets, masks, merge, merge_axis
            As of `fuse`.

        Raises
        ------
        LatticeError
            If tiles would be fused that show different things, or an option does not fit them.

        Examples
        --------
        >>> lattice = Lattice.from_grid(
        ...     {"y": 2, "x": 2}, tile_shape={"y": 100, "x": 100}, step_px={"y": 80, "x": 80},
        ...     dtype="u2",
        ... )
        >>> plan = FusionPlan.of(lattice)
        >>> plan.shape, plan.ramp
        ((180, 180), (20.0, 20.0))
        >>> FusionPlan.of(lattice, pixel_size_um=2).shape
        (90, 90)
        """
        merged = (merge,) if isinstance(merge, str) else tuple(merge)
        planes = planes_of(lattice)
        _check_dims(lattice, planes, merged)
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation={interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}"
            )
        check_masks(masks, lattice)
        volume = volume_of(lattice, planes, pixel_size_um, _warps(lattice, warps))
        overlap = lattice.overlap_px
        ramp = [
            float(max(overlap.get(dim, 0), RAMP * n)) if f"tile_{dim}" in lattice.dims else 1.0
            for dim, n in zip(volume.dims, volume.shapes.max(axis=0), strict=True)
        ]
        plan = cls(lattice, *volume[:-1], ramp=tuple(ramp))
        return replace(
            plan,
            planes=planes,
            gains=_factors("gains", gains, lattice, plan.channels),
            offsets=_factors("offsets", offsets, lattice, plan.channels),
            masks=masks,
            interpolation=interpolation,
            warps=volume.warps,
            leans=leans(lattice, merged, merge_axis, plan.dims, plan.shape),
        )

    # ---------------------------------------------------------------- channels

    @property
    def has_channels(self) -> bool:
        """Whether the volume has an axis ``c``."""
        return "c" in self.lattice.tile_dims or len(self.lattice.labels.get(CHANNEL, ())) > 1

    @property
    def channels(self) -> tuple[str, ...] | None:
        """Names of the volume's channels; None if it has none."""
        if CHANNEL in self.lattice.dims:
            return tuple(map(str, self.lattice.labels[CHANNEL]))
        if "c" not in self.lattice.tile_dims:
            return None
        count = self.lattice.tile_shape["c"]
        return self.lattice.channels or tuple(map(str, range(count)))

    def of_channel(self, rows: Iterable[int], channel: int) -> list[int]:
        """Those of some tiles that show a channel of the volume."""
        if CHANNEL not in self.lattice.dims:
            return list(rows)
        column = self.lattice.index[:, self.lattice.dims.index(CHANNEL)]
        return [row for row in rows if column[row] == channel]

    # ---------------------------------------------------------------- blocks

    def meeting(self, block: Sequence[int]) -> dict[tuple[int, ...], list[int]]:
        """Rows of the tiles that meet each block of that size, by the block's place in the grid."""
        found: dict[tuple[int, ...], list[int]] = {}
        sides = np.asarray(block)
        first = np.floor(self.low + 0.5).astype(int) // sides
        last = np.ceil(self.high - 0.5).astype(int) // sides
        most = [-(-n // b) - 1 for n, b in zip(self.shape, block, strict=True)]
        for row, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            spans = [
                range(max(a, 0), min(b, m) + 1) for a, b, m in zip(low, high, most, strict=True)
            ]
            for index in product(*spans):
                found.setdefault(index, []).append(row)
        return found

    def pieces(self, rows: Iterable[int], channel: int = 0) -> list[Piece]:
        """Those of some tiles that show a channel, as what is fused."""
        return [self.piece(row, channel) for row in self.of_channel(rows, channel)]

    def piece(self, row: int, channel: int, gain: float = 1.0) -> Piece:
        """A tile of the lattice as what is fused.

        Parameters
        ----------
        row
            Of the tile.
        channel
            Of the volume.
        gain
            Its pixels are multiplied by this, beside the plan's own gains.
        """
        of_tile = 0 if CHANNEL in self.lattice.dims else channel
        factor = 1.0 if self.gains is None else float(self.gains[row, channel])
        mask = mask_reader(self.masks, self.lattice, row, of_tile)
        return Piece(
            tuple(self.positions[row].tolist()),
            tuple(self.shapes[row].tolist()),
            self._planar(read_tile(self.lattice, row, of_tile)),
            self.ramp,
            gain * factor,
            0.0 if self.offsets is None else float(self.offsets[row, channel]),
            self.step,
            self.interpolation,
            None if self.warps is None else self.warps[row],
            None if mask is None else self._planar(mask),
            None if self.leans is None else self.leans[row],
        )

    def _planar(self, read: Callable[[Box], np.ndarray]) -> Callable[[Box], np.ndarray]:
        """The same with the axis that planes do not have."""
        return read if self.planes is None else self.planes.reader(read)


def _check_dims(lattice: Lattice, planes: Planes | None, merged: Sequence[str]) -> None:
    """Refuse to fuse tiles that show different things."""
    unknown = [dim for dim in merged if dim not in lattice.dims or spatial_axis(dim) is not None]
    if unknown:
        others = [dim for dim in lattice.dims if spatial_axis(dim) is None]
        raise LatticeError(
            f"merge={unknown[0]!r}: this lattice has no such views to merge; it has "
            f"{', '.join(others) or 'spatial axes only'}"
        )
    fused = {*lattice.tile_dims, *merged, CHANNEL, *([planes.dim] if planes else [])}
    several = [dim for dim in lattice.dims if len(lattice.labels[dim]) > 1]
    others = [dim for dim in several if (spatial_axis(dim) or dim) not in fused]
    if others:
        raise LatticeError(
            f"the tiles have no pixels along {', '.join(others)}, so that these would be fused "
            f"into one: fuse one at a time, as in lattice.sel({others[0]}=...), or, if they are "
            f'views of the same, say merge="{others[0]}"'
        )
    if CHANNEL in lattice.dims and "c" in lattice.tile_dims:
        raise LatticeError(
            "this lattice has an axis channel, and its tiles have channels (c) of their own: "
            "fuse one label at a time, as in lattice.sel(channel=...)"
        )
    if CHANNEL in merged:
        raise LatticeError("channels show different things and are not merged into one")


def _warps(lattice: Lattice, warps: Sequence[Warp | None] | None) -> tuple[Warp | None, ...] | None:
    """Warps of all tiles; those that do not bend are none."""
    if warps is None:
        return None
    if len(warps) != len(lattice):
        raise LatticeError(
            f"{len(warps)} warps: give one (or None) for each of {len(lattice)} tiles"
        )
    found = tuple(None if warp is None or warp.is_identity else warp for warp in warps)
    return found if any(warp is not None for warp in found) else None


def _factors(
    name: str, values: Any, lattice: Lattice, channels: tuple[str, ...] | None
) -> np.ndarray | None:
    """Numbers by tile and channel."""
    if values is None:
        return None
    found = np.asarray(values, "f8")
    n, count = len(lattice), len(channels or ("",))
    if found.shape == (n,):
        found = np.repeat(found[:, None], count, axis=1)
    if found.shape != (n, count) or not np.isfinite(found).all():
        raise ValueError(
            f"{name}: give a finite number for each of the {n:,} tiles, or one for each and "
            f"each channel, of shape ({n}, {count}), not {np.shape(values)}"
        )
    return found


__all__ = ["FusionPlan"]
