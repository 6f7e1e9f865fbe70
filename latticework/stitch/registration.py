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
from latticework.lattice.loops import in_no_loop
from latticework.stitch.far_pairs import farther, parities_of
from latticework.stitch.fusing import check_pixels
from latticework.stitch.large_pairs import match_strips
from latticework.stitch.pairs import Candidate, correlations_of
from latticework.stitch.reaching import Reach, reach_of
from latticework.stitch.stage_model import (
    EVIDENT,
    LEAST_CORRELATION,
    LEAST_GATE_PX,
    RIVAL,
    SURE_LIKENESS,
    StepModel,
    fit_steps,
    is_clear,
    is_sure,
    stands_out,
)
from latticework.stitch.tiles import NO_OVERLAP, Pairs, overlapping, read_tile
from latticework.stitch.unsure import where_no_others

if TYPE_CHECKING:
    import pandas as pd

LEAST_LIKENESS, MOST_ERROR_PX = 0.2, 0.5
"""What a fit of the pixels themselves has to reach, and how unsure it may be."""
LIKELIER = 16.0
"""By how much more, in squares of standard deviations, the other of two places as good has to lie
off the model."""
ALONE_LIKENESS = 0.8
"""What it has to reach if nothing but these pixels speaks for it: cells look alike."""
OBJECTS, MORE_OBJECTS = 1.3, 3.0
"""Objects by which two tiles have to match if nothing else speaks for it: one that looks like
another is no proof. 1.3 are one and another that has an eighth of all that is shared.
So many more if they are less alike."""
PLAIN = 1.6
"""How many times what is evident a match that is alone, and not looked at closely, has to reach."""
UNSURE_PX = 1.0
"""How unsure it may be where no others join two tiles and the stage is less sure."""
UNSURE = "where exactly is not to be seen"
UNSEEN = "not looked at closely: other places match better"
CHANCE = 99.0
"""Percentile of the correlations of wrong places that a right one has to exceed."""


def register(
    lattice: Lattice,
    *,
    channel: int = 0,
    across: str | None = None,
    reference: Label | None = None,
    reach: Reach | None = None,
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
        How far tiles may lie from their nominal offsets, in pixels: one number, by axis as in
        ``{"y": 40, "x": 20}``, or one for each spatial dim in order; if not given, as
        `latticework.stitch.pairs.reach_px` has it.
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
    within = reach_of(reach, pairs.dims)
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
            reach=within,
            dark=dark,
        )

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        list(pool.map(look, np.flatnonzero(pairs.there)))
        if within is None:
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
    reach: Sequence[float] | None = None,
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
    reach
        How far pairs were looked for, in pixels along each axis, if candidates do not tell: they do
        where there are several of each pair.

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
    votes = [_votes(of) for of in candidates]
    models = fit_steps(pairs.kinds, parities, offsets, votes, nominal, evident=evident, reach=reach)
    chance = _chance(offsets, correlations, models)
    lone = _lone(lattice, pairs, candidates)
    told = [
        _chosen(of, correlations[k], models[k], chance, evident, lone=bool(lone[k]))
        for k, of in enumerate(candidates)
    ]
    reasons = _with_unsure(lattice, pairs, candidates, told, models)
    records = []
    for k, of in enumerate(candidates):
        chosen, why = told[k][0], NO_OVERLAP if apart[k] else reasons[k]
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


def _with_unsure(
    lattice: Lattice,
    pairs: Pairs,
    found: Sequence[Sequence[Candidate]],
    told: Sequence[tuple[int | None, str]],
    models: Sequence[StepModel],
) -> list[str]:
    """Why pairs are not to be trusted; not that they are unsure, where they are needed.

    They are where no others join two tiles, and the stage is less sure than they are.
    """
    reasons = [why for _, why in told]
    error = np.full(len(told), np.inf)
    for k, (chosen, why) in enumerate(told):
        if why == UNSURE and chosen is not None and models[k].votes:
            of = found[k][chosen]
            limit = np.clip(models[k].spread_px, MOST_ERROR_PX, UNSURE_PX)
            if of.likeness >= SURE_LIKENESS and (np.array(of.error_px) <= limit).all():
                error[k] = max(of.error_px)
    trusted = np.array([not why for why in reasons], bool) & pairs.there
    needed = where_no_others(len(lattice), pairs.rows, trusted, error)
    return ["" if need else why for need, why in zip(needed.tolist(), reasons, strict=True)]


