"""Pictures of tiles and of the volume for a report: the same tiles before and after.

Nothing here is large: of each tile one plane is read, of few enough tiles, and of the volume one
plane of a level that has about as many pixels as the picture.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.places import extents_um
from latticework.stitch.report_facts import Findings
from latticework.viz.mosaic import mosaic_picture
from latticework.viz.planes import plane_numbers

MOST_TILES, MOST_PIXELS = 256, 120e6
"""Tiles, and pixels of a plane of them all, that are read for the picture before."""
SIDE_PX = 900
"""Longer side of a picture, about."""
BoxUm = tuple[float, float, float, float]
"""First y, first x, last y, last x, in micrometres."""


class View(NamedTuple):
    """A picture of some place."""

    picture: np.ndarray
    """float32 (y, x), NaN where there is nothing."""
    box_um: BoxUm
    """What it shows."""


class Outline(NamedTuple):
    """A tile as it lies on a picture."""

    name: str
    """Of the tile."""
    box_um: BoxUm
    """Where it lies."""


@dataclass(frozen=True)
class BeforeAfter:
    """The same tiles at nominal positions and in the volume."""

    before: View | None
    """Nominal; None if no tile could be read."""
    after: View | None
    """From the volume; None without one."""
    outlines: tuple[tuple[Outline, ...], tuple[Outline, ...]]
    """Tiles as they lie on either."""
    n_tiles: int
    """How many tiles are shown."""
    part: bool
    """Whether these are not all tiles of their plane."""
    plane: str
    """Which plane of the lattice, if there are several."""
    whole: View | None = None
    """All of the volume, where the others show a part."""


def before_and_after(found: Findings, *, before: bool = True) -> BeforeAfter:
    """Pictures of as many tiles as can be looked at, before and after.

    Parameters
    ----------
    found
        What was found.
    before
        Whether tiles are read, for the picture before.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> both = before_and_after(Findings("brain", tiles, place(tiles, register(tiles))))
    >>> both.n_tiles, both.after is None, both.before.picture.shape
    (4, True, (182, 182))
    """
    rows, plane, part = window_of(found)
    nominal, placed = found.nominal, found.placement.lattice
    boxes = [_boxes(lattice, rows) for lattice in (nominal, placed)]
    after = whole = None
    if found.image is not None:
        volume = Volume(found.image)
        z = _middle_um(placed, rows)
        after = volume.view(_around(boxes[1]), z, found.channel)
        if part:
            everything = _boxes(placed, np.arange(len(placed)))
            whole = volume.view(_around(everything), z, found.channel)
    names = [found.name_of(int(id)) for id in placed.ids[rows]]
    outlines = tuple(
        tuple(Outline(name, tuple(box)) for name, box in zip(names, of.tolist(), strict=True))
        for of in boxes
    )
    return BeforeAfter(
        _mosaic(found, rows) if before else None,
        after,
        (outlines[0], outlines[1]),
        n_tiles=len(rows),
        part=part,
        plane=plane,
        whole=whole,
    )


def window_of(found: Findings) -> tuple[np.ndarray, str, bool]:
    """Rows of the tiles that are shown: of the middle plane, those in its middle.

    Returns
    -------
    (rows, str, bool)
        And the title of the plane, if there are several, and whether it has more tiles.
    """
    lattice = found.placement.lattice
    numbers, titles = plane_numbers(lattice)
    present = np.unique(numbers)
    number = present[len(present) // 2]
    rows = np.flatnonzero(numbers == number)
    title = titles(int(number)) if len(present) > 1 else ""
    sides = lattice.tile_shape
    most = int(np.clip(MOST_PIXELS / (sides["y"] * sides["x"]), 4, MOST_TILES))
    part = len(rows) > most
    if part:
        middle = np.median(lattice.position_um[rows], axis=0)
        steps = np.maximum(extents_um(lattice)[0], 1e-9)
        away = np.abs((lattice.position_um[rows] - middle) / steps)
        yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
        nearest = np.argsort(away[:, yx].max(axis=1), kind="stable")
        rows = np.sort(rows[nearest[:most]])
    return rows, title, part


def _mosaic(found: Findings, rows: np.ndarray) -> View | None:
    lattice, source = found.nominal, found.nominal.source
    if source is None:
        return None
    some = lattice if len(rows) == len(lattice) else lattice.take(lattice.ids[rows])

    def read(tile: Any) -> Any:
        start, stop = [0] * len(tile.shape), list(tile.shape)
        if "z" in tile.dims:
            z = tile.dims.index("z")
            start[z], stop[z] = tile.shape[z] // 2, tile.shape[z] // 2 + 1
        try:
            return source.read(tile.id, Box(tuple(start), tuple(stop)))
        except Exception:  # a report goes on without the tile
            return None

    picture = mosaic_picture(
        some, read, max_px=SIDE_PX, channel=found.channel, projection="max", scale=False
    )
    if not np.isfinite(picture).any():
        return None
    return View(picture, _around(_boxes(some, np.arange(len(some)))))


def _boxes(lattice: Lattice, rows: np.ndarray) -> np.ndarray:
    """(tiles, 4): `BoxUm` of tiles."""
    yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
    extents = np.broadcast_to(extents_um(lattice), lattice.position_um.shape)
    near = lattice.position_um[rows][:, yx]
    return np.concatenate([near, near + extents[rows][:, yx]], axis=1)


def _around(boxes: np.ndarray) -> BoxUm:
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _middle_um(lattice: Lattice, rows: np.ndarray) -> float | None:
    """Height of the middle plane of most of these tiles."""
    if "z" not in lattice.tile_dims:
        return None
    z = lattice.spatial_dims.index("z")
    extents = np.broadcast_to(extents_um(lattice), lattice.position_um.shape)
    return float(np.median(lattice.position_um[rows, z] + extents[rows, z] / 2))


# -------------------------------------------------------------------- the volume


@dataclass(frozen=True)
class Volume:
    """An OME-Zarr image, looked at from above.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> from latticework.stitch import fuse
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> image = fuse(tiles, tempfile.mkdtemp() + "/brain.ome.zarr")
    >>> volume = Volume(image.path)
    >>> volume.shape, volume.view((0, 0, 50, 100)).picture.shape
    ((182, 182), (50, 100))
    """

    path: Path
    """Its folder."""

    @cached_property
    def _group(self) -> Any:
        import zarr

        return zarr.open_group(self.path, mode="r")

    @cached_property
    def _about(self) -> Mapping[str, Any]:
        for name in ("zarr.json", ".zattrs"):
            file = self.path / name
            if file.exists():
                found = json.loads(file.read_text(encoding="utf-8"))
                found = found.get("attributes", found)
                about: Mapping[str, Any] = found.get("ome", found)["multiscales"][0]
                return about
        raise FileNotFoundError(f"{self.path} is no OME-Zarr image")

    @cached_property
    def dims(self) -> tuple[str, ...]:
        """Names of its dims."""
        return tuple(str(axis["name"]) for axis in self._about["axes"])

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Pixels of the finest level."""
        return tuple(int(n) for n in self._level(0)[0].shape)

    @cached_property
    def pixel_size_um(self) -> dict[str, float]:
        """By spatial dim."""
        scale = dict(zip(self.dims, self._level(0)[1], strict=True))
        return {dim: size for dim, size in scale.items() if dim != "c"}

    @property
    def box_um(self) -> BoxUm:
        """Where all of it lies."""
        _, scale, origin = self._level(0)
        y, x = self.dims.index("y"), self.dims.index("x")
        low = [origin[k] - 0.5 * scale[k] for k in (y, x)]
        high = [at + self.shape[k] * scale[k] for at, k in zip(low, (y, x), strict=True)]
        return (low[0], low[1], high[0], high[1])

    def _level(self, number: int) -> tuple[Any, Sequence[float], Sequence[float]]:
        """Array, size of its pixels and place of the first, along all dims."""
        of = self._about["datasets"][number]
        scale, origin = [1.0] * len(self.dims), [0.0] * len(self.dims)
        for change in of["coordinateTransformations"]:
            scale = list(change.get("scale", scale))
            origin = list(change.get("translation", origin))
        return self._group[of["path"]], scale, origin

    def view(
        self,
        box_um: BoxUm,
        z_um: float | None = None,
        channel: int = 0,
        *,
        side_px: int = SIDE_PX,
    ) -> View:
        """One plane of a part of it.

        Parameters
        ----------
        box_um
            The part.
        z_um
            Height of the plane; the middle one if not given.
        channel
            Number of the channel.
        side_px
            Pixels along the longer side of the picture, about.
        """
        target = max(box_um[2] - box_um[0], box_um[3] - box_um[1]) / side_px
        y = self.dims.index("y")
        levels = [self._level(k) for k in range(len(self._about["datasets"]))]
        level = next((of for of in levels if of[1][y] >= 0.7 * target), levels[-1])
        array, scale, origin = level
        key: list[Any] = []
        for k, dim in enumerate(self.dims):
            n = int(array.shape[k])
            if dim == "c":
                key.append(min(channel, n - 1))
            elif dim == "z":
                at = n // 2 if z_um is None else round((z_um - origin[k]) / scale[k])
                key.append(min(max(at, 0), n - 1))
            else:
                low, high = (box_um[0], box_um[2]) if dim == "y" else (box_um[1], box_um[3])
                first = round((low - origin[k]) / scale[k])
                last = round((high - origin[k]) / scale[k])
                first = min(max(first, 0), n - 1)
                key.append(slice(first, min(max(last, first + 1), n)))
        picture = np.asarray(array[tuple(key)], np.float32)
        spans = [part for part in key if isinstance(part, slice)]
        x = self.dims.index("x")
        edges = [
            origin[k] + (at - 0.5) * scale[k] + 0.5 * levels[0][1][k]
            for k, at in (
                (y, spans[0].start),
                (x, spans[1].start),
                (y, spans[0].stop),
                (x, spans[1].stop),
            )
        ]
        return View(picture, (edges[0], edges[1], edges[2], edges[3]))


__all__ = ["BeforeAfter", "Outline", "View", "Volume", "before_and_after", "window_of"]
