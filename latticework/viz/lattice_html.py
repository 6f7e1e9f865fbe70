"""The map of a lattice for notebooks: one small picture per plane, drawn in SVG.

Each plane is two layers. The picture draws runs of equal cells as dashed lines, one dash per tile,
so that a full row costs a dozen bytes; above it lie invisible squares that say on hover which tile
is there. Where there are more cells than a page should carry, cells are summed into bins, for
either layer on its own, and planes into slabs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latticework.lattice import Lattice, State
from latticework.viz.folding import Folding, bin_factors, binned_sum, span
from latticework.viz.html import escaped, framed, state_fill
from latticework.viz.lattice_facts import lattice_facts, lattice_text, lattice_title
from latticework.viz.plane_svg import dashed_runs, plane_size, step_aspect
from latticework.viz.words import plural

__all__ = ["lattice_html", "lattice_text"]

_BLUE = "#4f87b8"
_MAX_BYTES = 190_000
_PICTURE_CELLS = 12_000
_HOVER_CELLS = 1_800
_PLANES = 42

_HOLE, _SOME, _MOST, _FULL, _PROBLEM = range(5)
_LOOKS = {
    _HOLE: 'stroke="currentColor" stroke-opacity=".1"',
    _SOME: f'stroke="{_BLUE}" stroke-opacity=".4"',
    _MOST: f'stroke="{_BLUE}" stroke-opacity=".7"',
    _FULL: f'stroke="{_BLUE}"',
    _PROBLEM: f'style="stroke:{state_fill(State.FAILED)}"',
}


@dataclass(frozen=True, slots=True)
class _Bins:
    """Tiles of a folded lattice counted in bins."""

    factors: tuple[int, int, int]
    present: np.ndarray
    problems: np.ndarray
    cells: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, bad: np.ndarray, factors: tuple[int, int, int]) -> "_Bins":
        return cls(
            factors,
            binned_sum((ids >= 0).astype(np.int64), factors),
            binned_sum(bad.astype(np.int64), factors),
            binned_sum(np.ones(ids.shape, dtype=np.int64), factors),
        )

    @property
    def classes(self) -> np.ndarray:
        """How each bin is drawn."""
        share = self.present / self.cells
        drawn = np.select(
            [self.problems > 0, share == 0, share < 0.5, share < 1],
            [_PROBLEM, _HOLE, _SOME, _MOST],
            _FULL,
        )
        return np.asarray(drawn)


def lattice_html(lattice: Lattice) -> str:
    """The map of a lattice with its facts, as HTML for a notebook.

    Self-contained, without scripts, below 200 kB for any number of tiles; names are escaped.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 64, "x": 64}, dtype="u2")
    >>> "Lattice of 6 tiles" in lattice_html(lattice)
    True
    """
    picture, hover = _PICTURE_CELLS, _HOVER_CELLS
    while True:
        page = framed(
            f'<div class="lw-h">{escaped(lattice_title(lattice))}</div>',
            '<div style="display:flex;flex-wrap:wrap;gap:.6em 2.2em;align-items:flex-start">',
            f"<div>{_map(lattice, picture, hover)}</div>",
            f"<div>{_facts(lattice)}</div></div>",
        )
        if len(page.encode()) <= _MAX_BYTES or picture < 100:
            return page
        picture, hover = picture // 2, hover // 2


def _facts(lattice: Lattice) -> str:
    rows = "".join(
        f"<tr><th>{escaped(name)}</th><td>{escaped(text, 500)}</td></tr>"
        for name, text in lattice_facts(lattice)
    )
    return f'<table class="lw-t">{rows}</table>'


def _map(lattice: Lattice, picture_cells: int, hover_cells: int) -> str:
    """All planes, their captions and the legend."""
    folding = Folding.of(lattice.dims, lattice.labels)
    ids = folding.fold(lattice.id_grid)
    if ids.size == 0:
        return '<div class="lw-m">no tiles yet</div>'
    bad = np.isin(ids, np.fromiter(lattice.problems, dtype=np.int64)) & (ids >= 0)
    fine = _Bins.of(ids, bad, bin_factors(ids.shape, picture_cells, _PLANES))
    slab = fine.factors[0]
    n_planes = len(fine.present)
    coarse_yx = bin_factors((n_planes, *ids.shape[1:]), hover_cells, n_planes)[1:]
    coarse = _Bins.of(ids, bad, (slab, *coarse_yx))
    classes = fine.classes
    width, height = plane_size(ids.shape, step_aspect(lattice, folding), _room(n_planes))
    planes = []
    for plane in range(n_planes):
        title = folding.plane_title(plane * slab, min((plane + 1) * slab, len(ids)))
        planes.append(
            f'<div style="display:inline-block;margin:0 10px 8px 0;vertical-align:top">'
            f'<svg width="{width}" height="{height}" preserveAspectRatio="none" '
            f'viewBox="0 0 {ids.shape[2]} {ids.shape[1]}" role="img" style="display:block">'
            f"{dashed_runs(classes[plane], _LOOKS, fine.factors, width / fine.present.shape[2])}"
            f'<g class="lw-g" fill="#000" fill-opacity="0">'
            f"{''.join(_hover(lattice, folding, ids, coarse, plane))}</g></svg>"
            f'<div class="lw-m">{escaped(title)}</div></div>'
        )
    return (
        f'<div style="max-width:640px;line-height:1.2">{"".join(planes)}</div>'
        f'<div style="font-size:12px">{_legend(folding, fine, ids.shape)}</div>'
    )


def _room(n_planes: int) -> int:
    """CSS pixels for the longer side of each plane."""
    return 340 if n_planes == 1 else 190 if n_planes <= 6 else 110 if n_planes <= 24 else 76


def _hover(
    lattice: Lattice, folding: Folding, ids: np.ndarray, bins: _Bins, plane: int
) -> Iterator[str]:
    """Invisible squares that say what is beneath them."""
    slab, down, across = bins.factors
    n_planes, n_rows, n_columns = ids.shape
    for row in range(bins.present.shape[1]):
        for column in range(bins.present.shape[2]):
            top, left = row * down, column * across
            bottom, right = min(top + down, n_rows), min(left + across, n_columns)
            where = folding.where(
                (plane * slab, min((plane + 1) * slab, n_planes)),
                (top, bottom),
                (left, right),
            )
            if bins.cells[plane, row, column] == 1:
                text = _one(lattice, int(ids[plane * slab, top, left]))
            else:
                text = f"{bins.present[plane, row, column]:,} of "
                text += plural(int(bins.cells[plane, row, column]), "tile")
                if bins.problems[plane, row, column]:
                    text += f", {bins.problems[plane, row, column]:,} cannot be read"
            yield (
                f'<path d="M{left} {top}h{right - left}v{bottom - top}h{left - right}z">'
                f"<title>{escaped(where)}: {escaped(text, 160)}</title></path>"
            )


def _one(lattice: Lattice, tile_id: int) -> str:
    if tile_id < 0:
        return "hole"
    tile = lattice.tile(tile_id)
    why = f", cannot be read: {tile.problem}" if tile.problem is not None else ""
    return f"{tile.name[:80]} (id {tile_id}){why}"


def _legend(folding: Folding, bins: _Bins, shape: tuple[int, ...]) -> str:
    def key(fill: str, opacity: float, text: str) -> str:
        return (
            f'<span style="display:inline-block;width:.75em;height:.75em;margin:0 .35em 0 0;'
            f'background:{fill};opacity:{opacity}"></span>{escaped(text)}&ensp; '
        )

    classes = bins.classes
    keys = key(_BLUE, 1, "tile")
    if ((classes == _SOME) | (classes == _MOST)).any():
        keys += key(_BLUE, 0.5, "some holes")
    if (classes == _HOLE).any():
        keys += key("currentColor", 0.2, "hole")
    if (classes == _PROBLEM).any():
        keys += key(state_fill(State.FAILED), 1, "cannot be read")
    axes = []
    if folding.row is not None and shape[1] > 1:
        axes.append(f"↓ {span(folding.row, folding.labels[folding.row], 0, shape[1])}")
    if folding.column is not None and shape[2] > 1:
        axes.append(f"→ {span(folding.column, folding.labels[folding.column], 0, shape[2])}")
    slab, down, across = bins.factors
    if max(down, across) > 1:
        axes.append(f"one square is {down} × {across} tiles")
    if slab > 1:
        axes.append(f"one picture is {slab} planes")
    return f'{keys}<span class="lw-m">{"&ensp; ".join(escaped(text) for text in axes)}</span>'