def _votes(found: Sequence[Candidate]) -> np.ndarray:
    """What candidates count for the model: correlations, 0 where their own pixels refute them.

    A pattern that stays on the camera matches by chance at the same wrong place in each pair, since
    all of them compare the same two strips of it: that so many agree says nothing.
    """
    refuted = [_refuted(of) for of in found]
    return np.where(refuted, 0.0, correlations_of(found))


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
    *,
    lone: bool,
) -> tuple[int | None, str]:
    """The candidate to go by, and why it is not to be trusted (empty if it is)."""
    if not found:
        return None, "nothing to compare: no contrast, or saturated"
    if _is_right_by_itself(found, model, lone=lone):
        return 0, ""
    plain = stands_out(found, at_least=evident) and not _refuted(found[0])
    inside = [k for k, of in enumerate(found) if model.admits(of.offset_px)]
    if not inside or (plain and RIVAL * found[0].correlation > found[inside[0]].correlation):
        return 0, "contradicts the other pairs" if plain else "nothing in common"
    best = inside[0]
    if (
        best == 0
        and plain
        and not _doubt(found[0])
        and (model.votes or _is_proof(found[0], evident, lone=lone))
    ):
        return 0, ""
    next_best = next((k for k in inside if not _refuted(found[k])), best)
    if model.votes and next_best != best:  # pixels refute the best; is there another to be trusted?
        told = _by_the_model(found, correlations, next_best, inside, model, chance)
        if not told[1]:
            return told
    return _by_the_model(found, correlations, best, inside, model, chance)


def _by_the_model(
    found: Sequence[Candidate],
    correlations: np.ndarray,
    best: int,
    inside: Sequence[int],
    model: StepModel,
    chance: float,
) -> tuple[int, str]:
    """A candidate that the model admits, or one as good, and why it is not to be trusted."""
    unsure = _doubt(found[best])
    if unsure:
        return best, unsure
    if found[0].error_px and not found[best].error_px:
        return best, UNSEEN
    if correlations[best] < LEAST_CORRELATION:  # 0 where noise would do as well
        return best, "nothing in common"
    if not model.votes:
        return best, "ambiguous: no other pairs to go by"
    rivals = [k for k in inside if _is_rival(found[k], found[best])]
    if rivals:
        return _likeliest(found, [best, *rivals], model)
    return best, "" if best == 0 or correlations[best] > chance else "no better than chance"


def _is_right_by_itself(found: Sequence[Candidate], model: StepModel, *, lone: bool) -> bool:
    """Whether pixels leave no doubt of the best candidate, and a model hardly contradicts it.

    Without a model it has to be clearly more than noise: nothing else speaks for it.
    """
    near = model.admits(found[0].offset_px, by_itself=True)
    if not model.votes:
        alike = found[0].likeness >= ALONE_LIKENESS
        return near and is_clear(found) and alike and _is_proof(found[0], lone=lone)
    return near and stands_out(found, at_least=LEAST_CORRELATION) and is_sure(found[0])


def _lone(lattice: Lattice, pairs: Pairs, found: Sequence[Sequence[Candidate]]) -> np.ndarray:
    """Which pairs are part of no loop that could contradict them; (pairs,), bool."""
    some = np.flatnonzero([len(of) > 0 for of in found])
    lone = np.zeros(len(found), bool)
    lone[some] = in_no_loop(len(lattice), pairs.rows[some, 0], pairs.rows[some, 1])
    return lone


def _is_proof(of: Candidate, evident: float = EVIDENT, *, lone: bool) -> bool:
    """Whether a match that no model confirms is more than two cells that look alike.

    If it is too narrow to be looked at closely it has to match very well. Where no loop can
    contradict it, either, more than one object has to match, and several if they are less alike.
    """
    if not of.error_px and of.correlation < PLAIN * evident:
        return False
    alike = not of.error_px or of.likeness >= ALONE_LIKENESS
    return not lone or of.objects >= (OBJECTS if alike else MORE_OBJECTS)


def _is_rival(other: Candidate, best: Candidate) -> bool:
    """Whether a pair may as well lie elsewhere, for all that the two candidates say."""
    apart = np.abs(np.subtract(other.offset_px, best.offset_px)).max() > 2 * LEAST_GATE_PX
    worse = _refuted(other) or (bool(other.error_px) and is_sure(best) and not is_sure(other))
    return bool(apart and not worse and other.correlation > RIVAL * best.correlation)


def _likeliest(
    found: Sequence[Candidate], places: Sequence[int], model: StepModel
) -> tuple[int, str]:
    """Of places that are as good, as a texture that repeats has them, that nearest the model."""
    far = {k: model.deviance(found[k].offset_px) for k in places}
    nearest, second, *_ = sorted(places, key=lambda k: far[k])
    sure = far[second] - far[nearest] > LIKELIER and not _doubt(found[nearest])
    return nearest, "" if sure else "ambiguous: what is seen repeats"


def _refuted(found: Candidate) -> bool:
    """Whether the pixels that both show have nothing in common there."""
    return bool(found.error_px) and not found.likeness >= LEAST_LIKENESS


def _doubt(found: Candidate) -> str:
    """What the pixels themselves have against a candidate, if anything."""
    if not found.error_px:
        return ""
    if _refuted(found):
        return "nothing in common, looked at closely"
    return UNSURE if max(found.error_px) > MOST_ERROR_PX else ""


__all__ = ["judge", "register"]
