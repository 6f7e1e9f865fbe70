"""Stages whose previews are looked at; workers import them."""

import time

import numpy as np


def plus(tile, *, by=1000):
    return tile + np.asarray(by, tile.dtype)


def slowly_plus(tile, *, by=1000, seconds=0.02):
    time.sleep(seconds)
    return tile + np.asarray(by, tile.dtype)


def bright(tile):
    return int(np.asarray(tile).max())


def labelled(tile, *, by=0):  # noqa: ARG001
    return (np.asarray(tile) > 0).astype("i4") * 70_001


def plane_mean(tiles):
    return tiles.mean("tile").astype("f4")


def profile(tile):
    return np.asarray(tile).mean(axis=-1).ravel()


def spoiling(tile, *, by=1):
    """Writes into what it was given."""
    tile = np.asarray(tile)
    if tile.flags.writeable:
        tile[...] = 0
    return tile + np.asarray(by, tile.dtype)
