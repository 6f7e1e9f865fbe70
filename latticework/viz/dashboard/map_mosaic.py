"""Pictures of tiles on the map: a mosaic of previews of what is in view, in the map's own frame.

A project is asked for it in another thread, for the part that is in view and as fine as the
screen; a byte a pixel is sent. Where there is no preview the state of the tile is seen beneath.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import LatticeworkError
from latticework.lattice.lattice import Lattice
from latticework.viz.dashboard.map_axes import step_um
from latticework.viz.dashboard.map_scene import Pane, Sight
from latticework.viz.dashboard.map_ticks import origin_um
from latticework.viz.words import plural

if TYPE_CHECKING:
    import xarray as xr

    from latticework.project.project import Project

GREYS = 255
"""Shades of grey; the byte above them is where there is no picture."""
MOST_PX = 1400
"""Pixels of a mosaic on its longer side."""
MOST_OUTLINES = 2500
"""Tiles in view beyond which their states are not drawn around them."""
OUTLINE_PX = 9
"""Pixels across a tile below which its state is not drawn around it."""
MAKE_S = 0.5
"""Seconds for making previews that are missing, each time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which mosaic is wanted."""

    stage: str
    """Of which stage."""
    version: int
    """Of which states of it."""
    plane: tuple[tuple[str, object], ...]
    """Labels of the plane by dim."""
    region: tuple[int, int, int, int]
    """Rows and columns: first row, row after the last, first column, column after the last."""
    most_px: int
    """Pixels on the longer side."""
    positions: str
    """``"nominal"`` or ``"solved"``."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """A mosaic, in the coordinates of the map."""

    wanted: Wanted
    """What was asked for."""
    image: np.ndarray = field(repr=False)
    """Shades of grey, 255 where there is none: uint8, (rows, columns)."""
    x: float = 0.0
    """Its left end."""
    y: float = 0.0
    """Its upper end."""
    width: float = 1.0
    """In the picture."""
    height: float = 1.0
    """In the picture."""
    cells: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int), repr=False)
    """Rows and columns of the tiles in view, if they are not too many."""
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)), repr=False)
    """Where those tiles lie in the picture: left, right, top, bottom."""
    missing: int = 0
    """Previews that could be made, and are not there yet."""
    note: str = ""
    """What to tell people."""


def blank(wanted: Wanted, note: str) -> Mosaic:
    """No picture, and why."""
    return Mosaic(wanted, np.full((1, 1), GREYS, np.uint8), note=note)


def can_show(pane: Pane) -> bool:
    """Whether previews can be seen in a plane: only if it is one of y down and x across."""
    return (pane.axes.down, pane.axes.across) == ("tile_y", "tile_x")


def wanted_mosaic(pane: Pane, sight: Sight, *, solved: bool) -> Wanted | None:
    """The mosaic for what is in view of a pane; None where nothing of it is."""
    spans = []
    for (low, high), n in zip(pane.seen(sight), pane.shape, strict=True):
        margin = 0.15 * (high - low) + 1
        spans.append((max(0, int(np.floor(low - margin))), min(n, int(np.ceil(high + margin)))))
    (top, bottom), (left, right) = spans
    if bottom <= top or right <= left:
        return None
    across = (right - left) * pane.width * sight.pixels_across
    down = (bottom - top) * pane.height * sight.pixels_down
    most = 2 ** int(np.ceil(np.log2(max(64.0, across, down))))
    labels = tuple(
        (dim, pane.lattice.labels[dim][pane.axes.place(dim)].item()) for dim in pane.axes.others
    )
    stage = pane.stages[0]
    return Wanted(
        stage.name,
        stage.version,
        labels,
        (top, bottom, left, right),
        min(MOST_PX, most),
        "solved" if solved else "nominal",
    )


def ask_mosaic(project: "Project", pane: Pane, wanted: Wanted) -> Mosaic:
    """A mosaic of a project's previews: to be called in a thread of questions."""
    from latticework.viz.mosaic_of_previews import preview_mosaic

    try:
        picture = preview_mosaic(
            project,
            wanted.stage,
            plane=dict(wanted.plane) or None,
            region=wanted.region,
            max_px=wanted.most_px,
            positions=wanted.positions,
            make_s=MAKE_S,
        )
        cells, boxes = _boxes(project, pane, wanted)
    except LatticeworkError as error:
        return blank(wanted, str(error))
    left, right, bottom, top = picture.attrs["extent_um"]
    (x0, x1), (y0, y1) = _in_picture(pane, np.array([left, right]), np.array([top, bottom]))
    missing = int(picture.attrs["missing"])
    shown, tiles = int(picture.attrs["shown"]), int(picture.attrs["tiles"])
    have = "has" if shown == 1 else "have"
    note = f"{shown:,} of {plural(tiles, 'tile')} in view {have} a preview"
    return Mosaic(
        wanted,
        greys(picture),
        float(x0),
        float(y0),
        float(x1 - x0),
        float(y1 - y0),
        cells,
        boxes,
        missing,
        note + (f", {missing:,} {'is' if missing == 1 else 'are'} being made" if missing else ""),
    )


