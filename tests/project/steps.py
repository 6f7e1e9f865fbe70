"""Callables that the tests use as stages: importable, so that worker processes can find them."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd


def same(tile):
    return tile


def same_slowly(tile, *, seconds=0.06):
    """Slow enough that a batch is two or three tiles."""
    time.sleep(seconds)
    return tile


def add(tile, *, amount=1):
    return tile + np.asarray(amount, tile.dtype)


def plain_add(tile: np.ndarray, amount: int = 1) -> np.ndarray:
    assert type(tile) is np.ndarray
    return tile + np.asarray(amount, tile.dtype)


def window_sum(tile: np.ndarray, *, before, after):
    """Weighted sum over a box that reaches `before` and `after` pixels from each pixel; exact."""
    from scipy.ndimage import correlate1d

    result = tile.astype("float64")
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        weights = np.arange(1, low + high + 2, dtype="float64")
        result = correlate1d(result, weights, axis, mode="nearest", origin=low - len(weights) // 2)
    return result


def scharr(tile):
    """A labelled function that changes the dtype and needs a halo of one."""
    from scipy.ndimage import maximum_filter, minimum_filter

    values = tile.to_numpy()
    spread = maximum_filter(values, 3).astype("f4") - minimum_filter(values, 3).astype("f4")
    return tile.copy(data=spread)


def fail_at(tile, *, bad, amount=0):
    if int(tile.attrs["tile_id"]) in bad:
        raise ValueError(f"tile {tile.attrs['tile']} is out of focus")  # the user's line
    return tile + np.asarray(amount, tile.dtype)


def fail_once(tile, *, marks):
    """Raise at each tile's first attempt."""
    mark = Path(marks) / f"{tile.attrs['tile_id']}"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("the first time, the disk was busy")
    return tile


def statistics(tile):
    values = np.asarray(tile)
    return {"mean": float(values.mean()), "n": int(values.size)}


def total(tile):
    return int(np.asarray(tile).sum(dtype="i8"))


def table(tile):
    values = np.asarray(tile).ravel()
    return pd.DataFrame({"place": np.arange(values.size), "value": values})


def rows_above(tile, *, threshold):
    values = np.asarray(tile).ravel()
    place = np.flatnonzero(values > threshold)
    return pd.DataFrame({"place": place, "value": values[place].astype("f8")})


def nothing(tile):
    assert tile.size


def difference(tile, other):
    return tile - other


def add_record(tile, record):
    return tile + np.asarray(record["n"], tile.dtype)


def largest(tiles):
    return tiles.max("tile").compute()


def grand_total(tiles):
    return int(tiles.sum(dtype="i8"))


def sum_of_column(table, *, column):
    return {"sum": float(table[column].sum()), "rows": len(table), "columns": list(table.columns)}


def minus_number(tile, number):
    return tile - np.asarray(number % 2**16, tile.dtype)


def minus_image(tile, image):
    return tile - image


def address(tile):
    """For ``reads=nothing()``: a Tile."""
    return {"id": tile.id, **tile.labels}


def wandering_dtype(tile, *, odd):
    return tile.astype("f4" if int(tile.attrs["tile_id"]) in odd else "i4")


def wandering_shape(tile, *, odd):
    values = tile.to_numpy()
    return values[:-1] if int(tile.attrs["tile_id"]) in odd else values


def sometimes_none(tile, *, odd):
    return None if int(tile.attrs["tile_id"]) in odd else tile


def unstorable(_tile):
    return object()


def texts(tile):
    return tile.astype(str)


def projection(tile):
    return tile.max("z")


def half(tile):
    return tile[..., ::2, ::2]


def thirds(tile):
    return tile.astype("f8") / 3


def kill_worker(tile, *, bad):
    if int(tile.attrs["tile_id"]) in bad:
        print("these are its last words")
        os._exit(7)
    return tile


def kill_worker_late(tile, *, bad):
    import time

    time.sleep(0.05)
    return kill_worker(tile, bad=bad)


def leave(tile, *, bad):
    if int(tile.attrs["tile_id"]) in bad:
        sys.exit("that was the last slice")
    return tile


def greedy(tile, *, bad):
    if int(tile.attrs["tile_id"]) in bad:
        raise MemoryError("not enough for this tile")
    return tile


def slow(tile, *, seconds, mark=None):
    import time

    if mark is not None:
        (Path(mark) / f"{tile.attrs['tile_id']}-{os.getpid()}").touch()
    time.sleep(seconds)
    return tile


def surroundings(tile):  # noqa: ARG001
    """What SLURM says in the environment of a worker."""
    return {name: value for name, value in os.environ.items() if name.startswith("SLURM_")}


class Model:
    def __init__(self, weight):
        self.weight = weight


def default_model(tile, *, model=Model(np.arange(3)), reduce=np.sum):  # noqa: B008
    return tile + np.asarray(reduce(model.weight), tile.dtype)


class Scale:
    """A callable object and a bound method."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, tile):
        return tile * np.asarray(self.factor, tile.dtype)

    def apply(self, tile):
        return self(tile)


def closure(amount):
    def shift(tile):
        return tile + np.asarray(amount, tile.dtype)

    return shift


def save_beside(tile, *, folder):
    """Write somewhere else, as a stage that keeps its own scratch does."""
    with (Path(folder) / str(tile.attrs["tile_id"])).open("wb") as file:
        file.write(bytes(65536))
    return int(np.asarray(tile).sum(dtype="i8"))
