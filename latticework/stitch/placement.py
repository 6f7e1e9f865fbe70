"""Where all tiles lie, from links between pairs, with a report of each tile and each link."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError
from latticework.lattice.lattice import Lattice
from latticework.lattice.loops import in_no_loop
from latticework.stitch.bent_tiles import Bent, bend
from latticework.stitch.corrections import anchors_of, whole_links
from latticework.stitch.doubts import BY_HAND, CONTRADICTS, Doubts, by_hand, contradicting
from latticework.stitch.expected_places import expected_places
from latticework.stitch.solving import Solution, join, solve
from latticework.stitch.tiles import NO_OVERLAP, Places, places_of
from latticework.stitch.warps import Warp

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DOUBTFUL, LEAST_DOUBTFUL = 0.2, 4
"""Share of trusted links along an axis, of so many at least, below which that is said."""
ROUNDS = 100
"""Times that doubtful links are left out, at most."""
MODELS = ("translation", "rigid", "affine", "warp")


@dataclass(frozen=True, slots=True)
class Placement:
    """Positions of all tiles, and how each is bent beyond that."""

    lattice: Lattice
    """The lattice with these positions."""
    tiles: "pd.DataFrame"
    """One row for each tile: ``tile`` (id), ``name``, ``links`` (trusted ones it has), ``group``
    (tiles that links join share a number), ``placed_by`` ("links", "anchor" or "stage model"; of
    tiles that `latticework.stitch.stitch` could not read, "neighbours"), and by dim
    ``moved_x_px``, from its nominal position. Of bent tiles also ``points`` (matched ones that it
    has), ``points_residual_px`` (median of how far these are apart now) and ``bent_px`` (by how
    much its pixels are displaced, at most)."""
    links: "pd.DataFrame"
    """As they were given, with ``residual_px``, and those that contradict the others not
    trusted."""
    warps: tuple[Warp, ...] | None = None
    """How each tile is bent, in order of the lattice's rows; None where they are only moved."""
    points: "pd.DataFrame | None" = None
    """The matched points that bent tiles go by, with ``left_px``: how far they are apart now."""

    def positions_for(self, other: Lattice) -> np.ndarray:
        """Positions of the tiles of another lattice: each moves as the one with its labels did.

        Other channels, rounds or projections of the same tiles. Labels of dims that both have
        decide; a dim that only one of them has, or of which there is only one label here, does not
        count.

        Parameters
        ----------
        other
            The lattice.

        Returns
        -------
        ndarray
            Micrometres, (tiles, spatial dims of `other`): what it has, and what the tiles moved
            from their nominal positions here.

        Raises
        ------
        LatticeError
            If a tile of it has no counterpart, or several.

        Examples
        --------
        >>> import latticework as lw
        >>> from latticework.stitch import register
        >>> tiles, truth = lw.simulate({"y": 2, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
        >>> found = place(tiles, register(tiles))
        >>> bool((found.positions_for(tiles) == found.lattice.position_um).all())
        True
        """
        rows = _counterparts(self.lattice, other)
        position_um = other.position_um.copy()
        for column, axis in enumerate(other.spatial_dims):
            if f"moved_{axis}_px" in self.tiles:
                moved = self.tiles[f"moved_{axis}_px"].to_numpy("f8")
                position_um[:, column] += moved[rows] * self.lattice.pixel_size_um[axis]
        return position_um

    def applied_to(self, other: Lattice) -> Lattice:
        """Another lattice with these positions; see `positions_for`."""
        return other.replace(position_um=self.positions_for(other))

    def plot(self, **options: Any) -> "Figure":
        """A map of tiles and links; see `latticework.viz.plot_links`."""
        from latticework.viz.links_map import plot_links

        return plot_links(self, **options)

    def _repr_html_(self) -> str:
        from latticework.stitch.placement_plot import placement_html

        return placement_html(self)

    def _ends(self, links: "pd.DataFrame") -> tuple[int, np.ndarray, np.ndarray]:
        """Number of tiles, and rows of the two ends of some links."""
        first, second = (self.lattice.rows_of(links[name]) for name in ("first", "second"))
        return len(self.lattice), first, second

    def __repr__(self) -> str:
        n, alone = len(self.tiles), int((self.tiles.placed_by == "stage model").sum())
        trusted = self.links[self.links.trusted]
        looped = trusted[~in_no_loop(*self._ends(trusted))]  # others contradict nothing
        residual = "no loops that could contradict each other"
        if len(looped):
            residual = f"residual {np.sqrt(np.square(looped.residual_px).mean()):.2f} px"
        sizes = self.tiles.loc[self.tiles.placed_by != "stage model", "group"].value_counts()
        groups = int((sizes > 1).sum())
        apart = f", links join the others to {groups:,} groups" if groups > 1 else ""
        bent = ""
        if self.warps is not None and self.points is not None:
            bent = (
                f"; bent by up to {self.tiles.bent_px.max():.1f} px by {len(self.points):,} points"
            )
            if len(self.points):
                bent += f", {self.points.left_px.median():.2f} px apart now"
        doubtful = [
            axis
            for axis, of in self.links[self.links.correlation.notna()].groupby("axis")
            if len(of) >= LEAST_DOUBTFUL and of.trusted.mean() < DOUBTFUL
        ]
        doubt = ""
        if len(self.links) and (self.links.why == NO_OVERLAP).all():
            doubt = "; no tiles overlap: all are where they nominally should be"
        elif doubtful:
            doubt = (
                f"; hardly a link along {' and '.join(map(str, doubtful))} is trusted: are order "
                "and corner of the grid right (start=, order=, snake=)?"
            )
        return (
            f"<Placement of {n:,} tiles by {len(trusted):,} of {len(self.links):,} links, "
            f"{residual}; {alone:,} by the stage model alone{apart}{bent}{doubt}>"
        )


