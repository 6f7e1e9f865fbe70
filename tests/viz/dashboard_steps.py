"""Callables that the tests of the dashboard use as stages: importable by workers."""

import time
from pathlib import Path

import numpy as np


def smooth(tile, *, seconds=0.0):
    from scipy.ndimage import gaussian_filter

    time.sleep(seconds)
    return tile.copy(data=gaussian_filter(tile.to_numpy(), 1))


def moody(tile, *, bad=(), flaky="", seconds=0.0):
    """Fails for good at some tiles, and once at every seventh."""
    number = int(tile.attrs["tile_id"])
    time.sleep(seconds)
    if number in bad:
        if number % 2:
            raise ValueError(f"tile {tile.attrs['tile']} is out of focus: sharpness 0.{number:03d}")
        raise FileNotFoundError(2, "No such file or directory", f"/scratch/flats/{number}.tif")
    mark = Path(flaky) / f"mark-{number}"
    if flaky and number % 7 == 3 and not mark.exists():
        mark.touch()
        raise RuntimeError(f"the disk was busy for {number} ms")
    return tile.copy(data=tile.to_numpy() - tile.to_numpy().min())


def describe(tile):
    values = tile.to_numpy()
    return {"mean": round(float(values.mean()), 2), "largest": int(values.max())}


def plane_mean(tiles):
    return np.asarray(tiles).mean(axis=0)