def greys(picture: "xr.DataArray") -> np.ndarray:
    """Shades of grey between a picture's ``low`` and ``high``, uint8; 255 where it is NaN.

    Examples
    --------
    >>> import xarray as xr
    >>> attrs = {"low": 0.0, "high": 100.0, "projection": "max"}
    >>> greys(xr.DataArray([[0.0, 50.0, 1000.0, np.nan]], attrs=attrs)).tolist()
    [[0, 127, 254, 255]]
    """
    values = np.asarray(picture.values, np.float32)
    low, high = picture.attrs["low"], picture.attrs["high"]
    there = np.isfinite(values)
    if picture.attrs["projection"] == "labels":  # neighbours differ, the ground is black
        values = np.where(values > 0, 60 + values * 83 % 190, 0)
        low, high = 0.0, GREYS - 1.0
    scaled = (values - low) * ((GREYS - 1) / max(1e-12, high - low))
    shades = np.clip(np.where(there, scaled, 0), 0, GREYS - 1).astype(np.uint8)
    shades[~there] = GREYS
    return shades


def _in_picture(pane: Pane, x_um: np.ndarray, y_um: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the map for places in micrometres."""
    found = []
    for dim, um, first, size in (
        ("tile_x", x_um, pane.x, pane.width),
        ("tile_y", y_um, pane.y, pane.height),
    ):
        step = step_um(pane.lattice, dim) or 1.0
        found.append(first + (um - origin_um(pane.lattice, dim)) / step * size)
    return found[0], found[1]


def _boxes(project: "Project", pane: Pane, wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """Tiles in view, and where they lie."""
    from latticework.lattice.places import extents_um
    from latticework.viz.positions import positioned

    top, bottom, left, right = wanted.region
    if (bottom - top) * (right - left) > MOST_OUTLINES:
        return np.zeros((0, 2), int), np.zeros((0, 4))
    lattice: Lattice = project.pipeline[wanted.stage].lattice
    ids = pane.axes.plane(lattice.id_grid)[top:bottom, left:right]
    cells = np.argwhere(ids >= 0)
    rows = lattice.rows_of(ids[ids >= 0])
    placed = positioned(project, lattice, wanted.positions)
    yx = [placed.spatial_dims.index(axis) for axis in ("y", "x")]
    near = placed.position_um[rows][:, yx]
    sizes = extents_um(placed)
    size = np.broadcast_to(sizes[:, yx] if len(sizes) == 1 else sizes[rows][:, yx], near.shape)
    x0, y0 = _in_picture(pane, near[:, 1], near[:, 0])
    x1, y1 = _in_picture(pane, near[:, 1] + size[:, 1], near[:, 0] + size[:, 0])
    return cells + np.array([top, left]), np.stack([x0, x1, y0, y1], axis=1)