def place(
    lattice: Lattice,
    links: "pd.DataFrame",
    *,
    model: str = "translation",
    points: "pd.DataFrame | None" = None,
    anchors: Mapping[int | str, Any] | None = None,
    control: int | Mapping[str, int] | None = None,
) -> Placement:
    """Where all tiles lie, and how they are bent.

    Parameters
    ----------
    lattice
        The tiles.
    links
        As `latticework.stitch.registration.register` gives them. Rows may be edited: what is
        ``trusted`` counts. A link that is trusted although ``why`` has a reason against it, or that
        has True in a column ``fixed``, was trusted by hand: it is never doubted.
    model
        ``"translation"``; or ``"rigid"``, ``"affine"`` (each tile is turned; turned, scaled and
        sheared), or ``"warp"`` (each tile is smoothly bent).
    points
        For these: matched points, as `latticework.stitch.point_links.register_points` gives them.
        Those of trusted links count.
    anchors
        Positions that are known, in micrometres along the lattice's spatial dims (a sequence, or a
        mapping by dim), by the tile's id or name. All others are placed in their frame.
    control
        Control points of a warp along each dim, at least 2, one number or by dim; 5 along y and x
        and 4 along z if not given.

    Returns
    -------
    Placement
        Without anchors, the first tile of the largest group keeps its nominal position. Links that
        are reported as trusted are those that the positions were solved with, no other ones.

    Raises
    ------
    LatticeError
        If a trusted link has no offset, an anchor is no tile, or the model needs points.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> found = place(tiles, register(tiles))
    >>> set(found.tiles.placed_by), found.tiles.group.nunique()
    ({'links'}, 1)
    >>> held = place(tiles, register(tiles), anchors={4: (100.0, 200.0)})
    >>> held.lattice.position_um[4].tolist()
    [100.0, 200.0]
    """
    if model not in MODELS:
        raise LatticeError(f"model={model!r} is none of {', '.join(map(repr, MODELS))}")
    if model != "translation" and points is None:
        raise LatticeError(
            f"model={model!r} needs matched points: links, points = register_points(lattice, "
            "with_points=True)"
        )
    places = places_of(lattice)
    known = {int(id): at for id, at in anchors_of(lattice, anchors).items()}
    held = _held(lattice, places, known)
    links = whole_links(links, [d for d in lattice.tile_dims if d != "c"]).copy()
    why = links["why"].astype(object)
    links["why"] = why.where(why.notna(), "")  # empty in a table that was read from a file
    if points is None or model == "translation":
        found = _solved(lattice, links, places, held)
        return _reported(lattice, links, _in_frame(found, places, held[0]), found, places, held[0])
    for _ in range(ROUNDS):
        found = _solved(lattice, links, places, held, bent=True)
        positions = _in_frame(found, places, held[0])
        chosen = _of_trusted(points, links)
        bent = bend(lattice, positions, chosen, model=model, held=held[0], control=control)
        if not _doubted(lattice, links, bent):
            break
    if not len(held[0]) and len(lattice):
        first = _first_of_largest(found)
        moved = positions[first] - bent.positions_px[first]
        bent = replace(bent, positions_px=bent.positions_px + moved)
    return _reported(lattice, links, bent.positions_px, found, places, held[0], bent)


