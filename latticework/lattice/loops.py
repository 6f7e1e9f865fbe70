"""Which links are part of a loop, so that others can confirm or contradict them."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components


def in_no_loop(n: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which links nothing confirms: without them, what they join would be apart.

    Each link outside of a spanning tree closes a loop with links of the tree, and gives these a
    random number; numbers on the same link are combined by exclusive or. What has none is in no
    loop (but for a chance of 2 to the minus 64).

    Parameters
    ----------
    n
        Number of tiles.
    first, second
        (links,): rows of the two tiles of each link.

    Returns
    -------
    ndarray
        (links,), bool.

    Examples
    --------
    Three in a loop, and a fourth at one of them:

    >>> in_no_loop(4, np.array([0, 1, 0, 2]), np.array([1, 2, 2, 3])).tolist()
    [False, False, False, True]
    """
    if not len(first):
        return np.zeros(0, bool)
    low, high = np.minimum(first, second), np.maximum(first, second)
    edges, which, times = np.unique(low * n + high, return_inverse=True, return_counts=True)
    a, b = edges // n, edges % n
    graph = sparse.coo_matrix((np.ones(len(a)), (a, b)), (n, n))
    heads = np.unique(connected_components(graph, directed=False)[1], return_index=True)[1]
    rooted = sparse.csr_matrix(
        (
            np.ones(len(a) + len(heads)),
            (np.concatenate([a, heads]), np.concatenate([b, np.full(len(heads), n)])),
        ),
        (n + 1, n + 1),
    )
    order, parent = breadth_first_order(rooted, n, directed=False)
    in_tree = (parent[a] == b) | (parent[b] == a)
    marks = np.random.default_rng(0).integers(1, 2**63, len(a), dtype=np.uint64)
    sums = np.zeros(n + 1, np.uint64)
    for end in (a[~in_tree], b[~in_tree]):
        np.bitwise_xor.at(sums, end, marks[~in_tree])
    total = sums.tolist()
    for node, above in zip(order[:0:-1].tolist(), parent[order[:0:-1]].tolist(), strict=True):
        total[above] ^= total[node]
    child = np.where(parent[a] == b, a, b)
    alone = in_tree & (np.array(total, np.uint64)[child] == 0) & (times == 1)
    return np.asarray(alone[which])


__all__ = ["in_no_loop"]
