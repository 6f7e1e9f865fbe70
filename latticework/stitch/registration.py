"""All overlapping pairs of a lattice: where the second tile of each may lie, and what to believe.

One row for each pair, with what was expected, what was found, and whether that is to be trusted
and why.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.lattice import Label, Lattice
from latticework.stitch.far_pairs import farther, parities_of
from latticework.stitch.fusing import check_pixels
from latticework.stitch.large_pairs import match_strips
from latticework.stitch.pairs import Candidate, correlations_of
from latticework.stitch.stage_model import EVIDENT, StepModel, fit_steps, stands_out
from latticework.stitch.tiles import NO_OVERLAP, Pairs, overlapping, read_tile

if TYPE_CHECKING:
    import pandas as pd

LEAST_CORRELATION = 0.08
"""What is below has nothing in common."""
LEAST_LIKENESS, MOST_ERROR_PX = 0.2, 0.5
"""What a fit of the pixels themselves has to reach, and how unsure it may be."""
CHANCE = 99.0
"""Percentile of the correlations of wrong places that a right one has to exceed."""


def register(
    lattice: Lattice,
    *,
    channel: int = 0,
    across: str | None = None,
    reference: Label | None = None,
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
    across
        A lattice dim beside the spatial ones, such as ``"round"``: each tile is compared with the
        one at the same place of the grid in the reference as well, so that all are placed in one
        frame.
    reference
        Label of that dim with which the others are compared; the first if not given.
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
    check_pixels(lattice)
    pairs = overlapping(lattice, across=across, reference=reference)
    expected = pairs.nominal.copy()
    found: list[list[Candidate] | None] = [None] * len(pairs.rows)

    def look(k: int) -> None:
        first, second = (int(row) for row in pairs.rows[k])
        found[k] = match_strips(
            read_tile(lattice, first, channel),
            read_tile(lattice, second, channel),
            pairs.shapes(k),
            tuple(expected[k]),
            pairs.dims,
            reach=reach,
            dark=dark,
        )

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        list(pool.map(look, np.flatnonzero(pairs.there)))
        if reach is None:
            steps = farther(lattice, pairs, found, channel=channel, dark=dark, pool=pool)
            for axis, step in steps.items():
                rows = np.flatnonzero(pairs.there & (np.array(pairs.axes) == axis))
                expected[rows] += step
                list(pool.map(look, rows))
    return judge(lattice, pairs, found)


def judge(
    lattice: Lattice,
    pairs: Pairs,
    found: Sequence[Sequence[Candidate] | None],
    *,
    evident: float = EVIDENT,
) -> "pd.DataFrame":
    """What to believe of the candidates of all pairs.

    A pair has to agree pixel by pixel (`latticework.stitch.refining`), where enough overlaps to
    tell. Then it is trusted where its best candidate stands out by itself, or lies where the model
    of the stage has it and is better than chance, unless it contradicts that model.

    Parameters
    ----------
    lattice, pairs
        Whose pairs they are, and which.
    found
        Candidates of each pair; None where they do not overlap.
    evident
        Correlation from which a pair can be believed by itself.

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

    dims, axes, nominal = pairs.dims, pairs.axes, pairs.nominal
    n = len(dims)
    apart = [of is None for of in found]
    candidates: list[Sequence[Candidate]] = [of or () for of in found]
    offsets = [np.reshape([c.offset_px for c in of], (-1, n)) for of in candidates]
    correlations = [correlations_of(of) for of in candidates]
    parities = parities_of(lattice, pairs.rows)
    models = fit_steps(pairs.kinds, parities, offsets, correlations, nominal, evident=evident)
    chance = _chance(offsets, correlations, models)
    records = []
    for k, of in enumerate(candidates):
        chosen, why = _chosen(of, correlations[k], models[k], chance, evident)
        why = NO_OVERLAP if apart[k] else why
        at = of[chosen] if chosen is not None else None
        others = np.delete(correlations[k], chosen if chosen is not None else [])
        record: dict[str, Any] = {
            "first": int(lattice.ids[pairs.rows[k, 0]]),
            "second": int(lattice.ids[pairs.rows[k, 1]]),
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
    found: Sequence[Candidate],
    correlations: np.ndarray,
    model: StepModel,
    chance: float,
    evident: float,
) -> tuple[int | None, str]:
    """The candidate to go by, and why it is not to be trusted (empty if it is)."""
    if not found:
        return None, "nothing to compare: no contrast, or saturated"
    inside = [k for k, of in enumerate(found) if model.admits(of.offset_px)]
    if not inside:
        plain = stands_out(found, at_least=evident)
        return 0, "contradicts the other pairs" if plain else "nothing in common"
    best = inside[0]
    unsure = _doubt(found[best])
    if unsure:
        return best, unsure
    if best == 0 and stands_out(found, at_least=evident):
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
