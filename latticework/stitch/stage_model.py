"""What all pairs of a lattice have in common: the true step of the stage, the angle of the camera.

All neighbours at the same offset in the lattice should lie to each other in the same way. Where
they do is found by a vote of the candidates of all of these pairs, each with its correlation: what
is right agrees, what is wrong is scattered. So a lattice of which most overlaps show nothing still
has a model. A stage that moves to and fro (snake) may have backlash: rows driven one way lie
shifted against those driven the other way. Where the two kinds of rows clearly differ, each has a
model of its own.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from latticework.stitch.pairs import Candidate

WIDTH_PX = 1.5
"""How near two votes are to each other to count as the same, as a standard deviation."""
LEAST_VOTES = 3
"""Pairs that have to agree for a model."""
CHANCE = 1e-3
"""Probability of a model where there is none."""
RIVAL = 0.75
"""Votes for another place, as a share of those for the best, from which there is no model: the
texture repeats."""
EVIDENT, APART = 0.5, 0.15
"""Correlation of the best candidate of a pair, and how much better it is than the second, from
which it is believed without a model; the second may be no rival to it either."""
LEAST_CORRELATION = 0.08
"""What is below has nothing in common."""
CLEARLY = 2.5
"""How many times the correlation that noise reaches is clearly more."""
SURE_LIKENESS, SURE_ERROR_PX = 0.5, 0.3
"""What a fit of the pixels themselves has to reach to leave no doubt."""
FEW = 10
"""Votes that may be wrong by a factor of two about how much pairs differ."""
LEAST_GATE_PX = 3.0
"""How far a pair may lie from its model, at least."""


@dataclass(frozen=True, slots=True)
class StepModel:
    """How neighbours at one offset of the lattice lie to each other."""

    step_px: tuple[float, ...]
    """Offset, in pixels along the tile's dims."""
    spread_px: tuple[float, ...]
    """How much pairs differ from that, as a standard deviation."""
    votes: int
    """Pairs that agree; 0 where there is no model, and the step is the nominal one."""

    @property
    def gate_px(self) -> tuple[float, ...]:
        """How far from the step a pair can lie and be believed."""
        return tuple(max(LEAST_GATE_PX, 6 * s + 1) for s in self.spread_px)

    def admits(self, offset: Sequence[float], *, by_itself: bool = False) -> bool:
        """Whether a pair may lie like this; without a model nothing speaks against it.

        Few pairs tell little of how much pairs differ: what is right by itself may lie further away
        the fewer there are.
        """
        wider = 1 + FEW / max(self.votes, 1) if by_itself else 1.0
        return not self.votes or all(
            abs(d - m) <= wider * g
            for d, m, g in zip(offset, self.step_px, self.gate_px, strict=True)
        )

    def deviance(self, offset: Sequence[float]) -> float:
        """How far from the step a pair lies, as a sum of squares of standard deviations."""
        apart = np.subtract(offset, self.step_px) / np.maximum(self.spread_px, 1.0)
        return float(np.square(apart).sum())


def is_evident(correlations: Sequence[float] | np.ndarray, *, at_least: float = EVIDENT) -> bool:
    """Whether the best candidate of a pair is right for all one can tell from the pair alone.

    Parameters
    ----------
    correlations
        Of its candidates, the best first.
    at_least
        Correlation of the best.

    Examples
    --------
    >>> is_evident([0.8, 0.3]), is_evident([0.8, 0.75]), is_evident([0.2]), is_evident([])
    (True, False, False, False)
    """
    first, second = [*map(float, correlations), 0.0, 0.0][:2]
    apart = max(APART, (1 - RIVAL) * first)
    return bool(first >= at_least and first - max(second, 0.0) >= apart)


def stands_out(found: "Sequence[Candidate]", *, at_least: float = EVIDENT) -> bool:
    """Whether the best candidate of a pair is right, for all that can be told from it alone."""
    values = [of.correlation for of in found]
    return bool(found) and is_evident(values, at_least=at_least) and values[0] > found[0].by_chance


def is_sure(found: "Candidate") -> bool:
    """Whether the pixels themselves leave no doubt of a candidate, unless what is seen repeats."""
    exact = bool(found.error_px) and max(found.error_px) <= SURE_ERROR_PX
    return exact and found.likeness >= SURE_LIKENESS