def _first_of_largest(found: Solution) -> int:
    """Row of the first tile of the largest group."""
    return int(np.flatnonzero(found.group == np.bincount(found.group).argmax())[0])


def _in_frame(found: Solution, places: Places, held: np.ndarray) -> np.ndarray:
    """Positions in the frame of the anchors, or else in that of the nominal positions."""
    positions = found.positions_px
    if len(held) or not len(positions):
        return positions
    first = _first_of_largest(found)
    return np.asarray(positions - positions[first] + places.positions[first])


def _doubted(lattice: Lattice, links: "pd.DataFrame", bent: Bent) -> bool:
    """Leave out links whose points are still apart where tiles are bent; whether there were any."""
    left = bent.points.groupby(["first", "second"]).left_px.median()
    pairs = list(zip(links["first"], links["second"], strict=True))
    residuals = np.array([left.get(pair, np.nan) for pair in pairs], "f8")
    known = np.isfinite(residuals)
    links.loc[links.index[known], "residual_px"] = residuals[known]
    first, second = (lattice.rows_of(links[name]) for name in ("first", "second"))
    trusted = links.trusted.to_numpy(bool)
    rows = contradicting(len(lattice), first, second, trusted & known, residuals, by_hand(links))
    links.loc[links.index[rows], "trusted"] = False
    links.loc[links.index[rows], "why"] = CONTRADICTS
    return len(rows) > 0


def _solved(
    lattice: Lattice,
    links: "pd.DataFrame",
    places: Places,
    held: tuple[np.ndarray, np.ndarray],
    *,
    bent: bool = False,
) -> Solution:
    """Positions from links that do not contradict each other; the table of links says which.

    Links of tiles that are bent contradict each other a little even if all of them are right.
    """
    dims = places.dims
    first, second = (lattice.rows_of(links[name]) for name in ("first", "second"))
    offsets, models = (
        links[[f"{what}_{dim}_px" for dim in dims]].to_numpy("f8") for what in ("offset", "model")
    )
    firm = by_hand(links)
    weights = _weights(links, offsets, firm)
    doubts = Doubts(links, offsets - models, firm)
    start: np.ndarray | None = None
    unlikely = np.linalg.norm(offsets - models, axis=1)
    trusted = links.trusted.to_numpy(bool).copy()
    for last in [*[False] * ROUNDS, True]:
        use = np.flatnonzero(trusted)
        found = solve(
            len(lattice),
            first[use],
            second[use],
            offsets[use],
            weights[use],
            None,
            firm=firm[use],
            held=held,
            unlikely=unlikely[use],
            start=start,
        )
        residuals = _residuals(found, first, second, offsets)
        start, unlikely = found.positions_px, residuals  # near what comes next
        left_out = doubts.of(
            len(lattice), first, second, trusted, residuals, held[0], loops=not bent
        )
        if last or not left_out:
            break
        for why, rows in left_out.items():
            trusted[rows] = False
            links.loc[links.index[rows], "why"] = why
    expected = expected_places(lattice, places.positions, found.positions_px, found.group)
    found = join(found, _model(expected, first, second), held[0])
    links["trusted"] = trusted
    links["residual_px"] = _residuals(found, first, second, offsets)
    links.loc[links.index[firm & trusted], "why"] = BY_HAND
    links.loc[links.index[~trusted & (links.why == "").to_numpy()], "why"] = BY_HAND
    return found


def _weights(links: "pd.DataFrame", offsets: np.ndarray, firm: np.ndarray) -> np.ndarray:
    """What each link counts, by its correlation."""
    given = links.correlation.to_numpy("f8")
    known = np.isfinite(offsets).all(axis=1) & (np.isfinite(given) | firm)
    unknown = np.flatnonzero(links.trusted.to_numpy(bool) & ~known)
    if len(unknown):
        row = links.iloc[unknown[0]]
        raise LatticeError(
            f"the link of tiles {row['first']} and {row['second']} is trusted and has no offset or "
            "no correlation: give it both, or do not trust it"
        )
    correlation = np.clip(np.where(firm, 1.0, given), 0.03, 1.0)
    return np.asarray(np.square(correlation) / (1.05 - np.square(correlation)))


