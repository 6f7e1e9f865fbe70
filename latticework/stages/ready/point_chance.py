"""How many partners of points chance gives, and how many it does not."""

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, gamma

from latticework.stages.ready.point_shifts import spacing_of

Points = npt.NDArray[np.float64]

SURE = 0.05
"""Probability that a point lies so near by chance, below which its partner is sure."""
FITS, FALSE = 1000.0, 0.0005
"""By how much fitting helps chance; and how many times it may succeed in such a pair."""
BY_LUCK = 10.0
"""Shifts that would have as many sure partners if nothing were the same, from which on partners are
refused."""


def sure_of(second: Points, residual: Points) -> int:
    """How many residuals are smaller than those of most points that are scattered as densely."""
    n = second.shape[1]
    room = float(np.prod(np.ptp(second, axis=0) + 1))
    ball = np.pi ** (n / 2) / gamma(n / 2 + 1) * residual**n
    return int((1 - np.exp(-len(second) * ball / room) < SURE).sum())


def least_sure(could_be: int, trials: float) -> int:
    """Partners that have to be sure for chance to be ruled out (an a-contrario test).

    If nothing were the same, each would be with a probability of `SURE`; but the best of many
    shifts was chosen, and planes were fitted.

    Parameters
    ----------
    could_be
        Points that could have a partner.
    trials
        Shifts that differ, within reach.

    Examples
    --------
    >>> least_sure(10, 50), least_sure(30, 50), least_sure(300, 50)
    (8, 12, 41)
    """
    at_least = bdtrc(np.arange(could_be), could_be, SURE)  # 1, 2, ... or more
    unlikely = at_least * max(trials, 1.0) * FITS < FALSE
    return int(np.argmax(unlikely)) + 1 if unlikely.any() else could_be + 1


def by_luck(sure: int, could_be: int, first: Points, second: Points, reach: Points | None) -> float:
    """How many shifts would have as many sure partners if nothing were the same.

    Each point is sure with a probability of `SURE`, for each of the shifts that differ.
    """
    spacing = min(spacing_of(first), spacing_of(second))
    room = np.ptp(first, axis=0) + np.ptp(second, axis=0) if reach is None else 2 * reach
    shifts = float(np.prod(room / (0.25 * spacing) + 1))
    return float(bdtrc(sure - 1, max(could_be, sure), SURE)) * shifts


__all__ = ["BY_LUCK", "SURE", "by_luck", "least_sure", "sure_of"]
