"""One tile as a small grey picture in the page itself: its middle plane, reduced and stretched."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latticework.lattice import Box, Tile
from latticework.viz.html import escaped
from latticework.viz.pictures import contrasted, png_address, png_bytes

MOST_PX = 4096
"""Pixels along y and x that are read at most: of larger tiles the middle is shown."""

Read = Callable[[Box], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class TilePicture:
    """A small picture with what it shows."""

    grey: np.ndarray
    """uint8, shape (rows, columns)."""
    width_px: int
    """Width on the page, in CSS pixels."""
    height_px: int
    """Height on the page: a pixel's own aspect is kept."""
    shown: str
    """What is seen, such as ``"z 4 of 0…7"``; empty where it is all of the tile."""

    @property
    def html(self) -> str:
        """The picture as an ``<img>`` that holds its own data."""
        address = png_address(png_bytes(self.grey))
        return (
            f'<img width="{self.width_px}" height="{self.height_px}" alt="{escaped(self.shown)}" '
            f'style="display:block;margin:0" src="{address}">'
        )


def tile_picture(tile: Tile, read: Read, *, side_px: int = 160) -> TilePicture:
    """A picture of a tile: its middle plane, of its first channel.

    Contrast is stretched between the percentiles 0.5 and 99.7. Only that plane is read, and of a
    plane of more than `MOST_PX` pixels along y or x only its middle.

    Parameters
    ----------
    tile
        The tile, with the dims and shape of the pixels that `read` gives.
    read
        Gives the pixels of a box of the tile.
    side_px
        Longer side of the picture at most.

    Examples
    --------
    >>> import numpy as np
    >>> from latticework import Lattice
    >>> volume = np.arange(6 * 8 * 10, dtype="u2").reshape(6, 8, 10)
    >>> lattice = Lattice.from_array(volume, block={"z": 6, "y": 8, "x": 10})
    >>> picture = tile_picture(lattice.tile(0), lambda box: lattice.source.read(0, box))
    >>> picture.grey.shape, picture.shown
    ((8, 10), 'z 3 of 0…5')
    """
    rows, columns = _picture_dims(tile)
    start, stop, shown = [], [], []
    for dim, n in zip(tile.dims, tile.shape, strict=True):
        if dim in (rows, columns):
            first = max(0, (n - MOST_PX) // 2)
            start.append(first)
            stop.append(min(n, first + MOST_PX))
            if n > MOST_PX:
                shown.append(f"{dim} {first}…{first + MOST_PX - 1} of 0…{n - 1}")
        else:
            at = 0 if dim == "c" else n // 2
            start.append(at)
            stop.append(at + 1)
            if n > 1:
                shown.append(f"{dim} {at} of 0…{n - 1}")
    pixels = np.asarray(read(Box(tuple(start), tuple(stop))))
    keep = [k for k, dim in enumerate(tile.dims) if dim in (rows, columns)]
    plane = pixels.reshape([pixels.shape[k] for k in keep] or [1])
    plane = plane.reshape(1, -1) if plane.ndim == 1 else plane
    grey = contrasted(_reduced(_real(plane), side_px))
    height, width = _size(tile, plane.shape, rows, columns, side_px)
    return TilePicture(grey, width, height, ", ".join(shown))


def _real(plane: np.ndarray) -> np.ndarray:
    return np.abs(plane) if np.iscomplexobj(plane) else plane


def _picture_dims(tile: Tile) -> tuple[str, str]:
    """Which pixel dims go down and across: y and x, or the last two."""
    left = [dim for dim in tile.dims if dim != "c"] or list(tile.dims)
    if {"y", "x"} <= set(left):
        return "y", "x"
    return (left[-2] if len(left) > 1 else "", left[-1] if left else "")


def _reduced(plane: np.ndarray, side_px: int) -> np.ndarray:
    """Means of blocks, so that no side is longer than `side_px`."""
    factor = max(1, -(-max(plane.shape) // side_px))
    found = plane.astype(np.float32)
    for axis in (0, 1):
        starts = np.arange(0, plane.shape[axis], factor)
        counts = np.diff(np.append(starts, plane.shape[axis])).astype(np.float32)
        found = np.add.reduceat(found, starts, axis=axis)
        found /= counts[:, None] if axis == 0 else counts[None, :]
    return found


def _size(
    tile: Tile, shape: tuple[int, ...], rows: str, columns: str, side_px: int
) -> tuple[int, int]:
    """Height and width on the page, in CSS pixels; small tiles are not blown up beyond fourfold."""
    tall = shape[0] * tile.pixel_size_um.get(rows, 1.0)
    wide = shape[1] * tile.pixel_size_um.get(columns, 1.0)
    scale = min(side_px, 4 * max(shape)) / max(tall, wide)
    return max(4, round(tall * scale)), max(4, round(wide * scale))
