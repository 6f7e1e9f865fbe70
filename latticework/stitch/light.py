"""Stages of a pipeline: how evenly a tile is lit, estimated from a glimpse of many tiles.

A glimpse of a tile is a few of its planes, as medians over pieces: 4 kB, however large the tile is.
From those of all tiles, or of a thousand of them, come the camera's offset and the flat-field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from latticework.errors import StageError
from latticework.lattice.geometry import Box
from latticework.lattice.tile import Tile
from latticework.stages.collections import Tiles
from latticework.stages.ready.darkfield import offset_of
from latticework.stages.ready.flatfield import block_medians, field_of

if TYPE_CHECKING:
    import pandas as pd

PLANES = 8
"""Planes of a tile that are looked at."""
PIECES = 32
"""Pieces along y and x."""
TILES = 1000
"""Tiles that are looked at, at most."""
COLUMNS = ("channel", "row", "column", "median", "error", "height", "width")


@dataclass(frozen=True)
class Even:
    """What makes a tile's pixels even: ``(pixel - dark) / light + dark``."""

    light: np.ndarray | None = None
    """Share of light by pixel, ``y x`` or ``c y x``; None for even light."""
    dark: tuple[float, ...] = (0.0,)
    """What the camera counts without light, by channel."""
    pivot: float | None = None
    """The count that a gain leaves as it is; `dark` if None."""

    def __call__(self, pixels: np.ndarray, box: Box, gain: float = 1.0) -> np.ndarray:
        """Pixels of a box of a tile, made even and brighter by a gain: float32, or as they are.

        Parameters
        ----------
        pixels
            Along the tile's dims.
        box
            Where in the tile they lie.
        gain
            What the pixels are multiplied by, above the pivot.
        """
        if self.light is None and gain == 1.0:
            return pixels
        dark, even = self._dark(box), np.array(pixels, np.float32)
        if self.light is not None:
            even -= dark
            even /= self._light(box)
            even += dark
        if gain != 1.0:
            pivot = dark if self.pivot is None else np.float32(self.pivot)
            even -= pivot
            even *= np.float32(gain)
            even += pivot
        return even

    def _dark(self, box: Box) -> np.ndarray:
        """The offset, along the box's dims."""
        dark = np.asarray(self.dark, np.float32)
        if len(dark) == 1:
            return dark.reshape((1,) * box.ndim)
        return dark[box.slices[0]].reshape(-1, *(1,) * (box.ndim - 1))

    def _light(self, box: Box) -> np.ndarray:
        """The share of light, along the box's dims."""
        assert self.light is not None
        place = box.slices[-2:] if self.light.ndim == 2 else (box.slices[0], *box.slices[-2:])
        light: np.ndarray = np.maximum(self.light[place], np.float32(1e-3))
        return light[:, None] if self.light.ndim == 3 and box.ndim == 4 else light


def glimpse(tile: Tile, others: Tiles, *, every: int = 1) -> "pd.DataFrame":
    """A few planes of a tile, as medians over pieces; a stage.

    Parameters
    ----------
    tile, others
        As for `latticework.stitch.comparing.compare_tile`.
    every
        One tile of so many is looked at; the others give an empty table.

    Returns
    -------
    pandas.DataFrame
        A row for each piece and channel: ``channel``, ``row``, ``column``, ``median`` and its
        standard ``error``, ``height`` and ``width`` of the tile (pixels).
    """
    import pandas as pd

    if tile.id % every or tile.problem is not None:
        return pd.DataFrame({name: pd.Series(dtype="f8") for name in COLUMNS})
    planes = xr.DataArray(_planes(tile, others), dims=tile.dims)
    height, width = planes.sizes["y"], planes.sizes["x"]
    grid = (min(PIECES, height), min(PIECES, width))
    medians, errors = block_medians(planes, grid)
    rows, columns = (index.ravel() for index in np.indices(grid))
    parts = []
    for channel, (median, error) in enumerate(zip(medians, errors, strict=True)):
        about = (channel, rows, columns, median.ravel(), error.ravel(), height, width)
        parts.append(pd.DataFrame(dict(zip(COLUMNS, about, strict=True))))
    return pd.concat(parts, ignore_index=True)


