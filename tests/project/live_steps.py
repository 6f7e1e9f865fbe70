"""Stages of the tests of live acquisitions; workers import them."""

import numpy as np


def doubled(tile):
    """A map."""
    return tile * 2


def with_next(tile, neighbours):
    """A pair: the tile with the first pixels of the one at its right."""
    beside = neighbours["+x"]
    return tile + (0 if beside is None else beside.values[:1, :1])


def smoothed(tile):
    """A map with a halo: a running mean over three pixels along x."""
    padded = tile.astype("f4")
    return (padded + padded.roll(x=1) + padded.roll(x=-1)) / 3


def digest(tile):
    """A record."""
    return {"sum": float(np.asarray(tile, dtype="f8").sum())}


def total(records):
    """Everything together."""
    return {"sum": float(records["sum"].sum()), "n": len(records)}


def row_sum(tiles):
    """One number for each row of tiles."""
    return {"sum": float(tiles.sum().compute())}
