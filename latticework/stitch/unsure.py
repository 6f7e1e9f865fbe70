"""Which links that are not sure to the pixel are gone by, where no better ones join the tiles."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree


def where_no_others(
    n: int, rows: np.ndarray, trusted: np.ndarray, error_px: np.ndarray
) -> np.ndarray:
    """Unsure links between tiles that nothing better joins.

    Between tiles without any trusted link all of them: they even out among each other. Else the
    least unsure ones that join what is apart, and none that would close a loop with trusted links
    and draw them aside.

    Parameters
    ----------
    n
        Number of tiles.
    rows
        (links, 2): rows of the two tiles of each link.
    trusted
        (links,): those that are sure.
    error_px
        (links,): how unsure the others are; infinite for those that do not count.

    Returns
    -------
    ndarray
        (links,), bool.

    Examples
    --------
    Three tiles that are joined, and one that two unsure links join to them:

    >>> rows = np.array([[0, 1], [1, 2], [2, 3], [1, 3]])
    >>> trusted = np.array([True, True, False, False])
    >>> where_no_others(4, rows, trusted, np.array([0.1, 0.1, 0.9, 0.7])).tolist()
    [False, False, False, True]
    """
    unsure = ~trusted & np.isfinite(error_px)
    if not unsure.any():
        return np.zeros(len(rows), bool)
    reached = np.zeros(n, bool)
    reached[rows[trusted].ravel()] = True
    alone = unsure & ~reached[rows].any(axis=1)
    firm = trusted | alone
    use = np.flatnonzero(firm | unsure)
    length = np.where(firm, 1.0, 2.0 + np.where(unsure, error_px, 0.0))[use]
    low, high = rows[use].min(axis=1), rows[use].max(axis=1)
    tree = minimum_spanning_tree(sparse.csr_matrix((length, (low, high)), (n, n))).tocoo()
    kept = set(zip(tree.row.tolist(), tree.col.tolist(), strict=True))
    joins = np.zeros(len(rows), bool)
    joins[use] = [pair in kept for pair in zip(low.tolist(), high.tolist(), strict=True)]
    return np.asarray(alone | (unsure & joins))


__all__ = ["where_no_others"]
