"""A picture of many tiles at once, from their previews: quick, whatever the number of tiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError
from latticework.io.preview_layout import PreviewLayout
from latticework.lattice import Lattice
from latticework.lattice.places import extents_um
from latticework.viz.planes import chosen_plane, plane_numbers
from latticework.viz.positions import positioned

if TYPE_CHECKING:
    import xarray as xr

    from latticework.project.previews import StagePreviews
    from latticework.project.project import Project

AT_ONCE = 16 * 2**20
"""Bytes of previews that are read at once."""
ENLARGED = 1.3
"""By how much small pictures are enlarged at most, before the larger ones are read."""


def preview_mosaic(
    project: "Project",
    stage: str,
    *,
    plane: int | Mapping[str, Any] | None = None,
    region: tuple[int, int, int, int] | None = None,
    max_px: int = 1200,
    channel: int | str = 0,
    positions: Any = "nominal",
    make_s: float = 1.0,
) -> "xr.DataArray":
    """The previews of a plane's tiles at their positions, as one picture.

    Only previews in view are read, and of many tiles only their smallest form: 100,000 tiles take
    well under a second. Where tiles overlap one of them is seen.

    Parameters
    ----------
    project
        The project.
    stage
        Name of a stage that makes arrays, or ``"source"``.
    plane
        Which plane: a number from 0, counted over all labels, or labels by axis (``{"z": 3}``);
        the middle one that has tiles if not given.
    region
        Tiles in view by their indices along the lattice's y and x: (first row, row after the last,
        first column, column after the last); all if not given.
    max_px
        Pixels of the picture on its longer side at most. Previews are never enlarged.
    channel
        Channel by number or name.
    positions
        ``"nominal"``, ``"solved"`` (what a stitching in this project found), the name of a stage
        that makes such a table, a `Lattice` of the same tiles, or a `Placement`.
    make_s
        Seconds for making previews that are not there; what is left is blank, and counted in
        ``attrs["missing"]``: ask again.

    Returns
    -------
    xarray.DataArray
        Float32 (float64 for ids) of dims (y, x), NaN where there is no tile, with the positions of
        its pixels in micrometres as coordinates. ``attrs``: ``extent_um`` (left, right, bottom,
        top, as matplotlib's ``imshow`` takes it), ``pixel_um``, ``low`` and ``high`` (a contrast
        that all mosaics of the stage share), ``projection``, ``title`` of the plane, ``tiles`` in
        view, those ``shown`` and those ``missing``.

    Raises
    ------
    LatticeError
        If there is no such plane, region or channel.
    ProjectError
        If the stage makes no pictures.

    Examples
    --------
    >>> import tempfile
    >>> from latticework import Lattice, create
    >>> tiles = Lattice.from_array(np.arange(48.0).reshape(6, 8), block={"y": 3, "x": 4})
    >>> project = create(tempfile.mkdtemp() + "/tiny.lw", tiles)
    >>> picture = preview_mosaic(project, "source")
    >>> picture.shape, float(picture[5, 7]), picture.attrs["extent_um"]
    ((6, 8), 47.0, (0.0, 8.0, 6.0, 0.0))
    """
    from latticework.project.previews import previews_of

    previews = previews_of(project, stage)
    lattice, layout = previews.made_lattice, previews.layout
    _check(lattice, max_px)
    number = _channel(lattice, layout, channel)
    rows, title = _in_view(lattice, plane, region)
    lattice = positioned(project, lattice, positions)
    canvas = _Canvas.over(lattice, rows, layout, max_px)
    kind = "f8" if layout.projection == "labels" else "f4"
    picture = np.full(canvas.shape, np.nan, kind)
    shown, missing = _draw(picture, canvas, previews, lattice, rows, number, make_s)
    low, high = previews.shared_contrast()[number]
    return _labelled(
        picture,
        canvas,
        {
            "low": float(low),
            "high": float(high),
            "projection": layout.projection,
            "title": title,
            "tiles": len(rows),
            "shown": shown,
            "missing": missing,
            "stage": stage,
        },
    )


def _check(lattice: Lattice, max_px: int) -> None:
    if not {"y", "x"} <= set(lattice.spatial_dims):
        raise LatticeError(
            f"a mosaic needs tiles with places along y and x; these have {lattice.spatial_dims}"
        )
    if max_px < 1:
        raise LatticeError(f"max_px={max_px}: expected at least one pixel")


def _channel(lattice: Lattice, layout: PreviewLayout, channel: int | str) -> int:
    names = [str(name) for name in (lattice.channels or ())][: layout.channels]
    if isinstance(channel, str):
        if channel not in names:
            raise LatticeError(
                f"no channel {channel!r}: there are {', '.join(names) or 'no names'}"
            )
        return names.index(channel)
    if not -layout.channels <= channel < layout.channels:
        raise LatticeError(f"no channel {channel}: previews have {layout.channels}")
    return channel % layout.channels


def _in_view(
    lattice: Lattice,
    plane: int | Mapping[str, Any] | None,
    region: tuple[int, int, int, int] | None,
) -> tuple[np.ndarray, str]:
    """Rows of the tiles in view, and the title of their plane."""
    numbers, title = plane_numbers(lattice)
    number = chosen_plane(lattice, numbers, plane)
    inside = numbers == number
    if region is not None:
        if len(region) != 4:
            raise LatticeError(f"region={region}: expected (y from, y to, x from, x to)")
        for dim, low, high in (("tile_y", *region[:2]), ("tile_x", *region[2:])):
            if dim in lattice.dims:
                along = lattice.index[:, lattice.dims.index(dim)]
                inside &= (along >= low) & (along < high)
    return np.flatnonzero(inside), title(number)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """Square pixels of a picture, from an origin; and the pixels that each tile covers."""

    origin_um: tuple[float, float]
    pixel_um: float
    shape: tuple[int, int]
    first: np.ndarray
    """First pixel along y and x of each tile."""
    last: np.ndarray
    """The pixel after its last."""

    @classmethod
    def over(
        cls, lattice: Lattice, rows: np.ndarray, layout: PreviewLayout, max_px: int
    ) -> "_Canvas":
        yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
        near = lattice.position_um[rows][:, yx]
        sizes = extents_um(lattice)
        size = np.broadcast_to(sizes[:, yx] if len(sizes) == 1 else sizes[rows][:, yx], near.shape)
        finest = layout.factor * min(lattice.pixel_size_um[axis] for axis in ("y", "x"))
        if not len(rows):
            return cls((0.0, 0.0), finest, (1, 1), np.zeros((0, 2), int), np.zeros((0, 2), int))
        low, high = near.min(axis=0), (near + size).max(axis=0)
        pixel = max(finest, float((high - low).max()) / max_px)
        shape = np.maximum(1, np.ceil(np.round((high - low) / pixel, 6)).astype(int))
        first = np.round((near - low) / pixel).astype(int)
        last = np.round((near + size - low) / pixel).astype(int)
        first = np.minimum(first, shape - 1)
        last = np.clip(last, first + 1, shape)
        return cls(
            (float(low[0]), float(low[1])), pixel, (int(shape[0]), int(shape[1])), first, last
        )


def _draw(
    picture: np.ndarray,
    canvas: _Canvas,
    previews: "StagePreviews",
    lattice: Lattice,
    rows: np.ndarray,
    channel: int,
    make_s: float,
) -> tuple[int, int]:
    """Draw the tiles of some rows; how many there were, and how many were missing."""
    layout = previews.layout
    large = (canvas.last - canvas.first).max(initial=1)
    small = large <= ENLARGED * max(layout.small)
    each = layout.nbytes if not small else 4 * int(np.prod(layout.small_shape))
    step = max(1, AT_ONCE // each)
    own = _own_sizes(lattice, rows, layout, small=small)
    shown = missing = 0
    left = make_s
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        found = previews.read(lattice.ids[rows[some]], small=small, make_s=left)
        left = max(0.0, left - found.made_s)
        shown, missing = shown + int(found.there.sum()), missing + found.missing
        if found.there.any():
            which = np.flatnonzero(found.there)
            _lay(
                picture,
                found.pixels[which, channel],
                own[some][which],
                canvas.first[some][which],
                canvas.last[some][which],
                labels=layout.projection == "labels",
            )
    return shown, missing


def _own_sizes(
    lattice: Lattice, rows: np.ndarray, layout: PreviewLayout, *, small: bool
) -> np.ndarray:
    """Pixels along y and x of each tile's preview: fewer than the layout's where it is smaller."""
    sizes = np.broadcast_to(np.array(layout.small if small else layout.size), (len(rows), 2))
    if lattice.shapes is None:
        return sizes
    columns = [lattice.tile_dims.index(dim) for dim in ("y", "x")]
    px: np.ndarray = -(-lattice.shapes[rows][:, columns] // layout.factor)
    return -(-px // layout.small_factor) if small else px


def _lay(
    picture: np.ndarray,
    tiles: np.ndarray,
    own: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    *,
    labels: bool,
) -> None:
    """Lay pictures of tiles onto a picture, those of one size together."""
    kinds, which = np.unique(
        np.concatenate([own, last - first], axis=1), axis=0, return_inverse=True
    )
    for number, (rows, columns, height, width) in enumerate(kinds.tolist()):
        mine = np.flatnonzero(which.ravel() == number)
        fitted = _fitted(tiles[mine, :rows, :columns], height, width, labels=labels)
        if len(mine) * 20 > fitted[0].size:  # many small ones
            y = first[mine, 0, None] + np.arange(height)
            x = first[mine, 1, None] + np.arange(width)
            picture[y[:, :, None], x[:, None, :]] = fitted
        else:
            for tile, (y0, x0) in zip(fitted, first[mine].tolist(), strict=True):
                picture[y0 : y0 + height, x0 : x0 + width] = tile


def _fitted(tiles: np.ndarray, height: int, width: int, *, labels: bool) -> np.ndarray:
    """Pictures of (tile, y, x) in another size: means of what falls into a pixel, or nearest."""
    for axis, n in ((1, height), (2, width)):
        had = tiles.shape[axis]
        if had == n:
            continue
        if labels or n > had:
            nearest = np.minimum(((np.arange(n) + 0.5) * had / n).astype(int), had - 1)
            tiles = np.take(tiles, nearest, axis=axis)
            continue
        edges = np.round(np.linspace(0, had, n + 1)).astype(int)
        counts = np.diff(edges).astype("f4")
        shape = [1, 1, 1]
        shape[axis] = n
        values = tiles.astype("f4", copy=False)
        sums = np.add.reduceat(values, edges[:-1], axis=axis)
        if np.isfinite(sums).all():
            tiles = sums / counts.reshape(shape)
            continue
        there = np.isfinite(values)
        sums = np.add.reduceat(np.where(there, values, 0), edges[:-1], axis=axis)
        counted = np.add.reduceat(there.astype("f4"), edges[:-1], axis=axis)
        tiles = np.full(sums.shape, np.nan, "f4")
        np.divide(sums, counted, out=tiles, where=counted > 0)
    return tiles


def _labelled(picture: np.ndarray, canvas: _Canvas, attrs: dict[str, Any]) -> "xr.DataArray":
    import xarray as xr

    (top, left), pixel, (rows, columns) = canvas.origin_um, canvas.pixel_um, canvas.shape
    coords = {
        "y": top + (np.arange(rows) + 0.5) * pixel,
        "x": left + (np.arange(columns) + 0.5) * pixel,
    }
    extent = (left, left + columns * pixel, top + rows * pixel, top)
    attrs = {"extent_um": extent, "pixel_um": pixel, **attrs}
    return xr.DataArray(picture, coords, ("y", "x"), attrs["stage"], attrs)


__all__ = ["preview_mosaic"]
