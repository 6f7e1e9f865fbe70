"""Links between tiles from the spots that both show, and the spots themselves, pair by pair.

Where tiles are bent against each other, or show so little that their pixels hardly correlate, spots
still tell how they lie: which of one tile is which of the other follows from how they lie to their
neighbours (`latticework.stages.ready.points`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Label, Lattice
from latticework.stages.ready.point_chance import least_sure
from latticework.stages.ready.point_shifts import spacing_of
from latticework.stages.ready.points import Matches, all_matches
from latticework.stages.ready.spot_finding import find_spots
from latticework.stitch.pairs import Candidate, reach_px, strips
from latticework.stitch.reaching import Reach, reach_of
from latticework.stitch.registration import judge
from latticework.stitch.tiles import Pairs, overlapping, read_tile

if TYPE_CHECKING:
    import pandas as pd

SIGMA_PX = 2.0
"""Standard deviation of a spot along y and x, if none is given."""
LEAST_SIGMA_PX = 0.7
"""The same along z, where pixels are longer, at least."""
FARTHER_Z = 2
"""How many times as far along z as pixels are looked for points are, if it is not said how far."""
EVIDENT = 0.25
"""Match rate from which a pair is believed by itself: half of the spots are often in one of the two
only."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What two tiles show."""

    spots: tuple[np.ndarray, np.ndarray]
    """Spots in the strips of each, in pixels of the tile."""
    matches: tuple[Matches, ...]
    candidates: tuple[Candidate, ...]


@overload
def register_points(
    lattice: Lattice,
    *,
    sigma_px: float | Mapping[str, float] | None = ...,
    threshold: float | None = ...,
    most: int = ...,
    channel: int = ...,
    across: str | None = ...,
    reference: Label | None = ...,
    reach: Reach | None = ...,
    threads: int | None = ...,
    with_points: Literal[False] = ...,
) -> "pd.DataFrame": ...


@overload
def register_points(
    lattice: Lattice,
    *,
    sigma_px: float | Mapping[str, float] | None = ...,
    threshold: float | None = ...,
    most: int = ...,
    channel: int = ...,
    across: str | None = ...,
    reference: Label | None = ...,
    reach: Reach | None = ...,
    threads: int | None = ...,
    with_points: Literal[True],
) -> tuple["pd.DataFrame", "pd.DataFrame"]: ...