def _planes(tile: Tile, others: Tiles) -> np.ndarray:
    """Planes of a tile, evenly spread, along its dims."""
    if "z" not in tile.dims:
        return np.asarray(others.own(tile.box))
    axis = tile.dims.index("z")
    n = tile.shape[axis]
    chosen = np.unique(np.linspace(0, n - 1, min(PLANES, n)).round().astype(int)).tolist()
    found = []
    for plane in chosen:
        start, stop = [0] * len(tile.dims), list(tile.shape)
        start[axis], stop[axis] = plane, plane + 1
        found.append(np.asarray(others.own(Box(tuple(start), tuple(stop)))))
    return np.concatenate(found, axis=axis)


def estimate_dark(
    glimpses: "pd.DataFrame", *, given: float | None = None
) -> dict[str, list[float]]:
    """What the camera counts without light, by channel; a reduction over `glimpse`.

    Parameters
    ----------
    glimpses
        The rows of all tiles.
    given
        The same for all channels, where it is known.
    """
    if given is not None:
        return {"dark": [float(given)] * max(glimpses["channel"].nunique(), 1)}
    found = [offset_of(*_pieces(of)) for _, of in glimpses.groupby("channel")]
    return {"dark": found or [0.0]}


def _pieces(glimpses: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
    """Medians of the pieces of tiles and their errors, (tile, y, x)."""
    grid = int(glimpses["row"].max()) + 1, int(glimpses["column"].max()) + 1
    medians, errors = (
        glimpses[name].to_numpy("f4").reshape(-1, *grid) for name in ("median", "error")
    )
    return medians, errors


def estimate_light(glimpses: "pd.DataFrame", dark: Mapping[str, Sequence[float]]) -> xr.DataArray:
    """The share of light that each pixel gets; a reduction over `glimpse`.

    Parameters
    ----------
    glimpses
        The rows of all tiles.
    dark
        As `estimate_dark` gives it.

    Returns
    -------
    xarray.DataArray
        float32, dims ``c y x``, mean 1 in each channel.
    """
    fields: list[Any] = []
    for (_, of), offset in zip(glimpses.groupby("channel"), dark["dark"], strict=True):
        size = int(of["height"].iloc[0]), int(of["width"].iloc[0])
        medians, errors = _pieces(of)
        fields.append(field_of(medians - np.float32(offset), errors, size))
    if not fields:  # no tile could be read
        fields.append(np.ones((1, 1), "f4"))
    return xr.DataArray(np.stack(fields).astype("f4"), dims=("c", "y", "x"), name="light")


def fitting_light(light: np.ndarray, count: int, size: tuple[int, int]) -> np.ndarray:
    """The picture of an even specimen as float32 of ``c y x``, if it fits the tiles.

    Parameters
    ----------
    light
        ``y x`` or ``c y x``, without the camera's offset.
    count, size
        Channels of the tiles, and their pixels along y and x.

    Raises
    ------
    StageError
        If it does not fit, or has negative or unknown pixels.

    Examples
    --------
    >>> fitting_light(np.ones((4, 6)), 2, (4, 6)).shape
    (1, 4, 6)
    """
    light = np.asarray(light, "f4")
    light = light[None] if light.ndim == 2 else light
    if light.ndim != 3 or light.shape[0] not in (1, count) or light.shape[1:] != size:
        raise StageError(
            f"the flat-field of {light.shape} pixels does not fit tiles of {count} x {size[0]} x "
            f"{size[1]} (c y x): give one of y x, or of c y x"
        )
    if not (np.isfinite(light).all() and light.min() >= 0 and light.mean() > 0):
        raise StageError("the flat-field has negative or unknown pixels, or no light at all")
    return light


def given_light(
    glimpses: "pd.DataFrame", dark: Mapping[str, Sequence[float]], *, file: str
) -> xr.DataArray:
    """The share of light by a picture of an even specimen; in place of `estimate_light`.

    Parameters
    ----------
    glimpses
        The rows of all tiles, which say how large these are.
    dark
        As `estimate_dark` gives it; one number for each channel.
    file
        NumPy file of the picture, ``y x`` or ``c y x``, without the camera's offset.

    Raises
    ------
    StageError
        If it does not fit the tiles.
    """
    light = np.load(file, allow_pickle=False)
    count = len(dark["dark"])
    size = (int(glimpses["height"].iloc[0]), int(glimpses["width"].iloc[0]))
    light = fitting_light(light, count, size)
    light = np.broadcast_to(light, (count, *size)) / light.mean(axis=(1, 2), keepdims=True)
    return xr.DataArray(light.astype("f4"), dims=("c", "y", "x"), name="light")


__all__ = ["Even", "estimate_dark", "estimate_light", "fitting_light", "given_light", "glimpse"]