def is_clear(found: "Sequence[Candidate]") -> bool:
    """Whether pixels alone leave no doubt of the best candidate of a pair.

    However little of all that is compared both show: it has to be clearly more than noise, and
    there is no other place.
    """
    if not stands_out(found, at_least=LEAST_CORRELATION):
        return False
    return found[0].correlation >= CLEARLY * found[0].by_chance and is_sure(found[0])


def fit_step(
    offsets: Sequence[np.ndarray],
    correlations: Sequence[np.ndarray],
    nominal: Sequence[float] | np.ndarray,
    *,
    evident: float = EVIDENT,
    reach: Sequence[float] | None = None,
) -> StepModel:
    """The model of pairs that should lie alike.

    Parameters
    ----------
    offsets
        For each pair the offsets of its candidates, (candidates, axes), in pixels.
    correlations
        For each pair the correlations of these; 0 for those that do not count.
    nominal
        The step without a model.
    evident
        Correlation from which a pair can be believed without a model.
    reach
        How far from there pairs were looked for, in pixels along each axis. If not given, as far as
        candidates lie apart, those that do not count as well.

    Examples
    --------
    >>> rng = np.random.default_rng(3)
    >>> pairs = [np.array([[5.0, 92.0], *rng.uniform(75, 105, (2, 2))]) for _ in range(12)]
    >>> model = fit_step(pairs, [np.full(3, 0.1)] * 12, (0, 90))
    >>> [round(float(s), 1) for s in model.step_px], model.votes >= 11
    ([5.0, 92.0], True)
    """
    n = len(nominal)
    none = StepModel(tuple(map(float, nominal)), (0.0,) * n, 0)
    owner = np.repeat(np.arange(len(offsets)), [len(pair) for pair in offsets])
    if not len(owner):
        return none
    plain = [
        pair[0]
        for pair, of in zip(offsets, correlations, strict=True)
        if is_evident(of, at_least=evident)
    ]
    if len(plain) >= LEAST_VOTES:
        middle = np.median(plain, axis=0)
        width = 1.4826 * np.median(np.abs(plain - middle), axis=0)
        return StepModel(tuple(map(float, middle)), tuple(map(float, width)), len(plain))
    votes = np.concatenate([np.reshape(pair, (-1, n)) for pair in offsets])
    weight = np.clip(np.concatenate([np.asarray(c, "f8") for c in correlations]), 0, 1)
    best, support = _densest(votes, weight, owner)
    room = np.ptp(votes, axis=0) if reach is None else 2 * np.asarray(reach, "f8")
    chance = best is None or _by_chance(support, int((weight > 0).sum()), room + 1)
    if best is None or support < LEAST_VOTES or chance:
        return none
    centre, width = best, np.full(n, WIDTH_PX)
    for _ in range(20):
        near = (np.abs(votes - centre) <= np.maximum(3 * width, LEAST_GATE_PX)).all(axis=1)
        near &= weight > 0
        chosen = _one_each(near, weight, owner)
        if not len(chosen):
            return none
        moved = _weighted_median(votes[chosen], weight[chosen])
        width = 1.4826 * np.median(np.abs(votes[chosen] - moved), axis=0)
        if np.allclose(moved, centre, atol=1e-3):
            break
        centre = moved
    return StepModel(tuple(map(float, moved)), tuple(map(float, width)), len(chosen))