def register_points(
    lattice: Lattice,
    *,
    sigma_px: float | Mapping[str, float] | None = None,
    threshold: float | None = None,
    most: int = 2000,
    channel: int = 0,
    across: str | None = None,
    reference: Label | None = None,
    reach: Reach | None = None,
    threads: int | None = None,
    with_points: bool = False,
) -> "pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]":
    """Where overlapping tiles lie to each other, from spots that both show.

    Parameters
    ----------
    lattice
        With pixels.
    sigma_px
        Standard deviation of a spot in pixels, one for all axes or by axis; if not given, 2 along y
        and x, and along z the same length.
    threshold
        Least height of a spot, in counts; 6 times the noise of each strip if not given.
    most
        Of each strip, the brightest so many.
    channel, across, reference, threads
        As for `latticework.stitch.registration.register`.
    reach
        The same; if not given, along z twice as far as there.
    with_points
        Whether to give the matched points as well, for `latticework.stitch.placement.place` with
        ``model="rigid"``, ``"affine"`` or ``"warp"``.

    Returns
    -------
    links : pandas.DataFrame
        As `latticework.stitch.registration.register` gives them; ``correlation`` and ``runner_up``
        are shares of the spots that could have a partner: those that have one so near to where the
        spots around say that chance hardly gives it. The offset is the median of the matched
        points. Also ``spots`` (matched ones) and ``spots_residual_px`` (median of how far they are
        from where the spots around them say that they should be).
    points : pandas.DataFrame
        With `with_points`: a row for each matched point of each pair: ``first`` and ``second``
        (tile ids), ``first_y_px`` ... and ``second_y_px`` ... (in pixels of the two tiles),
        ``residual_px`` and ``quality`` (see `latticework.stages.ready.points.Matches`).

    Examples
    --------
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate(
    ...     {"y": 1, "x": 3}, tile_shape={"y": 160, "x": 160}, overlap={"x": 0.4}, seed=3
    ... )
    >>> links, points = register_points(tiles, with_points=True)
    >>> len(links), len(points) == links.spots.sum()
    (2, np.True_)
    """
    pairs = overlapping(lattice, across=across, reference=reference)
    sigmas = sigmas_of(lattice, pairs.dims, sigma_px)
    within = reach_of(reach, pairs.dims)
    scale = np.array([lattice.pixel_size_um[dim] for dim in pairs.dims])
    scale = scale / scale.min()

    def look(k: int) -> _Seen | None:
        if not pairs.there[k]:
            return None
        far = _far(pairs.shapes(k)[0], pairs.dims) if within is None else within
        boxes = strips(*pairs.shapes(k), tuple(pairs.nominal[k]), far)
        first, second = (int(row) for row in pairs.rows[k])
        spots = (
            _spots_in(read_tile(lattice, first, channel), boxes[0], sigmas, threshold, most),
            _spots_in(read_tile(lattice, second, channel), boxes[1], sigmas, threshold, most),
        )
        return _matched(spots, pairs, k, np.asarray(far, "f8"), scale)

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        seen = list(pool.map(look, range(len(pairs.rows))))
    far = _far(pairs.sizes.max(axis=0).tolist(), pairs.dims) if within is None else within
    links = judge(
        lattice,
        pairs,
        [None if of is None else of.candidates for of in seen],
        evident=EVIDENT,
        reach=far,
    )
    nothing = pairs.there & links.correlation.isna().to_numpy()
    links.loc[nothing, "why"] = (
        f"too few spots that both tiles show within {_said(far, pairs.dims)}"
    )
    chosen = _chosen(links, seen, pairs.dims)
    links["spots"] = np.array([len(m.first) if m else 0 for m in chosen], np.int64)
    links["spots_residual_px"] = [float(np.median(m.residual_px)) if m else np.nan for m in chosen]
    return (links, _points(links, seen, chosen, pairs.dims)) if with_points else links


def _far(shape: Sequence[int], dims: Sequence[str]) -> tuple[float, ...]:
    """How far from its nominal place a tile is looked for, unless told otherwise."""
    usual = zip(reach_px(shape, dims), dims, strict=True)
    return tuple(float(FARTHER_Z * px if dim == "z" else px) for px, dim in usual)


def _said(reach: Sequence[float], dims: Sequence[str]) -> str:
    """A reach in words.

    Examples
    --------
    >>> _said((14, 32, 32), "zyx"), _said((32, 40.5), "yx")
    ('14 planes, y 32 and x 32 px', 'y 32 and x 40.5 px')
    """
    by_dim = dict(zip(dims, reach, strict=True))
    planes = f"{by_dim.pop('z'):g} planes, " if "z" in by_dim else ""
    return f"{planes}{' and '.join(f'{dim} {px:g}' for dim, px in by_dim.items())} px"


def sigmas_of(
    lattice: Lattice, dims: Sequence[str], sigma_px: float | Mapping[str, float] | None
) -> tuple[float, ...]:
    """Standard deviation of a spot along each dim, in pixels."""
    if isinstance(sigma_px, Mapping):
        return tuple(float(sigma_px[dim]) for dim in dims)
    if sigma_px is not None:
        return (float(sigma_px),) * len(dims)
    sizes = lattice.pixel_size_um
    return tuple(
        SIGMA_PX
        if dim != "z"
        else float(np.clip(SIGMA_PX * sizes["x"] / sizes["z"], LEAST_SIGMA_PX, 2 * SIGMA_PX))
        for dim in dims
    )


