"""Which spot of one tile is which of another: matching of points by how they lie to each other.

What two tiles show of the same spots is moved, a little turned and smoothly bent, and many spots
are seen in one of them only. Three steps find the partners:

1. *Where on the whole?* The differences of all pairs of points are counted; those of partners lie
   close together, all others are scattered.
2. *Who moved as its neighbours did?* Each point has a few candidates. The nearest neighbours of a
   point vote for that candidate whose displacement one of their own candidates shares, the more so
   the nearer they are and the better they are themselves supported: relaxation labelling
   (A. Rosenfeld, R. Hummel, S. Zucker, "Scene labeling by relaxation operations", 1976) of
   displacements that vary smoothly (as in coherent point drift; A. Myronenko, X. Song, 2010).
3. *Where should it be?* A plane through the displacements of the nearest partners of a point, not
   its own, says where its partner has to lie; who is found there stays.

Nothing has a size of its own: lengths are measured in the distance between neighbouring points.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from latticework.errors import StageError
from latticework.stages.ready.labelled import SPATIAL
from latticework.stages.ready.point_chance import BY_LUCK, by_luck, sure_of
from latticework.stages.ready.point_shifts import likely_shifts, spacing_of

if TYPE_CHECKING:
    import pandas as pd

Points = npt.NDArray[np.float64]

CANDIDATES = 8
"""Points of the second set that are tried for each of the first."""
VOTERS = 16
"""Nearest neighbours of a point that vote."""
BEND = 0.08
"""By how much displacements of two points may differ, as a share of the distance between them."""
BLUR = 0.02
"""The same, at least, in distances between neighbouring points; and `LEAST_BLUR_PX`."""
LEAST_BLUR_PX = 0.7
AROUND = 14
"""Partners that say where a point should lie."""
LEAST_MATCHES = 6
"""Partners without which there are none."""
PLAIN = 0.3
"""Match rate from which no other shift is tried, if the best is all that is wanted."""
TIMES = 8
"""That partners are found anew, at most."""
CALM = 0.02
"""What holds a plane level, where its points hardly say how it lies."""
ROUNDS = 3
"""Of relaxation."""
AT_ONCE = 1000
"""Points whose votes are counted at once."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Points that are the same in two tiles.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> first = rng.uniform(0, 200, (60, 2))
    >>> second = np.concatenate([first[:40] + [3.0, -20.0], rng.uniform(0, 200, (20, 2))])
    >>> found = match_points(first, second)
    >>> found
    <Matches of 40 points, 69 % of those that could be, apart (3.0, -20.0), residual 0.00 px>
    >>> bool((found.first == found.second).all())
    True
    """

    first: npt.NDArray[np.int64]
    """Row of each in the first set."""
    second: npt.NDArray[np.int64]
    """Row of each in the second set."""
    residual_px: npt.NDArray[np.float64]
    """How far each is from where its neighbours say it should be."""
    quality: npt.NDArray[np.float64]
    """Share of its neighbours that moved alike, 0 to 1."""
    offset_px: tuple[float, ...]
    """What is added to a point of the first set to come to its partner: the median."""
    could_be: int
    """Points of the smaller set that lie where both sets have points."""
    sure: int
    """Partners that lie nearer to where they should than one in `SURE` of the points would if
    nothing were the same."""
    by_chance: float
    """Match rate of these points, with partners as near to where they should be, if nothing were
    the same; NaN if that was not asked for."""

    @property
    def match_rate(self) -> float:
        """Partners, as a share of the points that could have one."""
        return min(1.0, len(self.first) / self.could_be) if self.could_be else 0.0

    @property
    def summary(self) -> dict[str, float | int]:
        """How many, how well: a record."""
        there = len(self.residual_px) > 0
        return {
            "matches": len(self.first),
            "sure": self.sure,
            "match_rate": self.match_rate,
            "by_chance": self.by_chance,
            "residual_median_px": float(np.median(self.residual_px)) if there else float("nan"),
            "residual_95_px": float(np.percentile(self.residual_px, 95)) if there else float("nan"),
        }

    def table(self, first: Any, second: Any, dims: str = "zyx") -> "pd.DataFrame":
        """The partners as a table, one row for each.

        Parameters
        ----------
        first, second
            The points that were matched.
        dims
            Names of their columns; the last of them.

        Returns
        -------
        pandas.DataFrame
            ``first_y_px``, ..., ``second_y_px``, ..., ``residual_px``, ``quality``.
        """
        import pandas as pd

        sets = {
            "first": _positions(first).astype("f8")[self.first],
            "second": _positions(second).astype("f8")[self.second],
        }
        axes = dims[len(dims) - sets["first"].shape[1] :]
        columns = {
            f"{name}_{axis}_px": points[:, k]
            for name, points in sets.items()
            for k, axis in enumerate(axes)
        }
        columns["residual_px"], columns["quality"] = self.residual_px, self.quality
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        n = len(self.first)
        if not n:
            return "<Matches: none>"
        apart = ", ".join(f"{d:.1f}" for d in self.offset_px)
        return (
            f"<Matches of {n:,} points, {100 * self.match_rate:.0f} % of those that could be, "
            f"apart ({apart}), residual {float(np.median(self.residual_px)):.2f} px>"
        )


def match_points(
    first: Any,
    second: Any,
    *,
    offset: npt.ArrayLike | None = None,
    reach: npt.ArrayLike | None = None,
    pixel_size: npt.ArrayLike | None = None,
    chance: bool = False,
) -> Matches:
    """Which points of two sets are the same, however many have no partner.

    Parameters
    ----------
    first, second
        (points, axes), 2 or 3 axes, in pixels; or tables with columns ``(z) y x``, as
        `latticework.stages.ready.spots.detect_spots` gives them. The sets may be moved against each
        other by any distance, turned by some degrees, and smoothly bent.
    offset, reach
        What is expected to be added to a point of the first set to come to its partner, and how far
        it may be from that along each axis; anything if not given.
    pixel_size
        Size of a pixel along each axis, in any unit; pixels are taken to be cubes if not given.
    chance
        Whether to find out how many would match, as near to where they should be, if nothing were
        the same, which takes as long again: the second set is mirrored for that.

    Returns
    -------
    Matches
        Each point at most once, in the order of the first set. None where no more of them are sure
        than some shifts have by chance.

    Raises
    ------
    StageError
        If the sets are no points of the same number of axes.

    Examples
    --------
    Half of the points have no partner, the others are moved, and bent by 4 pixels:

    >>> rng = np.random.default_rng(0)
    >>> scene = rng.uniform(0, 400, (200, 2))
    >>> bent = scene + [30.0, -12.0] + 4 * np.sin(scene[:, ::-1] / 80)
    >>> one = np.concatenate([scene, rng.uniform(0, 400, (200, 2))])
    >>> other = np.concatenate([bent, rng.uniform(0, 400, (200, 2)) + [30.0, -12.0]])
    >>> found = match_points(one, other)
    >>> right = (found.first == found.second) & (found.first < 200)
    >>> right.sum() > 190, right.mean() > 0.9
    (np.True_, np.True_)
    """
    a, b = (_checked(points, name) for points, name in ((first, "first"), (second, "second")))
    n = a.shape[1]
    if b.shape[1] != n:
        raise StageError(f"points of {n} axes cannot be matched with points of {b.shape[1]}")
    scale = np.ones(n) if pixel_size is None else np.asarray(pixel_size, "f8")
    if scale.shape != (n,) or not (scale > 0).all():
        raise StageError(f"pixel_size has to be {n} numbers above 0, but is {pixel_size!r}")
    scale = scale / scale.min()
    expected = None if offset is None else np.asarray(offset, "f8") * scale
    far = None if reach is None else np.broadcast_to(np.asarray(reach, "f8"), (n,)) * scale
    one, other = a * scale, b * scale
    found = all_matches(one, other, expected=expected, reach=far, most=1)
    if found and by_luck(found[0].sure, found[0].could_be, one, other, far) > BY_LUCK:
        found = []
    by_chance = np.nan
    if chance:
        limit = float(found[0].residual_px.max()) if found else np.inf
        by_chance = chance_rate(one, other, expected=expected, reach=far, residual_px=limit)
    if not found:
        none = np.zeros(0, np.int64)
        nowhere = (float("nan"),) * n
        return Matches(
            none, none, np.zeros(0), np.zeros(0), nowhere, min(len(a), len(b)), 0, by_chance
        )
    best = found[0]
    apart = np.median(b[best.second] - a[best.first], axis=0)
    return replace(best, offset_px=tuple(map(float, apart)), by_chance=by_chance)


def all_matches(
    first: Points,
    second: Points,
    *,
    expected: Points | None = None,
    reach: Points | None = None,
    most: int = 3,
) -> list[Matches]:
    """Partners for each of the shifts that are likely, those with most partners first.

    As `match_points`, for pixels that are cubes.
    """
    if min(len(first), len(second)) < LEAST_MATCHES:
        return []
    found: list[Matches] = []
    for shift in likely_shifts(first, second, expected=expected, reach=reach, most=most + 1):
        start = vote(first, second, shift)
        matches = settle(first, second, *start)
        if matches is None:
            continue
        at = np.array(matches.offset_px)
        if reach is not None and (np.abs(at - expected) > reach).any():
            continue
        spacing = spacing_of(first)
        if all(np.linalg.norm(at - other.offset_px) > spacing for other in found):
            found.append(matches)
        if most == 1 and matches.match_rate > PLAIN:
            break
    found.sort(key=lambda of: -len(of.first))
    return found[:most]


def chance_rate(
    first: Points,
    second: Points,
    *,
    expected: Points | None = None,
    reach: Points | None = None,
    residual_px: float = np.inf,
) -> float:
    """Match rate of points that have nothing in common but how many there are where.

    The second set is mirrored about its middle along its last axis, which keeps how far points are
    from each other, and makes of each arrangement another one. Partners farther from where they
    should be than `residual_px` do not count.
    """
    if not len(second):
        return 1.0
    mirrored = second.copy()
    mirrored[:, -1] = second[:, -1].min() + second[:, -1].max() - second[:, -1]
    found = all_matches(first, mirrored, expected=expected, reach=reach, most=1)
    if not found:
        return LEAST_MATCHES / max(len(first), LEAST_MATCHES)
    near = int((found[0].residual_px <= residual_px).sum())
    return min(1.0, near / found[0].could_be)


def vote(
    first: Points, second: Points, shift: Points
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Partners that moved as their neighbours did: rows in both sets, each at most once."""
    near, distance = _neighbours(first, VOTERS)
    k = min(CANDIDATES, len(second))
    _, other = cKDTree(second).query(first + shift, k=np.arange(1, k + 1))
    moved = second[other] - first[:, None]
    blur = max(LEAST_BLUR_PX, BLUR * spacing_of(first))
    width = np.hypot(blur, BEND * distance)
    trust = np.ones(other.shape)
    for _ in range(ROUNDS):
        support = _support(moved, near, width, trust)
        doubt = np.median(support)
        trust = support / (support.sum(axis=1, keepdims=True) + doubt + 1e-9)
    support = _support(moved, near, width, trust)
    best = support.argmax(axis=1)
    rows = np.arange(len(first))
    value, partner = support[rows, best], other[rows, best]
    strong = value >= 0.3 * np.percentile(value, 90)
    highest = np.zeros(len(second))
    np.maximum.at(highest, partner, value)
    kept = strong & (value >= highest[partner])
    kept[rows[kept]] = _first_of_each(partner[kept])
    return rows[kept], partner[kept]