def _held(
    lattice: Lattice, places: Places, anchors: Mapping[int, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of tiles that are held, and their positions in pixels."""
    positions = np.zeros((len(anchors), len(places.dims)))
    for k, (tile, given) in enumerate(anchors.items()):
        if isinstance(given, Mapping):
            missing = [dim for dim in places.dims if dim not in given]
            values = [] if missing else [given[dim] for dim in places.dims]
        else:
            whole = np.asarray(given, "f8").ravel()
            fits = len(whole) == len(lattice.spatial_dims)
            values = whole[places.columns].tolist() if fits else []
        if not values or not np.isfinite(values).all():
            raise LatticeError(
                f"the anchor of tile {tile} is {given!r}: give its position in micrometres along "
                f"{', '.join(lattice.spatial_dims)}"
            )
        positions[k] = np.asarray(values, "f8") / places.size_um
    return lattice.rows_of(list(anchors)), positions


def _residuals(
    found: Solution, first: np.ndarray, second: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """How far each link is from being fulfilled, in pixels."""
    apart = found.positions_px[second] - found.positions_px[first] - offsets
    return np.asarray(np.linalg.norm(apart, axis=1))


def _model(
    expected: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How tiles of pairs should lie to each other, and others along the acquisition in gaps."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    n = len(expected)
    graph = sparse.coo_matrix((np.ones(len(first)), (first, second)), (n, n))
    _, part = connected_components(graph, directed=False)
    heads = np.unique(part, return_index=True)[1]
    a, b = np.concatenate([first, heads[:-1]]), np.concatenate([second, heads[1:]])
    return a, b, expected[b] - expected[a]


def _of_trusted(points: "pd.DataFrame", links: "pd.DataFrame") -> "pd.DataFrame":
    """The points of pairs whose link is trusted."""
    pairs = links.loc[links.trusted, ["first", "second"]]
    return points.merge(pairs, on=["first", "second"], how="inner")


def _reported(
    lattice: Lattice,
    links: "pd.DataFrame",
    positions: np.ndarray,
    found: Solution,
    places: Places,
    held: np.ndarray,
    bent: Bent | None = None,
) -> Placement:
    import pandas as pd

    chosen = links[links.trusted]
    counts = np.bincount(
        lattice.rows_of(np.concatenate([chosen["first"], chosen["second"]])), minlength=len(lattice)
    )
    placed_by = np.where(counts > 0, "links", "stage model").astype(object)
    placed_by[held] = "anchor"
    tiles = pd.DataFrame(
        {
            "tile": lattice.ids,
            "name": lattice.names,
            "links": counts,
            "group": found.group,
            "placed_by": placed_by,
        }
    )
    position_um = lattice.position_um.copy()
    for axis, (dim, column) in enumerate(zip(places.dims, places.columns, strict=True)):
        moved = positions[:, axis] - places.positions[:, axis]
        tiles[f"moved_{dim}_px"] = moved
        position_um[:, column] = positions[:, axis] * places.size_um[axis]
    placed = lattice.replace(position_um=position_um)
    if bent is None:
        return Placement(placed, tiles, links)
    for name, values in bent.by_tile().items():
        tiles[name] = values
    return Placement(placed, tiles, links, bent.warps, bent.points)


def _counterparts(placed: Lattice, other: Lattice) -> np.ndarray:
    """For each tile of the other lattice the row of the one here that has the same labels."""
    shared = [d for d in placed.dims if d in other.dims and len(placed.labels[d]) > 1]
    alone = [d for d in placed.dims if d not in other.dims and len(placed.labels[d]) > 1]
    here, there = (
        [
            tuple(labels)
            for labels in zip(
                *(of.labels[d][of.index[:, of.dims.index(d)]].tolist() for d in shared), strict=True
            )
        ]
        if shared
        else [()] * len(of)
        for of in (placed, other)
    )
    rows = dict(zip(here, range(len(here)), strict=True))
    if len(rows) < len(here):
        raise LatticeError(
            "the placed lattice has several tiles where the other has one: it has "
            f"{', '.join(alone)} beside; choose one label of it with sel"
        )
    missing = next((labels for labels in there if labels not in rows), None)
    if missing is not None:
        where = ", ".join(f"{d}={label}" for d, label in zip(shared, missing, strict=True))
        raise LatticeError(f"no tile was placed at {where}: place it as well, or leave it out")
    return np.array([rows[labels] for labels in there], np.int64)


__all__ = ["Placement", "place"]
