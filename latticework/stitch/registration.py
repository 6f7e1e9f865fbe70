"""All overlapping pairs of a lattice: where the second tile of each may lie, and what to believe.

One row for each pair, with what was expected, what was found, and whether that is to be trusted
and why.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import lattice_dim
from latticework.stitch.pairs import Candidate, confirm, match, reach_px
from latticework.stitch.stage_model import StepModel, fit_steps, is_evident
from latticework.stitch.tiles import pairs_of, places_of, read_tile

if TYPE_CHECKING:
    import pandas as pd

Reader = Callable[[Box], np.ndarray]

LEAST_OVERLAP_PX = 2
"""Nominal overlap of a pair, along each axis, from which it is looked at."""
LEAST_CORRELATION = 0.08
"""What is below has nothing in common."""
WIDER = 4.0
"""How much further is looked where pairs are not found near their nominal places."""
FEW = 0.3
"""Share of pairs along an axis below which that is done."""
SAMPLE = 12
"""With so many of them at first."""
MOST = 0.5
"""Share of those that have to agree."""
AGREE_PX = 14.0
"""How far these may lie from each other."""
LEAST_LIKENESS, MOST_ERROR_PX = 0.2, 0.5
"""What a fit of the pixels themselves has to reach, and how unsure it may be."""
CHANCE = 99.0
"""Percentile of the correlations of wrong places that a right one has to exceed."""


def register(
    lattice: Lattice,
    *,
    channel: int = 0,
    reach: Sequence[float] | None = None,
    dark: float | None = None,
    threads: int | None = None,
) -> "pd.DataFrame":
    """Where overlapping tiles lie to each other, from what both show.

    Parameters
    ----------
    lattice
        With pixels.
    channel
        Number of the channel that is compared.
    reach
        How far tiles may lie from their nominal offsets, in pixels along their spatial dims; see
        `latticework.stitch.pairs.reach_px`.
    dark
        What the camera counts without light; found in each pair if not given.
    threads
        Pairs at a time; as many as there are cores if not given.

    Returns
    -------
    pandas.DataFrame
        See `judge`.

    Examples
    --------
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate({"y": 2, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> links = register(tiles)
    >>> len(links), bool(links.trusted.all())
    (7, True)
    """
    dims, _, _, position, shapes = places_of(lattice)
    rows, axes = [], []
    for axis, pairs in pairs_of(lattice).items():
        rows.append(pairs)
        axes += [axis] * len(pairs)
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *rows])
    nominal = position[pairs[:, 1]] - position[pairs[:, 0]]
    overlap = np.minimum(shapes[pairs[:, 0]], nominal + shapes[pairs[:, 1]]) - np.maximum(
        nominal, 0
    )
    there = (overlap >= LEAST_OVERLAP_PX).all(axis=1)

    def read(k: int, other: int | None = None) -> tuple[Reader, Reader, tuple[Any, Any]]:
        first, second = int(pairs[k, 0]), int(pairs[k if other is None else other, 1])
        tiles = read_tile(lattice, first, channel), read_tile(lattice, second, channel)
        return (*tiles, (tuple(shapes[first]), tuple(shapes[second])))

    def look(k: int, at: np.ndarray, within: Sequence[float] | None) -> list[Candidate]:
        return match(*read(k), tuple(at), dims, reach=within, dark=dark)

    def look_afar(k: int, partner: int | None = None) -> list[Candidate]:
        first, second, (one, other) = read(k, partner)
        flat = dims[-2:]
        wide = [WIDER * r for r in reach_px(one[-2:], flat)]
        seen = match(
            _flattened(first, one),
            _flattened(second, other),
            (one[-2:], other[-2:]),
            tuple(nominal[k, -2:]),
            flat,
            reach=wide,
            dark=dark,
        )
        above = tuple(nominal[k, :-2])
        return [replace(of, offset_px=above + of.offset_px) for of in seen]

    def sharpen(k: int) -> None:
        of = found[k]
        if of and (best := _to_confirm(of, models[k])) is not None:
            of[best] = confirm(*read(k), of[best], dims, dark=dark)

    found: list[list[Candidate] | None] = [None] * len(pairs)
    expected = nominal.copy()
    parities = _parities(lattice, pairs, axes)
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:

        def look_at(rows: Sequence[int]) -> None:
            looked = pool.map(lambda k: look(k, expected[k], reach), rows)
            for k, of in zip(rows, looked, strict=True):
                found[k] = of

        look_at(np.flatnonzero(there).tolist())
        models = _models(axes, parities, found, nominal)
        if reach is None:
            lost = _lost(axes, found, models)
            for members in lost.values():
                some = _some(members)
                step = _found_afar(list(pool.map(look_afar, some)), nominal[some])
                if step is None:
                    continue
                strangers = list(pool.map(look_afar, some, [*some[1:], some[0]]))
                if not _is_of_the_camera(strangers, nominal[some] + step):
                    expected[members] += step
                    look_at(members)
            if lost:
                models = _models(axes, parities, found, nominal)
        list(pool.map(sharpen, np.flatnonzero(there)))
    return judge(lattice, pairs, axes, nominal, found, dims)


def _flattened(read: Reader, shape: Sequence[int]) -> Reader:
    """A reader of planes: volumes are averaged along z."""
    if len(shape) == 2:
        return read

    def flat(box: Box) -> np.ndarray:
        return np.asarray(read(Box((0, *box.start), (shape[0], *box.stop))).mean(axis=0))

    return flat


def _models(
    axes: Sequence[str],
    parities: Sequence[int],
    found: Sequence[Sequence[Candidate] | None],
    nominal: np.ndarray,
) -> list[StepModel]:
    n = nominal.shape[1]
    offsets = [np.reshape([c.offset_px for c in of or ()], (-1, n)) for of in found]
    return fit_steps(
        list(axes), parities, offsets, [_correlations(of or ()) for of in found], nominal
    )


def _correlations(found: Sequence[Candidate]) -> np.ndarray:
    """Of candidates; 0 where noise would do as well."""
    return np.array([c.correlation if c.correlation > c.by_chance else 0.0 for c in found])


def _stands_out(found: Sequence[Candidate]) -> bool:
    """Whether the best candidate is right for all one can tell from the pair alone."""
    values = [of.correlation for of in found]
    return is_evident(values) and values[0] > found[0].by_chance


def _to_confirm(found: Sequence[Candidate], model: StepModel) -> int | None:
    """The candidate that may be believed, if any."""
    values = _correlations(found)
    inside = [k for k, of in enumerate(found) if values[k] > 0 and model.admits(of.offset_px)]
    if inside:
        return inside[0]
    return 0 if _stands_out(found) else None


def _lost(
    axes: Sequence[str], found: Sequence[Sequence[Candidate] | None], models: Sequence[StepModel]
) -> dict[str, list[int]]:
    """Pairs along axes along which most show something, but few what the others show."""
    lost = {}
    for axis in dict.fromkeys(axes):
        rows = [k for k, of in enumerate(found) if axes[k] == axis and of]
        good = [
            k
            for k in rows
            if models[k].votes
            and (of := found[k])
            and models[k].admits(of[0].offset_px)
            and _stands_out(of)
        ]
        if rows and len(good) < max(FEW * len(rows), 1):
            lost[axis] = rows
    return lost


def _is_of_the_camera(strangers: Sequence[Sequence[Candidate]], at: np.ndarray) -> bool:
    """Whether tiles that are no neighbours match there too: dust and hot pixels do."""
    alike = [
        bool(of) and bool((np.abs(of[0].offset_px - where) <= AGREE_PX).all()) and _stands_out(of)
        for of, where in zip(strangers, at, strict=True)
    ]
    return len(alike) > 1 and sum(alike) >= MOST * len(alike)


def _some(rows: Sequence[int]) -> list[int]:
    """Pairs from all over the lattice."""
    every = max(len(rows) // SAMPLE, 1)
    return list(rows[::every])[: 2 * SAMPLE]


def _found_afar(found: Sequence[Sequence[Candidate]], nominal: np.ndarray) -> np.ndarray | None:
    """How far pairs lie from where they should, if most agree on that, and on nothing nearer."""
    plain = [
        of[0].offset_px - at
        for of, at in zip(found, nominal, strict=True)
        if of and _stands_out(of)
    ]
    if not plain:
        return None
    middle = np.median(plain, axis=0)
    near = (np.abs(plain - middle) <= AGREE_PX).all(axis=1)
    if near.sum() < max(min(3, len(found)), MOST * len(found)):
        return None
    return np.asarray(np.median(np.array(plain)[near], axis=0))


def judge(
    lattice: Lattice,
    pairs: np.ndarray,
    axes: Sequence[str],
    nominal: np.ndarray,
    found: Sequence[Sequence[Candidate] | None],
    dims: Sequence[str],
) -> "pd.DataFrame":
    """What to believe of the candidates of all pairs.

    A pair has to agree pixel by pixel (`latticework.stitch.refining`), where enough overlaps to
    tell. Then it is trusted where its best candidate stands out by itself, or lies where the model
    of the stage has it and is better than chance, unless it contradicts that model.

    Parameters
    ----------
    lattice, pairs, axes
        Whose pairs they are, by row, and along which axes.
    nominal
        (pairs, dims): nominal offsets in pixels.
    found
        Candidates of each pair; None where they do not overlap.
    dims
        Spatial dims of the tiles.

    Returns
    -------
    pandas.DataFrame
        One row for each pair: ``first`` and ``second`` (tile ids), ``axis``, ``trusted`` and
        ``why``, ``correlation``, ``runner_up`` (the best of the other candidates), ``overlap``
        (share of the nominal one), ``likeness`` and ``error_px`` (how well the pixels that both
        show agree, and how unsure the offset is along the less sure axis), and for each dim
        ``nominal_x_px``, ``offset_x_px`` and ``model_x_px``.
    """
    import pandas as pd

    n = len(dims)
    apart = [of is None for of in found]
    candidates: list[Sequence[Candidate]] = [of or () for of in found]
    offsets = [np.reshape([c.offset_px for c in of], (-1, n)) for of in candidates]
    correlations = [_correlations(of) for of in candidates]
    parities = _parities(lattice, pairs, axes)
    models = fit_steps(list(axes), parities, offsets, correlations, nominal)
    chance = _chance(offsets, correlations, models)
    records = []
    for k, of in enumerate(candidates):
        chosen, why = _chosen(of, correlations[k], models[k], chance)
        why = "the tiles do not overlap" if apart[k] else why
        at = of[chosen] if chosen is not None else None
        others = np.delete(correlations[k], chosen if chosen is not None else [])
        record: dict[str, Any] = {
            "first": int(lattice.ids[pairs[k, 0]]),
            "second": int(lattice.ids[pairs[k, 1]]),
            "axis": axes[k],
            "trusted": not why,
            "why": why,
            "correlation": np.nan if at is None else at.correlation,
            "runner_up": float(others.max()) if len(others) else np.nan,
            "overlap": np.nan if at is None else at.overlap,
            "likeness": np.nan if at is None else at.likeness,
            "error_px": np.nan if at is None else max(at.error_px, default=np.nan),
        }
        for axis, dim in enumerate(dims):
            record[f"nominal_{dim}_px"] = nominal[k, axis]
            record[f"offset_{dim}_px"] = np.nan if at is None else at.offset_px[axis]
            record[f"model_{dim}_px"] = models[k].step_px[axis]
        records.append(record)
    names = ["first", "second", "axis", "trusted", "why", "correlation", "runner_up", "overlap"]
    names += ["likeness", "error_px"]
    names += [f"{what}_{dim}_px" for dim in dims for what in ("nominal", "offset", "model")]
    return pd.DataFrame.from_records(records, columns=names)


def _parities(lattice: Lattice, pairs: np.ndarray, axes: Sequence[str]) -> list[int]:
    """For each pair whether its row is an odd one: one driven back, perhaps."""
    dim = lattice_dim("y")
    if dim not in lattice.dims:
        return [0] * len(axes)
    column = lattice.dims.index(dim)
    return (lattice.index[pairs[:, 0], column] % 2).tolist()  # type: ignore[no-any-return]


def _chance(
    offsets: Sequence[np.ndarray], correlations: Sequence[np.ndarray], models: Sequence[StepModel]
) -> float:
    """Correlation that wrong places hardly reach: candidates that no model admits."""
    wrong = [
        value
        for at, of, model in zip(offsets, correlations, models, strict=True)
        for where, value in zip(at, of, strict=True)
        if not model.admits(where)
    ]
    return float(np.percentile(wrong, CHANCE)) if wrong else 1.0


def _chosen(
    found: Sequence[Candidate], correlations: np.ndarray, model: StepModel, chance: float
) -> tuple[int | None, str]:
    """The candidate to go by, and why it is not to be trusted (empty if it is)."""
    if not found:
        return None, "nothing to compare: no contrast, or saturated"
    inside = [k for k, of in enumerate(found) if model.admits(of.offset_px)]
    if not inside:
        return 0, "contradicts the other pairs" if _stands_out(found) else "nothing in common"
    best = inside[0]
    unsure = _doubt(found[best])
    if unsure:
        return best, unsure
    if best == 0 and _stands_out(found):
        return 0, ""
    if correlations[best] < LEAST_CORRELATION:  # 0 where noise would do as well
        return best, "nothing in common"
    if not model.votes:
        return best, "ambiguous: no other pairs to go by"
    if best == 0 or correlations[best] > chance:
        return best, ""
    return best, "no better than chance"


def _doubt(found: Candidate) -> str:
    """What the pixels themselves have against a candidate, if anything."""
    if not found.error_px:
        return ""
    if found.likeness < LEAST_LIKENESS:
        return "nothing in common, looked at closely"
    return "where exactly is not to be seen" if max(found.error_px) > MOST_ERROR_PX else ""


__all__ = ["judge", "register"]
