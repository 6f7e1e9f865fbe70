"""A map of a placement: where tiles were found, links between them, how far they moved.

::

    ┌──────┬──────┬──────┐
    │  5 ━━┿━━ 6 ╌┼✕╌ 7  │   ━━ trusted, in the colour of its residual   ✕ not trusted
    │  ↗   │  ↗   │      │   ↗ from its nominal place, drawn larger than it is
    └──────┴──────┴──────┘
"""

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.stitch.placement import Placement
from latticework.stitch.placement_map import Colour, PlacementMap, Plane, finite
from latticework.viz.figure import saved
from latticework.viz.folding import Folding
from latticework.viz.html import escaped, framed
from latticework.viz.states import Theme

MOST_PLANES = 6
"""Planes that are drawn."""


def plot_placement(
    placement: Placement,
    *,
    colour: Colour = "residual",
    planes: int = MOST_PLANES,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> Figure:
    """Tiles where they were found, with the links between them; y downwards as in images.

    Trusted links are drawn in the colour of what they leave unfulfilled (or of their correlation),
    the others dotted with a cross. Links to the next plane are dots in the corner of the first
    tile. Arrows point from the nominal position, and are drawn larger than they are: the legend
    says how much.

    Parameters
    ----------
    placement
        What to draw.
    colour
        What the colour of a trusted link tells.
    planes
        Planes that are drawn at most: those with most to look at.
    theme
        ``"light"`` or ``"dark"``.
    path
        Where to write the picture, if anywhere.

    Returns
    -------
    Figure
        A matplotlib figure; notebooks show it, ``figure.savefig`` writes it.

    Raises
    ------
    LatticeError
        If there are no tiles, or these have no y and x.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> len(plot_placement(place(tiles, register(tiles))).axes)
    2
    """
    lattice = placement.lattice
    if not lattice.n_tiles or not {"y", "x"} <= set(lattice.tile_dims):
        raise LatticeError("a map of a placement needs tiles with y and x")
    chosen, left = _planes(placement, planes)
    figure = PlacementMap(placement, colour, theme).drawn(chosen, left)
    saved(figure, path)
    return figure


def placement_html(placement: Placement) -> str:
    """A placement in a notebook: what it came to, and its map.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> page = placement_html(place(tiles, register(tiles)))
    >>> "4 tiles" in page, "data:image/png" in page
    (True, True)
    """
    title = escaped(repr(placement).strip("<>"), 600)
    lattice = placement.lattice
    if not lattice.n_tiles or not {"y", "x"} <= set(lattice.tile_dims):
        return framed(f'<div class="lw-h">{title}</div>')
    file = BytesIO()
    figure = plot_placement(placement)
    figure.savefig(file, format="png", dpi=100, facecolor=figure.get_facecolor())
    content = b64encode(file.getvalue()).decode("ascii")
    wide = round(74 * figure.get_figwidth())
    return framed(
        f'<div class="lw-h">{title}</div>'
        f'<img src="data:image/png;base64,{content}" width="{wide}" style="max-width:100%" '
        f'alt="map of tiles and links">'
    )


def _planes(placement: Placement, most: int) -> tuple[list[Plane], int]:
    """The planes with most to look at, in order, and how many are left out."""
    lattice, links = placement.lattice, placement.links
    numbers, titles = plane_numbers(lattice)
    first = lattice.rows_of(links["first"].to_numpy(np.int64)) if len(links) else np.zeros(0, int)
    present = np.unique(numbers)
    doubt = np.bincount(
        np.searchsorted(present, numbers[first]),
        weights=~links["trusted"].to_numpy(bool) + 1e-3 * finite(links["residual_px"]),
        minlength=len(present),
    )
    keep = np.sort(np.argsort(-doubt, kind="stable")[: max(1, most)])
    found = [
        Plane(
            titles(int(present[k])),
            np.flatnonzero(numbers == present[k]),
            np.flatnonzero(numbers[first] == present[k]),
        )
        for k in keep
    ]
    return found, len(present) - len(keep)


def plane_numbers(lattice: Lattice) -> tuple[np.ndarray, Any]:
    """For each tile the number of its plane, and what gives the title of a number."""
    columns = [c for c, dim in enumerate(lattice.dims) if dim not in ("tile_y", "tile_x")]
    if not columns:
        return np.zeros(len(lattice), np.int64), lambda _: ""
    dims = tuple(lattice.dims[c] for c in columns)
    folding = Folding(dims, dims, None, None, lattice.labels)
    shape = tuple(lattice.shape[c] for c in columns)
    numbers = np.ravel_multi_index(tuple(lattice.index[:, c] for c in columns), shape)
    return numbers, lambda k: folding.plane_title(k, k + 1)


__all__ = ["placement_html", "plane_numbers", "plot_placement"]
