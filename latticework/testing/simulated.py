"""Acquisitions that are computed when they are read, with everything about them known."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from latticework.errors import LatticeError
from latticework.io.sources import register_source
from latticework.lattice import Box, Lattice
from latticework.testing.fields import Floats, Ints, hash_uniform
from latticework.testing.microscope import AXES, Microscope
from latticework.testing.phantom import Phantom


@dataclass(frozen=True)
class SimulatedSource:
    """Tiles of a phantom through a microscope, computed on demand; a `TileSource`.

    It holds no pixels and no tables, whatever the number of tiles, and may be read by any number of
    threads.

    Parameters
    ----------
    phantom, microscope
        What is imaged, and how.
    grid
        Number of tiles by axis, a subset of z, y, x.
    seed
        Of stage and noise; the phantom has its own.
    order, snake
        Order of acquisition in a plane: along rows or columns, every other one backwards if
        `snake`. Planes follow each other in z.
    empty
        Share of tiles in which, for whatever reason, there is only glass.

    Examples
    --------
    >>> source = SimulatedSource(Phantom(1), Microscope({"y": 64, "x": 64}), {"y": 2, "x": 3})
    >>> source.read(4, Box((0, 10), (5, 64))).shape
    (5, 54)
    >>> SimulatedSource.from_spec(json.loads(json.dumps(source.spec()))) == source
    True
    """

    kind: ClassVar[str] = "simulated"

    phantom: Phantom
    microscope: Microscope
    grid: Mapping[str, int]
    seed: int = 0
    order: str = "row"
    snake: bool = False
    empty: float = 0.0

    def __post_init__(self) -> None:
        if not set(self.grid) <= set(AXES) or any(n < 1 for n in self.grid.values()):
            raise LatticeError(
                f"grid gives tiles along z, y, x, at least 1 each, but is {dict(self.grid)}"
            )
        if self.order not in ("row", "column"):
            raise LatticeError(f"order is 'row' or 'column', not {self.order!r}")

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return int(np.prod([self.grid.get(axis, 1) for axis in AXES]))

    def index(self, tiles: npt.ArrayLike) -> Ints:
        """Grid positions in z, y, x of tile ids, int64 (n, 3)."""
        tiles = np.asarray(tiles, dtype=np.int64).reshape(-1)
        if len(tiles) and not (tiles.min() >= 0 and tiles.max() < self.n_tiles):
            raise LatticeError(
                f"tile ids go from 0 to {self.n_tiles - 1}, but {tiles} were asked for"
            )
        rows, columns = self.grid.get("y", 1), self.grid.get("x", 1)
        plane, rest = np.divmod(tiles, rows * columns)
        inner = columns if self.order == "row" else rows
        slow, fast = np.divmod(rest, inner)
        if self.snake:
            fast = np.where(slow % 2 == 1, inner - 1 - fast, fast)
        y, x = (slow, fast) if self.order == "row" else (fast, slow)
        return np.stack([plane, y, x], axis=1)

    def position_px(self, tiles: npt.ArrayLike) -> Floats:
        """True positions of first pixels in z, y, x, float64 (n, 3)."""
        return self.microscope.stage_px(self.index(tiles), self.seed)

    def is_empty(self, tiles: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which tiles were taken of glass alone, by `empty`."""
        index = self.index(tiles)
        return hash_uniform(self.seed, 120, index[:, 0], index[:, 1], index[:, 2]) < self.empty

    def _volume_box(self, box: Box | None) -> tuple[range, Box]:
        """Channels, and the box in z, y, x, of a box of the tile."""
        scope = self.microscope
        box = Box((0,) * len(scope.shape), scope.shape) if box is None else box
        spans = dict(zip(scope.dims, zip(box.start, box.stop, strict=True), strict=True))
        for (start, stop), size in zip(spans.values(), scope.shape, strict=True):
            if not 0 <= start <= stop <= size:
                raise LatticeError(f"box {box} is not inside a tile of shape {scope.shape}")
        zyx = [spans.get(axis, (0, 1)) for axis in AXES]
        return range(*spans.get("c", (0, 1))), Box(
            tuple(a for a, _ in zyx), tuple(b for _, b in zyx)
        )

    def _brightness(self, tile: int, channel: int, box: Box) -> npt.NDArray[np.float32]:
        scope = self.microscope
        stain = scope.stain(channel)
        if self.is_empty([tile])[0]:
            stain = dict.fromkeys(stain, 0.0)
        origin = self.position_px([tile])[0] + box.start
        return self.phantom.render(
            tuple(origin), box.shape, pixel_size_um=scope.pixel_um, psf_um=scope.psf_um, **stain
        )

    def read(self, tile: int, box: Box | None = None) -> npt.NDArray[Any]:
        """Pixels of a box of a tile, the whole tile without one; same pixels whatever the box."""
        channels, inside = self._volume_box(box)
        planes = [
            self.microscope.expose(
                self._brightness(tile, channel, inside),
                channel=channel,
                first_plane=inside.start[0],
                rows=slice(inside.start[1], inside.stop[1]),
                columns=slice(inside.start[2], inside.stop[2]),
                key=(self.seed, tile),
            )
            for channel in channels
        ]
        return self._tile_dims(planes, inside.shape, self.microscope.dtype)

    def clean(self, tile: int, box: Box | None = None) -> npt.NDArray[np.float32]:
        """True brightness of a box of a tile: no noise, no camera, an even lamp."""
        channels, inside = self._volume_box(box)
        planes = [self._brightness(tile, channel, inside) for channel in channels]
        return self._tile_dims(planes, inside.shape, "float32")

    def _tile_dims(
        self, channels: list[npt.NDArray[Any]], shape: tuple[int, ...], dtype: str
    ) -> npt.NDArray[Any]:
        stack = np.stack(channels) if channels else np.zeros((0, *shape), dtype=dtype)
        if "z" not in self.microscope.tile_shape:
            stack = stack[:, 0]
        return stack[0] if self.microscope.channels is None else stack

    def fingerprints(self) -> npt.NDArray[np.uint64]:
        """A number per tile that changes when its pixels do."""
        text = json.dumps(self.spec(), sort_keys=True).encode()
        base = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
        return np.uint64(base) + np.arange(self.n_tiles, dtype=np.uint64)

    def spec(self) -> dict[str, Any]:
        """What `from_spec` needs to build it again; plain JSON."""
        own = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {
            **own,
            "format": "simulated",
            "grid": dict(self.grid),
            "phantom": self.phantom.spec(),
            "microscope": self.microscope.spec(),
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The source of a spec."""
        values = {name: value for name, value in spec.items() if name != "format"}
        values["phantom"] = Phantom.from_spec(spec["phantom"])
        values["microscope"] = Microscope.from_spec(spec["microscope"])
        return cls(**values)

    def save(self, folder: Path, base: Path) -> dict[str, Any]:  # noqa: ARG002 - there are no files to point to
        """What ``source.json`` keeps (see `latticework.io.sources`): the spec alone."""
        return {"spec": self.spec()}

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """The source that `save` described."""
        return cls.from_spec(spec["spec"])

    def lattice(self) -> Lattice:
        """The lattice of the tiles, as the microscope reports it: at nominal positions."""
        scope = self.microscope
        axes = [axis for axis in AXES if axis in self.grid]
        columns = [AXES.index(axis) for axis in axes]
        return Lattice(
            dims=[f"tile_{axis}" for axis in axes],
            labels={f"tile_{axis}": np.arange(self.grid[axis]) for axis in axes},
            index=self.index(np.arange(self.n_tiles))[:, columns],
            tile_dims=scope.dims,
            tile_shape=scope.shape,
            dtype=scope.dtype,
            pixel_size_um=dict(zip(AXES, scope.pixel_um, strict=True)),
            step_px={axis: scope.step_px.get(axis, 1) for axis in axes},
            channels=scope.channels,
            source=self,
        )


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated acquisition.

    Positions are in the frame of the specimen: pixels (or um) in z, y, x from its zero, which is
    where the first tile would be had the stage not missed.

    Examples
    --------
    >>> lattice, truth = simulate({"y": 2, "x": 2}, tile_shape={"z": 8, "y": 96, "x": 96}, seed=4)
    >>> truth.position_px.shape
    (4, 3)
    >>> truth.cells(0).columns.tolist()
    ['z', 'y', 'x', 'z_um', 'y_um', 'x_um', 'brightness', 'sigma_um']
    """

    source: SimulatedSource

    @cached_property
    def position_px(self) -> Floats:
        """True positions of all tiles' first pixels, float64 (n, 3) in z, y, x."""
        return self.source.position_px(np.arange(self.source.n_tiles))

    @cached_property
    def position_um(self) -> Floats:
        """The same in um."""
        return np.asarray(self.position_px * np.asarray(self.source.microscope.pixel_um))

    @property
    def flatfield(self) -> npt.NDArray[np.float32]:
        """True illumination, (y, x) or (c, y, x), mean 1."""
        return self.source.microscope.flatfield

    @property
    def offset(self) -> float:
        """Counts of the camera in the dark."""
        return self.source.microscope.dark_counts

    def tile(self, tile: int, box: Box | None = None) -> npt.NDArray[np.float32]:
        """True brightness of a tile, or of a box of it, in the tile's dims."""
        return self.source.clean(tile, box)

    def expected(self, tile: int) -> npt.NDArray[np.float32]:
        """Counts of a tile on average over noise, before rounding and clipping."""
        scope = self.source.microscope
        whole = slice(0, None)
        clean = self.tile(tile)
        if scope.channels is None:
            return scope.expected_counts(clean, 0, whole, whole)
        return np.stack([scope.expected_counts(b, c, whole, whole) for c, b in enumerate(clean)])

    def volume(
        self, start_px: Sequence[float], shape: Sequence[int], *, channel: int = 0
    ) -> npt.NDArray[np.float32]:
        """True brightness of any box of the specimen, z y x; tiles are crops of it."""
        scope = self.source.microscope
        return self.source.phantom.render(
            start_px,
            shape,
            pixel_size_um=scope.pixel_um,
            psf_um=scope.psf_um,
            **scope.stain(channel),
        )

    def bounds_px(self) -> Box:
        """The smallest box of whole pixels, in z, y, x, that holds all tiles."""
        low = np.floor(self.position_px.min(axis=0)).astype(int)
        high = (
            np.ceil(self.position_px.max(axis=0)).astype(int) + self.source.microscope.volume_tile
        )
        return Box(tuple(low.tolist()), tuple(high.tolist()))

    def cells(self, tile: int) -> pd.DataFrame:
        """Somata with their centre in a tile.

        Returns
        -------
        DataFrame with columns z y x (pixels of the tile, the first pixel's centre is 0), z_um y_um
        x_um (specimen), brightness (of the centre before blur) and sigma_um (geometric mean of the
        three half axes).
        """
        scope = self.source.microscope
        pixel = np.asarray(scope.pixel_um)
        origin = self.source.position_px([tile])[0]
        low, high = (origin - 0.5) * pixel, (origin - 0.5 + scope.volume_tile) * pixel
        found = self.source.phantom.cells(tuple(low), tuple(high))
        keep = np.full(len(found), not self.source.is_empty([tile])[0])
        inside = found.centre_um[keep] / pixel - origin
        table = {axis: inside[:, k] for k, axis in enumerate(AXES)}
        table |= {f"{axis}_um": found.centre_um[keep, k] for k, axis in enumerate(AXES)}
        table["brightness"] = found.brightness[keep]
        table["sigma_um"] = np.linalg.det(found.covariance_um2[keep]) ** (1 / 6)
        return pd.DataFrame(table)


class Acquisition(NamedTuple):
    """A simulated acquisition and the truth about it."""

    lattice: Lattice
    truth: Truth


def simulate(
    grid: Mapping[str, int],
    *,
    seed: int | np.random.Generator = 0,
    phantom: Phantom | None = None,
    order: str = "row",
    snake: bool = False,
    empty: float = 0.0,
    **microscope: Any,
) -> Acquisition:
    """A simulated acquisition of a brain-like phantom: its lattice, and the truth about it.

    Nothing is computed until pixels are read, so a grid may have a million tiles.

    Parameters
    ----------
    grid
        Number of tiles by axis, ``{"z": 2, "y": 3, "x": 4}``.
    seed
        Number, or a generator to draw one from.
    phantom
        What is imaged; a brain that fits the grid and leaves a border, if not given.
    order, snake, empty
        Order of acquisition and share of tiles without tissue: see `SimulatedSource`.
    **microscope
        See `Microscope`.

    Returns
    -------
    (lattice, truth)
        ``lattice.source`` reads tiles; positions of the lattice are nominal, the true ones are in
        `truth`.

    Examples
    --------
    >>> lattice, truth = simulate({"y": 3, "x": 4}, tile_shape={"z": 16, "y": 64, "x": 64}, seed=7)
    >>> lattice.n_tiles, lattice.overlap_px
    (12, {'y': 6, 'x': 6})
    >>> bool(lattice.source.read(5).mean() > truth.offset)
    True
    """
    number = int(seed.integers(2**31)) if isinstance(seed, np.random.Generator) else int(seed)
    scope = Microscope(**microscope)
    if phantom is None:
        phantom = fitting_phantom(scope, grid, seed=number)
    source = SimulatedSource(phantom, scope, dict(grid), number, order, snake, empty)
    return Acquisition(source.lattice(), Truth(source))


def fitting_phantom(scope: Microscope, grid: Mapping[str, int], *, seed: int) -> Phantom:
    """A brain that fills a grid of tiles, with a border of glass in y and x; thicker in z."""
    pixel = np.asarray(scope.pixel_um)
    count = np.array([grid.get(axis, 1) for axis in AXES])
    step = np.array([scope.step_px.get(axis, 1) for axis in AXES])
    size = ((count - 1) * step + scope.volume_tile) * pixel
    half = size * (1.6, 0.46, 0.47)
    half[0] = max(half[0], 60.0)
    return Phantom(
        seed=seed,
        centre_um=tuple((size / 2).tolist()),
        half_size_um=tuple(half.tolist()),
    )


register_source(SimulatedSource.kind, f"{__name__}:{SimulatedSource.__name__}")
