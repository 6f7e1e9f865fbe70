"""A microscope in numbers: tiles, an inexact stage, an uneven lamp, a camera with noise."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from latticework.errors import LatticeError
from latticework.testing.fields import Floats, Ints, hash_uniform

AXES = ("z", "y", "x")

STAINS = ((1.0, 0.15, 0.9), (0.1, 1.0, 0.8), (0.05, 0.1, 1.7))
"""Brightness of cells, fibres and tissue in the first, second and third of several channels."""


@dataclass(frozen=True)
class Microscope:
    """How tiles are taken of a phantom.

    A pixel of true brightness ``b`` (see `Phantom.render`) gives ``b * electrons * flatfield``
    electrons on average, with shot noise and read noise; the camera turns electrons into counts,
    adds its offset, rounds and clips.

    ::

        counts = clip(round(offset + counts_per_electron * (electrons_seen + noise)), 0, saturation)
        noise  : normal, variance electrons_seen + read_noise^2   (shot noise as its normal limit)

    Parameters
    ----------
    tile_shape
        Pixels of a tile, ``{"z": 64, "y": 256, "x": 256}``; without z for 2-D tiles.
    pixel_size_um
        By axis; with 2-D tiles, z is the distance between planes.
    overlap
        By lattice axis: pixels, or a fraction of the tile where below 1. One number is for y and x
        (and for z too where tiles have a z).
    channels
        Names, for tiles with a ``c`` dim.
    dtype
        ``"uint16"`` or ``"uint8"``.
    jitter_px
        The stage misses by up to so many pixels, evenly spread, per axis or for all; `subpixel`
        lets it miss by fractions.
    stage_angle_deg
        Angle between the axes of stage and camera in the plane: neighbours along x come to lie a
        little lower.
    vignetting
        Share of light lost in the corners; differs a little by channel.
    offset, counts_per_electron, electrons, read_noise, saturation
        Camera: counts in the dark, gain, electrons from a pixel of brightness 1, read noise in
        electrons, largest count. What is None depends on dtype.
    bad_pixels
        Share of pixels that always read nothing (half of them) or full (half).
    psf_um
        Blur, standard deviation by axis.
    stains
        Brightness of cells, fibres and tissue by channel.

    Examples
    --------
    >>> scope = Microscope(tile_shape={"y": 100, "x": 200}, overlap=0.1)
    >>> scope.step_px
    {'y': 90, 'x': 180}
    >>> float(scope.flatfield.mean().round(3)), scope.flatfield.shape
    (1.0, (100, 200))
    """

    tile_shape: Mapping[str, int] = field(default_factory=lambda: {"z": 64, "y": 256, "x": 256})
    pixel_size_um: Mapping[str, float] = field(default_factory=dict)
    overlap: Mapping[str, float] | float = 0.1
    channels: tuple[str, ...] | None = None
    dtype: str = "uint16"
    jitter_px: Mapping[str, float] | float = 3
    subpixel: bool = False
    stage_angle_deg: float = 0.0
    vignetting: float = 0.4
    offset: float | None = None
    counts_per_electron: float | None = None
    electrons: float = 1000.0
    read_noise: float = 2.0
    saturation: int | None = None
    bad_pixels: float = 0.0
    psf_um: tuple[float, float, float] = (1.5, 0.6, 0.6)
    stains: tuple[tuple[float, float, float], ...] | None = None

    def __post_init__(self) -> None:
        unknown = [a for a in self.tile_shape if a not in AXES]
        if unknown or not {"y", "x"} <= set(self.tile_shape):
            raise LatticeError(
                f"tile_shape needs y and x (channels= gives c), not {list(self.tile_shape)}"
            )
        if self.dtype not in ("uint8", "uint16"):
            raise LatticeError(f"the camera gives uint8 or uint16, not {self.dtype!r}")
        if self.stains is not None and len(self.stains) != self.n_channels:
            raise LatticeError(
                f"{len(self.stains)} stains were given for {self.n_channels} channels"
            )
        if any(step < 1 for step in self.step_px.values()):
            raise LatticeError(
                f"overlap {self.overlap} is not smaller than the tile {dict(self.tile_shape)}"
            )

    # ------------------------------------------------------------------ geometry

    @property
    def axes(self) -> tuple[str, ...]:
        """Spatial axes of a tile."""
        return tuple(axis for axis in AXES if axis in self.tile_shape)

    @property
    def dims(self) -> tuple[str, ...]:
        """Pixel dims of a tile."""
        return self.axes if self.channels is None else ("c", *self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels of a tile, in order of `dims`."""
        spatial = tuple(int(self.tile_shape[axis]) for axis in self.axes)
        return spatial if self.channels is None else (self.n_channels, *spatial)

    @property
    def n_channels(self) -> int:
        """Number of channels, 1 without a ``c`` dim."""
        return 1 if self.channels is None else len(self.channels)

    @property
    def volume_tile(self) -> tuple[int, int, int]:
        """Pixels of a tile in z, y, x, also of a 2-D one."""
        z, y, x = (int(self.tile_shape.get(axis, 1)) for axis in AXES)
        return z, y, x

    @property
    def pixel_um(self) -> tuple[float, float, float]:
        """Pixel size in z, y, x."""
        z, y, x = (float(self.pixel_size_um.get(axis, 1.0)) for axis in AXES)
        return z, y, x

    @property
    def step_px(self) -> dict[str, int]:
        """Nominal step by axis."""
        steps = {}
        for axis in self.axes:
            size = int(self.tile_shape[axis])
            given = (
                self.overlap if not isinstance(self.overlap, Mapping) else self.overlap.get(axis, 0)
            )
            steps[axis] = size - round(given * size if given < 1 else given)
        return steps

    def stage_px(self, index: Ints, seed: int) -> Floats:
        """Where tiles truly are: first pixels in z, y, x, for grid positions (n, 3).

        The nominal place, turned by `stage_angle_deg`, plus what the stage misses by, which depends
        on seed and grid position alone.
        """
        steps = [self.step_px.get(axis, 1) for axis in AXES]
        nominal = index * np.asarray(steps, dtype=np.float64)
        angle = math.radians(self.stage_angle_deg)
        turn = np.eye(3)
        turn[1:, 1:] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        pixel = np.asarray(self.pixel_um)
        true = (nominal * pixel) @ turn.T / pixel
        for column, axis in enumerate(AXES):
            limit = self.jitter_px
            if isinstance(limit, Mapping):
                limit = limit.get(axis, 0.0)
            if axis in self.axes:
                miss = hash_uniform(seed, 100 + column, index[:, 0], index[:, 1], index[:, 2])
                true[:, column] += (2.0 * miss - 1.0) * limit
        # Rounded even so, a miss of 3 px stays within 3 px.
        return true if self.subpixel else np.asarray(np.round(true))

    # ------------------------------------------------------------------ light and camera

    @property
    def dark_counts(self) -> float:
        """Offset in use."""
        return (
            self.offset if self.offset is not None else (100.0 if self.dtype == "uint16" else 10.0)
        )

    @property
    def gain(self) -> float:
        """Counts per electron in use."""
        if self.counts_per_electron is not None:
            return self.counts_per_electron
        return 2.0 if self.dtype == "uint16" else 130.0 / self.electrons

    @property
    def full_counts(self) -> int:
        """Saturation in use."""
        return int(np.iinfo(self.dtype).max) if self.saturation is None else self.saturation

    def stain(self, channel: int) -> dict[str, float]:
        """Brightness of cells, fibres and tissue in a channel."""
        if self.stains is not None:
            values = self.stains[channel]
        else:
            values = (1.0, 1.0, 1.0) if self.channels is None else STAINS[channel % len(STAINS)]
        return dict(zip(("cells", "fibres", "tissue"), values, strict=True))

    @cached_property
    def flatfield(self) -> npt.NDArray[np.float32]:
        """Share of light that arrives, float32 (y, x) or (c, y, x), mean 1 per channel."""
        _, height, width = self.volume_tile
        fields = []
        for channel in range(self.n_channels):
            y = np.linspace(-1, 1, height)[:, None] - 0.12 + 0.08 * channel
            x = np.linspace(-1, 1, width)[None, :] + 0.15 - 0.06 * channel
            strength = self.vignetting * (1.0 - 0.12 * channel)
            light = 1.0 - strength * (0.5 * (y * y + x * x)) + 0.1 * strength * (x - 0.5 * y)
            light = np.maximum(light, 0.02)
            fields.append(light / light.mean())
        stack = np.stack(fields).astype(np.float32)
        return stack[0] if self.channels is None else stack

    @cached_property
    def bad(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Pixels (y, x) that read nothing, and that read full."""
        _, height, width = self.volume_tile
        chance = hash_uniform(0, 110, np.arange(height)[:, None], np.arange(width))
        return chance < self.bad_pixels / 2, chance > 1 - self.bad_pixels / 2

    def expected_counts(
        self, brightness: npt.NDArray[np.float32], channel: int, rows: slice, columns: slice
    ) -> npt.NDArray[np.float32]:
        """Counts without noise, rounding and clipping, of a box (z, y, x) of the camera."""
        light = self.flatfield.reshape(-1, *self.flatfield.shape[-2:])[channel, rows, columns]
        counts = brightness * (light * np.float32(self.electrons * self.gain))
        return counts + np.float32(self.dark_counts)

    def expose(
        self,
        brightness: npt.NDArray[np.float32],
        *,
        channel: int,
        first_plane: int,
        rows: slice,
        columns: slice,
        key: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Counts of the camera for a box of true brightness.

        Parameters
        ----------
        brightness
            float32 (z, y, x); used as scratch.
        channel, first_plane, rows, columns
            Where in the tile the box lies.
        key
            Seeds the noise, with channel and plane: a pixel's noise is the same whichever box it is
            read in.
        """
        _, _, width = self.volume_tile
        light = self.flatfield.reshape(-1, *self.flatfield.shape[-2:])[channel, rows, columns]
        light = light * np.float32(self.electrons)
        noise_floor = np.float32(self.read_noise**2)
        out = np.empty(brightness.shape, dtype=self.dtype)
        for plane in range(len(brightness)):
            seen = brightness[plane]
            generator = np.random.Generator(np.random.SFC64([*key, channel, first_plane + plane]))
            noise = generator.standard_normal((rows.stop, width), dtype=np.float32)[rows, columns]
            seen *= light
            noise = noise * np.sqrt(seen + noise_floor)
            noise += seen
            noise *= np.float32(self.gain)
            noise += np.float32(self.dark_counts)
            np.rint(noise, out=noise)
            np.clip(noise, 0, self.full_counts, out=noise)
            out[plane] = noise
        if self.bad_pixels:
            dead, hot = (mask[rows, columns] for mask in self.bad)
            out[:, dead] = 0
            out[:, hot] = self.full_counts
        return out

    # ------------------------------------------------------------------ specs

    def spec(self) -> dict[str, Any]:
        """What `from_spec` needs to build it again; plain JSON."""
        return dataclasses.asdict(
            dataclasses.replace(
                self,
                tile_shape=dict(self.tile_shape),
                pixel_size_um=dict(self.pixel_size_um),
                overlap=dict(self.overlap) if isinstance(self.overlap, Mapping) else self.overlap,
                jitter_px=dict(self.jitter_px)
                if isinstance(self.jitter_px, Mapping)
                else self.jitter_px,
            )
        )

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The microscope of a spec.

        Examples
        --------
        >>> scope = Microscope(channels=("nuclei", "fibres"))
        >>> Microscope.from_spec(scope.spec()) == scope
        True
        """
        values = dict(spec)
        for name in ("channels", "psf_um"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        if values.get("stains") is not None:
            values["stains"] = tuple(tuple(stain) for stain in values["stains"])
        return cls(**values)
