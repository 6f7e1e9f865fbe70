"""What this worker keeps in memory of the tiles that it wrote."""

from functools import cache
from typing import Any

import numpy as np

from latticework.io.recent import RecentTiles
from latticework.io.tile_array import TileArray
from latticework.lattice.geometry import Box

MOST_BYTES = 256 * 2**20
"""Memory for recent tiles: what cheap stages write in about two batches."""
SHARE = 16
"""Recent tiles take no more than this part of the worker's memory."""


@cache
def recent_here() -> RecentTiles:
    """The recent tiles of this process."""
    return RecentTiles(allowance(_memory_limit()))


def allowance(limit_bytes: int | None) -> int:
    """Bytes for recent tiles, in a worker that may use so many.

    Examples
    --------
    >>> allowance(64 * 2**30) // 2**20, allowance(2**30) // 2**20, allowance(None) // 2**20
    (256, 64, 256)
    """
    return MOST_BYTES if not limit_bytes else min(MOST_BYTES, limit_bytes // SHARE)


def _memory_limit() -> int | None:
    from distributed import get_worker

    try:
        return int(get_worker().memory_manager.memory_limit or 0) or None
    except ValueError:
        return None


def keep_written(
    store: TileArray,
    staging: Any,
    index: tuple[int, ...],
    pixels: np.ndarray,
    *,
    own: bool = False,
) -> int:
    """Keep what was staged of a tile, if it is one file; how many bytes are held now.

    A copy is kept, unless nobody else has the pixels (`own`).
    """
    recent, keys = recent_here(), store.keys(index)
    if len(keys) == 1:
        native = pixels.astype(store.layout.dtype, copy=False)
        recent.keep(f"{store.path}/{keys[0]}", f"{staging}/{keys[0]}", native, own=own)
    return recent.held_bytes


def find_written(store: TileArray, index: tuple[int, ...], box: Box) -> np.ndarray | None:
    """Pixels of a box of a published tile, if it was written here just now; else None."""
    recent = recent_here()
    if not len(recent):
        return None
    keys = store.keys(index)
    return recent.find(f"{store.path}/{keys[0]}", box) if len(keys) == 1 else None