def _spots_in(
    read: Callable[[Box], np.ndarray],
    box: Box,
    sigmas: tuple[float, ...],
    threshold: float | None,
    most: int,
) -> np.ndarray:
    """The brightest spots in a box of a tile, in pixels of the tile."""
    if not box.size:
        return np.zeros((0, len(sigmas)))
    pixels = read(box)
    if pixels.dtype.kind == "f":
        finite = np.isfinite(pixels)
        pixels = np.where(finite, pixels, np.median(pixels[finite]) if finite.any() else 0.0)
    spots = find_spots(pixels, sigmas, threshold=threshold)
    brightest = np.sort(np.argsort(-spots.score, kind="stable")[:most])
    return np.asarray(spots.places[brightest] + np.array(box.start))


def _matched(
    spots: tuple[np.ndarray, np.ndarray], pairs: Pairs, k: int, reach: np.ndarray, scale: np.ndarray
) -> _Seen:
    first, second = (of * scale for of in spots)
    expected = -pairs.nominal[k] * scale
    matches = all_matches(first, second, expected=expected, reach=reach * scale)
    if not matches:
        return _Seen(spots, (), ())
    spacing = min(spacing_of(first), spacing_of(second))
    trials = float(np.prod(2 * reach * scale / (0.25 * spacing) + 1))
    candidates = []
    for of in matches:
        offset = -np.array(of.offset_px) / scale
        candidates.append(
            Candidate(
                tuple(offset.tolist()),
                of.sure / max(of.could_be, 1),
                _overlap(pairs, k, offset),
                (least_sure(of.could_be, trials) - 0.5) / max(of.could_be, 1),
            )
        )
    order = sorted(range(len(matches)), key=lambda i: -candidates[i].correlation)
    return _Seen(spots, tuple(matches[i] for i in order), tuple(candidates[i] for i in order))


def _overlap(pairs: Pairs, k: int, offset: np.ndarray) -> float:
    """Pixels that overlap at an offset, as a share of the nominal overlap."""
    first, second = pairs.shapes(k)

    def pixels(at: np.ndarray) -> float:
        sides = np.minimum(first, at + second) - np.maximum(at, 0)
        return float(np.prod(np.maximum(sides, 0)))

    return pixels(offset) / max(pixels(pairs.nominal[k]), 1.0)


def _chosen(
    links: "pd.DataFrame", seen: Sequence[_Seen | None], dims: Sequence[str]
) -> list[Matches | None]:
    """The matches of each pair that its link goes by."""
    offsets = links[[f"offset_{dim}_px" for dim in dims]].to_numpy("f8")
    result: list[Matches | None] = []
    for of, offset in zip(seen, offsets, strict=True):
        pairs = zip(of.candidates, of.matches, strict=True) if of else ()
        same = (m for candidate, m in pairs if np.array_equal(candidate.offset_px, offset))
        result.append(next(same, None))
    return result


def _points(
    links: "pd.DataFrame",
    seen: Sequence[_Seen | None],
    chosen: Sequence[Matches | None],
    dims: Sequence[str],
) -> "pd.DataFrame":
    """One table of the matched points of all pairs."""
    import pandas as pd

    tables = []
    for k, (of, matches) in enumerate(zip(seen, chosen, strict=True)):
        if of is None or matches is None:
            continue
        table = matches.table(*of.spots, "".join(dims))
        table.insert(0, "first", int(links["first"].iloc[k]))
        table.insert(1, "second", int(links["second"].iloc[k]))
        tables.append(table)
    if tables:
        return pd.concat(tables, ignore_index=True)
    names = ["first", "second"]
    names += [f"{which}_{dim}_px" for which in ("first", "second") for dim in dims]
    empty = pd.DataFrame({name: np.zeros(0) for name in [*names, "residual_px", "quality"]})
    return empty.astype({"first": np.int64, "second": np.int64})


__all__ = ["register_points", "sigmas_of"]