def _densest(
    votes: np.ndarray, weight: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """Where votes of most pairs lie close together, and of how many; None if there are two such."""
    from scipy.spatial import cKDTree

    tree = cKDTree(votes)
    close = [np.asarray(near) for near in tree.query_ball_point(votes, 3 * WIDTH_PX)]
    value = np.zeros(len(votes))
    for k, near in enumerate(close):
        distance = np.square(votes[near] - votes[k]).sum(axis=1)
        value[k] = (weight[near] * np.exp(-distance / (2 * WIDTH_PX**2))).sum()
    best = int(value.argmax())
    elsewhere = np.linalg.norm(votes - votes[best], axis=1) > 2 * LEAST_GATE_PX
    if value[best] <= 0 or value[elsewhere].max(initial=0) > RIVAL * value[best]:
        return None, 0
    near = close[best]
    return votes[best], len(np.unique(owner[near[weight[near] > 0]]))


def _by_chance(support: int, votes: int, sides: np.ndarray) -> bool:
    """Whether so many of some votes may lie together by chance, wherever that would be.

    Scattered evenly, the number in a place is Poisson's; there are many places.

    Parameters
    ----------
    support
        Pairs that agree.
    votes
        How many there are.
    sides
        Of the box within which they could be, in pixels. Where they are does not tell that: all of
        them may agree.
    """
    from scipy.special import gamma, gammainc

    n = len(sides)
    room = float(np.prod(sides))
    place = np.pi ** (n / 2) / gamma(n / 2 + 1) * (3 * WIDTH_PX) ** n
    expected = votes * min(place / room, 1.0)
    at_one = float(gammainc(support, expected))  # so many or more
    return bool(at_one * max(room / place, 1.0) > CHANCE)


def _one_each(near: np.ndarray, weight: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Of each pair its best vote among those."""
    rows = np.flatnonzero(near)
    rows = rows[np.argsort(-weight[rows], kind="stable")]
    _, first = np.unique(owner[rows], return_index=True)
    return rows[first]


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    order = np.argsort(values, axis=0)
    sums = np.cumsum(weight[order], axis=0)
    at = (sums >= sums[-1] / 2).argmax(axis=0)
    ranked = np.take_along_axis(values, order, axis=0)
    return np.asarray(ranked[at, np.arange(values.shape[1])])


def fit_steps(
    kinds: Sequence[Hashable],
    parities: Sequence[int],
    offsets: Sequence[np.ndarray],
    correlations: Sequence[np.ndarray],
    nominal: np.ndarray,
    *,
    evident: float = EVIDENT,
    reach: Sequence[float] | None = None,
) -> list[StepModel]:
    """The model of each pair.

    Parameters
    ----------
    kinds
        For each pair, its offset in the lattice.
    parities
        For each pair, 0 or 1: which way its row was driven.
    offsets, correlations
        Of the candidates of each pair; see `fit_step`.
    nominal
        Nominal offsets, (pairs, axes); they may differ, models tell the difference from them.
    evident, reach
        See `fit_step`.
    """
    result: list[StepModel] = [None] * len(kinds)  # type: ignore[list-item]
    groups: dict[Hashable, list[int]] = {}
    for k, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(k)
    for members in groups.values():
        centre = np.median(nominal[members], axis=0)
        models = _of_one_kind(
            members, parities, offsets, correlations, nominal, centre, evident=evident, reach=reach
        )
        for k in members:
            result[k] = _moved(models[parities[k]], nominal[k] - centre)
    return result


def _of_one_kind(
    members: Sequence[int],
    parities: Sequence[int],
    offsets: Sequence[np.ndarray],
    correlations: Sequence[np.ndarray],
    nominal: np.ndarray,
    centre: np.ndarray,
    *,
    evident: float,
    reach: Sequence[float] | None,
) -> dict[int, StepModel]:
    def fit(chosen: Sequence[int]) -> StepModel:
        shifted = [np.asarray(offsets[k], "f8") - (nominal[k] - centre) for k in chosen]
        votes = [correlations[k] for k in chosen]
        return fit_step(shifted, votes, centre, evident=evident, reach=reach)

    shared = fit(members)
    parts = {p: [k for k in members if parities[k] == p] for p in (0, 1)}
    if min(map(len, parts.values())) < 2 * LEAST_VOTES:
        return dict.fromkeys((0, 1), shared)
    apart = {p: fit(chosen) for p, chosen in parts.items()}
    if min(model.votes for model in apart.values()) < LEAST_VOTES:
        return dict.fromkeys((0, 1), shared)
    gap = np.abs(np.subtract(apart[0].step_px, apart[1].step_px))
    error = np.hypot(
        *(np.array(model.spread_px) / np.sqrt(max(model.votes, 1)) for model in apart.values())
    )
    return apart if (gap > np.maximum(4 * error, 0.5)).any() else dict.fromkeys((0, 1), shared)


def _moved(model: StepModel, by: np.ndarray) -> StepModel:
    step = tuple(float(s + d) for s, d in zip(model.step_px, by, strict=True))
    return StepModel(step, model.spread_px, model.votes)


__all__ = ["StepModel", "fit_step", "fit_steps"]
