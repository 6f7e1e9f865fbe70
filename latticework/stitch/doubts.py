"""Which trusted links are not to be believed after all, once all are seen together."""

from typing import TYPE_CHECKING

import numpy as np

from latticework.lattice.loops import in_no_loop
from latticework.stitch.stage_model import APART

if TYPE_CHECKING:
    import pandas as pd

LEAST_DOUBT_PX = 1.5
"""Contradiction beyond which a link may count as an outlier."""
OUTLIER = 6.0
"""Contradiction, in robust standard deviations of all of them, beyond which it does."""
CLOSE_PX = 1.0
"""How near the stage model a link can do no harm."""
BY_HAND = "by hand"
CONTRADICTS, ALONE = "contradicts its loops", "no loop confirms it, and it does not stand out"


def by_hand(links: "pd.DataFrame") -> np.ndarray:
    """Which links a person trusts: those that are ``fixed``, or trusted against a reason.

    Examples
    --------
    >>> import pandas as pd
    >>> by_hand(
    ...     pd.DataFrame({"trusted": [True, True, False], "why": ["", "ambiguous", "ambiguous"]})
    ... ).tolist()
    [False, True, False]
    """
    told = (links.why.notna() & (links.why != "")).to_numpy(bool)
    against = links.trusted.to_numpy(bool) & told
    if "fixed" in links:
        fixed = links.fixed.fillna(value=False).to_numpy(bool)
        against |= fixed & links.trusted.to_numpy(bool)
    return np.asarray(against)


class Doubts:
    """What speaks against links: the others, or that nothing speaks for them.

    Parameters
    ----------
    links
        As given.
    from_model
        (links, axes): how far each lies from the model of the stage, in pixels.
    firm
        (links,): those that are never doubted.
    """

    def __init__(self, links: "pd.DataFrame", from_model: np.ndarray, firm: np.ndarray) -> None:
        self.firm = firm
        self.near_model = _near_model(links, from_model)
        runner_up = links.runner_up.to_numpy("f8") if "runner_up" in links else np.zeros(len(links))
        ahead = links.correlation.to_numpy("f8") - np.nan_to_num(runner_up)
        self.stands_out = ahead >= APART

    def of(
        self,
        n: int,
        first: np.ndarray,
        second: np.ndarray,
        trusted: np.ndarray,
        residuals: np.ndarray,
        held: np.ndarray,
        *,
        loops: bool = True,
    ) -> dict[str, np.ndarray]:
        """Rows of the trusted links that are in doubt, by the reason; empty if none is.

        A link that is part of no loop is contradicted by nothing. It is believed if it stands out
        among what was found for its pair, or lies where the stage model has it: otherwise the tile
        behind it is better placed by the model.

        Parameters
        ----------
        n
            Number of tiles.
        first, second, trusted, residuals
            Of all links; residuals in pixels.
        held
            Rows of tiles whose positions are known: they close loops, too.
        loops
            Whether links that contradict others are in doubt.
        """
        wrong = contradicting(n, first, second, trusted, residuals, self.firm)
        if loops and len(wrong):
            return {CONTRADICTS: wrong}
        use = np.flatnonzero(trusted)
        chain = held[:-1], held[1:]
        alone = in_no_loop(
            n, np.concatenate([first[use], chain[0]]), np.concatenate([second[use], chain[1]])
        )
        rows = use[alone[: len(use)]]
        rows = rows[~(self.firm | self.stands_out | self.near_model)[rows]]
        return {ALONE: rows} if len(rows) else {}


def contradicting(
    n: int,
    first: np.ndarray,
    second: np.ndarray,
    trusted: np.ndarray,
    residuals: np.ndarray,
    firm: np.ndarray,
) -> np.ndarray:
    """Rows of trusted links that contradict the others, more than any other at their two tiles.

    A wrong one makes right ones beside it look wrong as well, so the worst come first.

    Parameters
    ----------
    n
        Number of tiles.
    first, second, trusted, residuals, firm
        Of all links.
    """
    left = residuals[trusted]
    if not len(left):
        return np.zeros(0, np.int64)
    limit = max(LEAST_DOUBT_PX, OUTLIER * 1.4826 * float(np.median(left)))
    wrong = np.flatnonzero(trusted & ~firm)
    wrong = wrong[residuals[wrong] > limit]
    worst = np.zeros(n)
    for end in (first[wrong], second[wrong]):
        np.maximum.at(worst, end, residuals[wrong])
    least = np.maximum(worst[first[wrong]], worst[second[wrong]])
    return np.asarray(wrong[residuals[wrong] >= least])


def _near_model(links: "pd.DataFrame", from_model: np.ndarray) -> np.ndarray:
    """Which links lie as near the model as half of the trusted ones along their axis."""
    near = np.zeros(len(links), bool)
    trusted, axis = links.trusted.to_numpy(bool), links["axis"].to_numpy()
    for name in set(axis.tolist()):
        of = axis == name
        spread = np.zeros(from_model.shape[1])
        if (of & trusted).any():
            spread = np.median(np.abs(from_model[of & trusted]), axis=0)
        near |= of & (np.abs(from_model) <= np.maximum(CLOSE_PX, spread)).all(axis=1)
    return near


__all__ = ["BY_HAND", "CONTRADICTS", "Doubts", "by_hand", "contradicting"]
