"""Stages that take memory, and one that tells how much its worker has."""

import time

import numpy as np


def take_memory(tile, *, ids, megabytes):
    """Tile plus one; some of the tiles take memory, as C code would and as Python code does."""
    if int(tile.attrs["tile_id"]) in ids:
        parts = []
        for _ in range(megabytes // 20):
            parts.append(np.ones(20 * 2**17))
            time.sleep(0.001)
        time.sleep(0.3)
    return tile + np.asarray(1, tile.dtype)


def take_memory_at_once(tile, *, ids, megabytes):
    """The same in one go: no line of Python runs while the memory fills."""
    if int(tile.attrs["tile_id"]) in ids:
        held = np.ones(megabytes * 2**17)
        time.sleep(0.3)
        return tile + np.asarray(held[0], tile.dtype)
    return tile + np.asarray(1, tile.dtype)


_leaked = []


def leak(tile, *, megabytes):
    """Every tile leaves some memory behind that is never given back."""
    _leaked.append(np.ones(megabytes * 2**17))
    return tile + np.asarray(1, tile.dtype)


def pool_of(_tile):
    """The memory limit of the worker that ran it, MiB."""
    from distributed import get_worker

    return {"limit": get_worker().memory_manager.memory_limit // 2**20}
