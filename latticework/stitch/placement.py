"""Where all tiles lie, from links between pairs, with a report of each tile and each link."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.stitch.solving import solve
from latticework.stitch.tiles import places_of

if TYPE_CHECKING:
    import pandas as pd

LEAST_DOUBT_PX = 1.5
"""Contradiction beyond which a link may count as an outlier."""
DOUBTFUL, LEAST_DOUBTFUL = 0.2, 4
"""Share of trusted links along an axis, of so many at least, below which that is said."""
OUTLIER = 6.0
"""Contradiction, in robust standard deviations of all of them, beyond which it does."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Positions of all tiles."""

    lattice: Lattice
    """The lattice with these positions."""
    tiles: "pd.DataFrame"
    """One row for each tile: ``tile`` (id), ``name``, ``links`` (trusted ones it has), ``group``
    (tiles that links join share a number), ``placed_by`` ("links" or "stage model"), and by dim
    ``moved_x_px``, from its nominal position."""
    links: "pd.DataFrame"
    """As they were given, with ``residual_px``, and those that contradict the others not
    trusted."""

    def __repr__(self) -> str:
        n, alone = len(self.tiles), int((self.tiles.placed_by != "links").sum())
        trusted = self.links[self.links.trusted]
        rms = float(np.sqrt(np.square(trusted.residual_px).mean())) if len(trusted) else np.nan
        groups = self.tiles.group.nunique()
        several = "groups" if groups != 1 else "group"
        doubtful = [
            axis
            for axis, of in self.links[self.links.correlation.notna()].groupby("axis")
            if len(of) >= LEAST_DOUBTFUL and of.trusted.mean() < DOUBTFUL
        ]
        doubt = (
            f"; hardly a link along {' and '.join(map(str, doubtful))} is trusted: are order and "
            "corner of the grid right?"
            if doubtful
            else ""
        )
        return (
            f"<Placement of {n:,} tiles by {len(trusted):,} of {len(self.links):,} links, "
            f"residual {rms:.2f} px; {alone:,} by the stage model alone, {groups:,} {several}"
            f"{doubt}>"
        )


def place(lattice: Lattice, links: "pd.DataFrame") -> Placement:
    """Where all tiles lie.

    Parameters
    ----------
    lattice
        The tiles.
    links
        As `latticework.stitch.registration.register` gives them. Rows may be edited: what is
        ``trusted`` counts.

    Returns
    -------
    Placement
        The first tile of the largest group keeps its nominal position.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> found = place(tiles, register(tiles))
    >>> set(found.tiles.placed_by), found.tiles.group.nunique()
    ({'links'}, 1)
    """
    dims, _, _, nominal, _ = places_of(lattice)
    links = links.copy()
    first, second = (lattice.rows_of(links[name]) for name in ("first", "second"))
    offsets, models = (
        links[[f"{what}_{dim}_px" for dim in dims]].to_numpy("f8") for what in ("offset", "model")
    )
    model = _joined(lattice, nominal, first, second, models)
    correlation = np.clip(links.correlation.to_numpy("f8"), 0.03, 1.0)
    residuals = np.full(len(links), np.nan)
    trusted = links.trusted.to_numpy(bool).copy()
    known = np.isfinite(offsets).all(axis=1) & np.isfinite(correlation)
    unknown = np.flatnonzero(trusted & ~known)
    if len(unknown):
        row = links.iloc[unknown[0]]
        raise LatticeError(
            f"the link of tiles {row['first']} and {row['second']} is trusted and has no offset or "
            "no correlation: give it both, or do not trust it"
        )
    for _ in range(3):
        use = np.flatnonzero(trusted)
        weights = np.square(correlation[use]) / (1.05 - np.square(correlation[use]))
        found = solve(len(lattice), first[use], second[use], offsets[use], weights, model)
        apart = found.positions_px[second] - found.positions_px[first] - offsets
        residuals = np.linalg.norm(apart, axis=1)
        doubtful = trusted & (residuals > _limit(residuals[use]))
        if not doubtful.any():
            break
        trusted &= ~doubtful
        links.loc[doubtful, "why"] = "contradicts its loops"
    links["trusted"], links["residual_px"] = trusted, residuals
    return _reported(lattice, links, found.positions_px, found.group, nominal, dims)


def _limit(residuals: np.ndarray) -> float:
    if not len(residuals):
        return np.inf
    return max(LEAST_DOUBT_PX, OUTLIER * 1.4826 * float(np.median(residuals)))


def _joined(
    lattice: Lattice, nominal: np.ndarray, first: np.ndarray, second: np.ndarray, models: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Links of the model, and nominal ones along the acquisition where those leave gaps."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n = len(lattice)
    graph = sparse.coo_matrix((np.ones(len(first)), (first, second)), (n, n))
    n_parts, part = connected_components(graph, directed=False)
    if n_parts <= 1:
        return first, second, models
    heads = np.unique(part, return_index=True)[1]
    a, b = heads[:-1], heads[1:]
    return (
        np.concatenate([first, a]),
        np.concatenate([second, b]),
        np.concatenate([models, nominal[b] - nominal[a]]),
    )


def _reported(
    lattice: Lattice,
    links: "pd.DataFrame",
    positions: np.ndarray,
    group: np.ndarray,
    nominal: np.ndarray,
    dims: Sequence[str],
) -> Placement:
    import pandas as pd

    largest = np.bincount(group).argmax() if len(group) else 0
    anchor = int(np.flatnonzero(group == largest)[0]) if len(group) else 0
    positions = positions - positions[anchor] + nominal[anchor]
    chosen = links[links.trusted]
    counts = np.bincount(
        lattice.rows_of(np.concatenate([chosen["first"], chosen["second"]])), minlength=len(lattice)
    )
    tiles = pd.DataFrame(
        {
            "tile": lattice.ids,
            "name": lattice.names,
            "links": counts,
            "group": group,
            "placed_by": np.where(counts > 0, "links", "stage model"),
        }
    )
    position_um = lattice.position_um.copy()
    for axis, dim in enumerate(dims):
        tiles[f"moved_{dim}_px"] = positions[:, axis] - nominal[:, axis]
        column = lattice.spatial_dims.index(dim)
        position_um[:, column] = positions[:, axis] * lattice.pixel_size_um[dim]
    return Placement(lattice.replace(position_um=position_um), tiles, links)


__all__ = ["Placement", "place"]
