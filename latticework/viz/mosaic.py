"""One small picture of all tiles at the places where the stage says they are."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from latticework.errors import LatticeError, ProjectError
from latticework.lattice import Box, Lattice, Tile
from latticework.viz.pictures import contrasted

Projection = Literal["max", "mean", "middle"]
Read = Callable[[Tile], Any]


class _OfTiles(Protocol):
    """A project, as far as a mosaic of one of its stages needs it."""

    @property
    def lattice(self) -> Lattice: ...


class StageTiles(Protocol):
    """What ``project["clean"]`` gives, as far as a mosaic needs it."""

    @property
    def project(self) -> _OfTiles:
        """Whose lattice says where the tiles are."""
        ...

    def tile(self, id: int, /) -> Any:
        """What the stage made of a tile."""
        ...


def mosaic_picture(
    lattice: Lattice | StageTiles,
    read: Read | None = None,
    *,
    max_px: int = 1600,
    channel: int | str | None = None,
    projection: Projection = "max",
    scale: bool = True,
) -> np.ndarray:
    """All tiles at their positions, seen along z, reduced to at most `max_px` pixels a side.

    Tiles are averaged down onto the pixels of the picture. Where two tiles of a plane overlap, the
    later one lies on top: seams show as they are, which is what a raw mosaic is looked at for.
    One tile is in memory at a time.

    Parameters
    ----------
    lattice
        Where the tiles are; its positions in micrometres are used. Or a stage of a project,
        ``mosaic_picture(project["clean"])``: its tiles as far as they are made.
    read
        Gives the pixels of a `Tile` in the order of its dims (an array, or anything that
        `np.asarray` takes; a DataArray's own dims are used), or None to leave it out; the
        lattice's own source, or what the stage made, if not given. Pixels that are fewer or more
        than the tile's own are taken to cover all of it. Tiles with a problem are left out.
    max_px
        Longer side of the picture at most.
    channel
        Channel by number or name, where tiles have several; the first if not given.
    projection
        Along z, over the pixels of the tiles and over planes: ``"max"``, ``"mean"``, or
        ``"middle"`` (the middle plane only).
    scale
        Stretch the contrast to uint8; if not, the values as float32, NaN where no tile is.

    Returns
    -------
    ndarray
        Picture of dims (y, x).

    Raises
    ------
    LatticeError
        If tiles have no y and x, there is no source, no such channel, or the stage has made no
        arrays.

    Examples
    --------
    >>> import numpy as np
    >>> lattice = Lattice.from_array(np.arange(48.0).reshape(6, 8), block={"y": 3, "x": 4})
    >>> picture = mosaic_picture(lattice, scale=False)
    >>> picture.shape, float(picture[5, 7])
    ((6, 8), 47.0)
    """
    if not isinstance(lattice, Lattice):
        read = _reader_of(lattice) if read is None else read
        lattice = getattr(lattice, "lattice", lattice.project.lattice)  # a stage may have its own
    _check(lattice, read)
    canvas = _Canvas.over(lattice, max_px)
    number = _channel_number(lattice, channel)
    groups = _planes(lattice)
    if projection == "middle" and groups:
        groups = [groups[len(groups) // 2]]
    total: np.ndarray | None = None
    seen = np.zeros(canvas.shape, dtype=np.int64)
    for rows in groups:
        plane = np.full(canvas.shape, np.nan, dtype=np.float32)
        for row in rows.tolist():
            tile = lattice.tile(int(lattice.ids[row]))
            found = None if tile.problem is not None else _pixels(lattice, tile, read, projection)
            if found is not None:
                canvas.lay(plane, _seen_along_z(tile, found, number, projection), tile)
        if total is None:
            total = plane
        elif projection == "mean":
            total = np.where(np.isnan(total), plane, total + np.nan_to_num(plane))
        else:
            total = np.fmax(total, plane)
        seen += np.isfinite(plane)
    picture = np.full(canvas.shape, np.nan, dtype=np.float32) if total is None else total
    if projection == "mean":
        picture = picture / np.maximum(seen, 1).astype(np.float32)
    return contrasted(picture) if scale else picture


@dataclass(frozen=True, slots=True)
class _Canvas:
    """The picture's pixels: squares of `pixel_um` from `origin_um`, in y and x."""

    origin_um: tuple[float, float]
    pixel_um: float
    shape: tuple[int, int]

    @classmethod
    def over(cls, lattice: Lattice, max_px: int) -> "_Canvas":
        if not lattice.n_tiles:
            return cls((0.0, 0.0), 1.0, (1, 1))
        columns = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
        near = lattice.position_um[:, columns].min(axis=0)
        sizes = [lattice.tile_shape[axis] * lattice.pixel_size_um[axis] for axis in ("y", "x")]
        if lattice.shapes is None:
            far = (lattice.position_um[:, columns] + np.array(sizes)).max(axis=0)
        else:
            px = lattice.shapes[:, [lattice.tile_dims.index(axis) for axis in ("y", "x")]]
            um = px * np.array([lattice.pixel_size_um[axis] for axis in ("y", "x")])
            far = (lattice.position_um[:, columns] + um).max(axis=0)
        finest = min(lattice.pixel_size_um["y"], lattice.pixel_size_um["x"])
        pixel_um = max(finest, float((far - near).max()) / max(1, max_px))
        height, width = (max(1, math.ceil(round(s / pixel_um, 6))) for s in (far - near).tolist())
        origin = (float(near[0]), float(near[1]))
        return cls(origin, pixel_um, (min(height, max_px), min(width, max_px)))

    def lay(self, plane: np.ndarray, picture: np.ndarray, tile: Tile) -> None:
        """Lay a tile's `picture` (y, x) onto `plane`, averaged down to the canvas' pixels."""
        slices = []
        for axis, name in enumerate(("y", "x")):
            start = (tile.position_um[name] - self.origin_um[axis]) / self.pixel_um
            px = tile.shape[tile.dims.index(name)] / picture.shape[axis]
            step = tile.pixel_size_um[name] * px / self.pixel_um
            picture, first = _averaged(picture, axis, start, step)
            last = min(first + picture.shape[axis], self.shape[axis])
            slices.append(slice(first, last))
        keep = tuple(slice(0, max(0, part.stop - part.start)) for part in slices)
        plane[tuple(slices)] = picture[keep]


def _averaged(picture: np.ndarray, axis: int, start: float, step: float) -> tuple[np.ndarray, int]:
    """`picture` averaged along `axis` onto whole canvas pixels, and the first of these.

    Pixel k of the tile falls into the canvas pixel that holds its centre; where the canvas is the
    finer of the two, a pixel is repeated.
    """
    n = picture.shape[axis]
    if step > 1 + 1e-9:
        wanted = np.arange(math.floor(start + 0.5), math.ceil(start + n * step - 0.5))
        source = np.clip(((wanted + 0.5 - start) / step).astype(np.int64), 0, n - 1)
        return np.take(picture, source, axis=axis), max(0, math.floor(start + 0.5))
    where = np.floor(start + (np.arange(n) + 0.5) * step + 1e-6).astype(np.int64)
    where = np.maximum(where, 0)
    starts = np.flatnonzero(np.diff(where, prepend=where[0] - 1))
    lengths = np.diff(np.append(starts, n)).astype(np.float32)
    sums = np.add.reduceat(picture.astype(np.float32, copy=False), starts, axis=axis)
    return sums / (lengths[:, None] if axis == 0 else lengths[None, :]), int(where[0])


def _check(lattice: Lattice, read: Read | None) -> None:
    if not {"y", "x"} <= set(lattice.tile_dims):
        raise LatticeError(f"a mosaic needs tiles with y and x; these have {lattice.tile_dims}")
    if read is None and lattice.source is None:
        raise LatticeError("the lattice has no pixels of its own: give read=, pixels of a Tile")


def _planes(lattice: Lattice) -> list[np.ndarray]:
    """Rows of the tiles of each plane (all lattice dims but y and x), in order of the labels."""
    columns = [c for c, dim in enumerate(lattice.dims) if dim not in ("tile_y", "tile_x")]
    if not lattice.n_tiles:
        return []
    if not columns:
        return [np.arange(lattice.n_tiles)]
    shape = tuple(lattice.shape[c] for c in columns)
    numbers = np.ravel_multi_index(tuple(lattice.index[:, c] for c in columns), shape)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _channel_number(lattice: Lattice, channel: int | str | None) -> int:
    n = lattice.tile_shape.get("c", 1)
    if isinstance(channel, str):
        names = lattice.channels or ()
        if channel not in names:
            raise LatticeError(f"no channel {channel!r}: there are {', '.join(names) or 'none'}")
        return names.index(channel)
    number = 0 if channel is None else int(channel)
    if not -n <= number < n:
        raise LatticeError(f"no channel {number}: tiles have {n}")
    return number % n


def _reader_of(stage: StageTiles) -> Read:
    """Reads what a stage has made, and None of tiles of which it has made nothing yet."""
    kind = getattr(stage, "kind", "array")
    if kind != "array":
        raise LatticeError(
            f"a mosaic needs a stage that makes arrays; {stage} makes {kind or 'nothing yet'}"
        )

    def read(tile: Tile) -> Any:
        try:
            return stage.tile(tile.id)
        except ProjectError:
            return None

    return read


def _pixels(
    lattice: Lattice, tile: Tile, read: Read | None, projection: Projection
) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Pixels of a tile and their dims; of its own source the middle plane where that is enough."""
    if read is not None:
        pixels = read(tile)
        if pixels is None:
            return None
        array = np.asarray(pixels)
        return array, getattr(pixels, "dims", tile.dims[-array.ndim :])
    assert lattice.source is not None  # by _check
    box = tile.box
    if projection == "middle" and "z" in tile.dims:
        z = tile.dims.index("z")
        middle = tile.shape[z] // 2
        start, stop = list(box.start), list(box.stop)
        start[z], stop[z] = middle, middle + 1
        box = Box(tuple(start), tuple(stop))
    return lattice.source.read(tile.id, box), tile.dims


def _seen_along_z(
    tile: Tile,
    found: tuple[np.ndarray, tuple[str, ...]],
    channel: int,
    projection: Projection,
) -> np.ndarray:
    """A tile's pixels as a picture of (y, x)."""
    pixels, dims = found[0], list(found[1])
    if "c" in dims:
        axis = dims.index("c")
        pixels = np.take(pixels, min(channel, pixels.shape[axis] - 1), axis=axis)
        dims.remove("c")
    if "z" in dims:
        axis = dims.index("z")
        if projection == "middle":
            pixels = np.take(pixels, pixels.shape[axis] // 2, axis=axis)
        else:
            pixels = pixels.max(axis=axis) if projection == "max" else pixels.mean(axis=axis)
        dims.remove("z")
    if dims != ["y", "x"]:
        raise LatticeError(
            f"tile {tile.name}: pixels of shape {pixels.shape} are not a picture of y and x"
        )
    return pixels
