"""Whether the tiles are still to be seen in the volume: a pattern that repeats from tile to tile.

A flat-field takes out light that multiplies. Light that adds (glass that glows, stray light) is
uneven as well, and after the correction the tiles may be seen as a grid, in empty glass most of
all. So the volume itself is looked at: the brightness of small parts of each tile beside the
tile's own, and what of it is the same in all tiles. The specimen differs from tile to tile and
cancels; what two halves of the tiles agree on is the grid::

    tile 1   tile 2   tile 3         all of them
    ▁▂▅▂▁    ▂▁▅▁▂    ▁▂▄▂▁    ──>   ▁▂▅▂▁
"""

from typing import NamedTuple

import numpy as np

from latticework.stitch.report_facts import Findings
from latticework.stitch.report_views import BeforeAfter, BoxUm, View

PARTS = 6
"""Parts of a tile along y and x."""
LEAST_TILES = 12
"""Tiles from which on a pattern can be told from the specimen."""
ALIKE = 0.7
"""Correlation of the patterns of two halves of the tiles, from which on there is one."""
SEEN = 0.03
"""Share of the picture's contrast from which on a pattern is seen."""


class Grid(NamedTuple):
    """How the tiles are seen in the volume."""

    share: float
    """By how much parts of tiles differ, as a share of the contrast of the picture."""
    dim: bool
    """Whether that is so in the darker half of the tiles."""
    n_tiles: int
    """In how many tiles that was looked at."""


def grid_left(both: BeforeAfter) -> Grid | None:
    """The grid of tiles that is left in the volume; None if none is to be seen.

    Parameters
    ----------
    both
        The volume, and where its tiles lie.
    """
    if both.after is None:
        return None
    return grid_in(both.after, [outline.box_um for outline in both.outlines[1]])


def grid_in(view: View, boxes: list[BoxUm]) -> Grid | None:
    """The grid of tiles that a picture shows.

    Parameters
    ----------
    view
        A picture of the volume.
    boxes
        Where its tiles lie.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> picture = rng.normal(100, 5, (240, 240)).astype("f4")
    >>> boxes = [(y, x, y + 60.0, x + 60.0) for y in range(0, 240, 60) for x in range(0, 240, 60)]
    >>> grid_in(View(picture, (0.0, 0.0, 240.0, 240.0)), boxes) is None
    True
    >>> lamp = 20 * np.hypot(*np.indices((60, 60)) - 30.0) / 30
    >>> found = grid_in(View(picture + np.tile(lamp, (4, 4)), (0.0, 0.0, 240.0, 240.0)), boxes)
    >>> found.share > 0.1, found.n_tiles
    (True, 8)
    """
    shown = view.picture[np.isfinite(view.picture)]
    parts = [(_parts(view, box), box) for box in boxes]
    tiles = np.array([of for of, _ in parts if of is not None])
    places = np.array([box[:2] for of, box in parts if of is not None])
    if len(tiles) < LEAST_TILES:
        return None
    low, high = np.percentile(shown, (1, 99.5))
    levels = np.median(tiles, axis=(1, 2))
    beside = (tiles - levels[:, None, None]) / max(float(high - low), 1e-9)
    order = np.argsort(levels, kind="stable")
    found = []
    for rows, dim in ((order[: len(order) // 2], True), (order[len(order) // 2 :], False)):
        share = _shared(beside[rows], places[rows])
        if share > SEEN:
            found.append(Grid(share, dim, len(rows)))
    return max(found, default=None)


def _parts(view: View, box: BoxUm) -> np.ndarray | None:
    """Median brightness of the parts of a tile, (y, x); None where the picture is too coarse."""
    shape = np.array(view.picture.shape)
    start, stop = np.array(view.box_um[:2]), np.array(view.box_um[2:])
    scale = shape / (stop - start)
    edges = [
        np.rint((np.linspace(box[k], box[k + 2], PARTS + 1) - start[k]) * scale[k]).astype(int)
        for k in (0, 1)
    ]
    if any(
        (np.diff(of) < 2).any() or of[0] < -1 or of[-1] > n + 1
        for of, n in zip(edges, shape, strict=True)
    ):
        return None
    found = np.empty((PARTS, PARTS))
    for i, j in np.ndindex(PARTS, PARTS):
        part = view.picture[
            max(edges[0][i], 0) : edges[0][i + 1], max(edges[1][j], 0) : edges[1][j + 1]
        ]
        found[i, j] = np.nan if not part.size else np.nanmedian(part)
    return found if np.isfinite(found).all() else None


def _shared(beside: np.ndarray, places: np.ndarray) -> float:
    """How much parts of tiles differ in what all tiles share; 0 if halves of them do not agree.

    Upper and lower, and left and right ones: a specimen that is bright in its middle is so on
    another side of the tiles in each.
    """
    for along in places.T:
        order = np.argsort(along, kind="stable")
        first, second = (
            np.median(beside[rows], axis=0).ravel() for rows in np.array_split(order, 2)
        )
        if min(np.std(first), np.std(second)) <= 0 or np.corrcoef(first, second)[0, 1] < ALIKE:
            return 0.0
    return float(np.ptp(np.median(beside, axis=0)))


def grid_in_words(found: Findings, grid: Grid | None) -> list[str]:
    """That the grid of tiles is still to be seen, and what may be done; plain text."""
    if grid is None:
        return []
    where = "the darker half of the tiles" if grid.dim else "the brighter half of the tiles"
    said = (
        f"The tiles can still be seen in the volume: in {where} ({grid.n_tiles:,}), parts differ "
        f"by {grid.share:.0%} of the picture's contrast, alike in all of them."
    )
    if not found.light_used:
        return [f"{said} Uneven light was not taken out: light='yes' (--light yes) does so."]
    said += (
        " Light that adds, as of glass that glows, is not taken out with a flat-field: take a "
        "picture of empty glass off the tiles first"
    )
    if "dark" in found.given:
        return [f"{said}."]
    return [f"{said}, or say what is counted without specimen (dark=, --dark)."]


__all__ = ["Grid", "grid_in", "grid_in_words", "grid_left"]