def _first_of_each(values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _neighbours(points: Points, count: int) -> tuple[npt.NDArray[np.int64], Points]:
    """Rows of the nearest points of each and how far these are, itself left out."""
    k = min(count + 1, len(points))
    distance, near = cKDTree(points).query(points, k=np.arange(1, k + 1))
    return near[:, 1:], distance[:, 1:]


def _support(moved: Points, near: npt.NDArray[np.int64], width: Points, trust: Points) -> Points:
    """For each candidate, the share of neighbours that have one that is moved alike."""
    found = np.zeros(trust.shape)
    for start in range(0, len(moved), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        theirs, own = moved[near[some]].astype("f4"), moved[some].astype("f4")
        gap = np.zeros((*theirs.shape[:3], own.shape[1]), "f4")
        for axis in range(own.shape[2]):
            gap += np.square(theirs[..., axis, None] - own[:, None, None, :, axis])
        gap /= (-2 * np.square(width[some])).astype("f4")[:, :, None, None]
        alike = np.exp(gap, out=gap)
        alike *= trust[near[some]].astype("f4")[..., None]
        found[some] = alike.max(axis=2).mean(axis=1)
    return found


def settle(
    first: Points, second: Points, rows: npt.NDArray[np.int64], partners: npt.NDArray[np.int64]
) -> Matches | None:
    """From partners of which most are right to all partners; None if they are too few."""
    spacing = spacing_of(first)
    limit = 0.5 * min(spacing, spacing_of(second))
    tree = cKDTree(second)
    residual = np.zeros(0)
    for _ in range(TIMES):
        if len(rows) < LEAST_MATCHES:
            return None
        where = first + smooth_at(first, first[rows], second[partners] - first[rows])
        distance, nearest = tree.query(where)
        back = cKDTree(where).query(second)[1]
        mutual = back[nearest] == np.arange(len(first))
        known = np.zeros(len(first), bool)
        known[rows] = True
        sure = distance[known & mutual]
        spread = 1.4826 * float(np.median(sure)) if len(sure) else limit
        limit = float(np.clip(2.5 * spread, min(LEAST_BLUR_PX, limit), limit))
        before = rows
        rows = np.flatnonzero(mutual & (distance <= limit))
        partners, residual = nearest[rows], distance[rows]
        if np.array_equal(before, rows):
            break
    if len(rows) < LEAST_MATCHES:
        return None
    return _told(first, second, rows, partners, residual, where)


def _told(
    first: Points,
    second: Points,
    rows: npt.NDArray[np.int64],
    partners: npt.NDArray[np.int64],
    residual: Points,
    where: Points,
) -> Matches:
    """As `Matches`, with how many there could be and how many neighbours are matched as well."""
    matched = np.zeros(len(first), bool)
    matched[rows] = True
    near, _ = _neighbours(first, VOTERS)
    inside = (where >= second.min(axis=0)).all(axis=1) & (where <= second.max(axis=0)).all(axis=1)
    moved = where - first
    others = second - moved[cKDTree(where).query(second)[1]]
    back = (others >= first.min(axis=0)).all(axis=1) & (others <= first.max(axis=0)).all(axis=1)
    possible = inside | matched
    around = np.maximum(possible[near].sum(axis=1), 1)
    quality = matched[near].sum(axis=1) / around
    apart = np.median(second[partners] - first[rows], axis=0)
    could_be = int(min(possible.sum(), max(back.sum(), len(rows))))
    return Matches(
        rows,
        partners,
        residual,
        np.minimum(quality[rows], 1.0),
        tuple(map(float, apart)),
        could_be,
        sure_of(second, residual),
        float("nan"),
    )


def smooth_at(points: Points, known: Points, moved: Points, *, around: int = AROUND) -> Points:
    """Displacement of points, from the nearest ones whose displacement is known, not their own.

    A plane through these, fitted robustly (Cauchy's weights); near ones count more.

    Parameters
    ----------
    points, known
        (points, axes); those of `points` that are in `known` do not count for themselves.
    moved
        Displacements of `known`.

    Examples
    --------
    >>> known = np.random.default_rng(0).uniform(0, 100, (50, 2))
    >>> bool(np.allclose(smooth_at(known[:3], known, 0.1 * known), 0.1 * known[:3], atol=0.2))
    True
    """
    n = points.shape[1]
    k = min(around + 1, len(known))
    distance, near = cKDTree(known).query(points, k=np.arange(1, k + 1))
    self_first = distance[:, 0] < 1e-9
    order = np.where(self_first[:, None], np.arange(1, k), np.arange(k - 1))
    near, distance = (np.take_along_axis(of, order, axis=1) for of in (near, distance))
    reach = np.maximum(distance[:, -1:], 1e-9)
    away = (known[near] - points[:, None]) / reach[..., None]
    design = np.concatenate([np.ones((*near.shape, 1)), away], axis=2)
    target = moved[near]
    kernel = 1 / (0.1 + np.square(distance / reach))
    calm = np.diag([0.0, *[CALM] * n]) + 1e-9 * np.eye(n + 1)
    gaps = target - np.median(target, axis=1, keepdims=True)
    found = np.zeros((len(points), n + 1, n))
    for _ in range(4):
        size = np.linalg.norm(gaps, axis=2)
        scale = 1.5 * np.median(size, axis=1, keepdims=True) + 0.05
        weighted = design * (kernel / (1 + np.square(size / scale)))[..., None]
        normal = np.swapaxes(weighted, 1, 2) @ design + calm
        found = np.linalg.solve(normal, np.swapaxes(weighted, 1, 2) @ target)
        gaps = target - design @ found
    return np.asarray(found[:, 0])


def _positions(points: Any) -> npt.NDArray[Any]:
    """Positions as an array; of a table of spots, those of its columns z, y and x that it has."""
    columns = set(getattr(points, "columns", ()))
    if {"y", "x"} <= columns:
        points = points[[axis for axis in SPATIAL if axis in columns]]
    return np.asarray(points)


def _checked(points: Any, name: str) -> Points:
    array = _positions(points)
    if array.dtype.kind not in "iuf":
        raise StageError(f"the {name} points have to be numbers, not {array.dtype}")
    array = array.astype("f8")
    if array.ndim != 2 or array.shape[1] not in (2, 3) or not np.isfinite(array).all():
        raise StageError(
            f"the {name} points have to be finite numbers of shape (points, 2) or (points, 3), but "
            f"their shape is {array.shape}"
        )
    return array


__all__ = ["Matches", "all_matches", "chance_rate", "match_points", "smooth_at"]
