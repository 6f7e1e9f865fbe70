"""Dask alone, as its documentation would have it used."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clock import Stopwatch
from benchmarks.cluster import bytes_read, local_cluster
from benchmarks.functions import REACH, gradient, nothing
from benchmarks.volume import VolumePlan, check_result, open_volume


def noop(scratch: Path, watch: Stopwatch, *, tiles: int) -> dict[str, float]:
    """`client.map`, one future per tile, until all are done."""
    from distributed import wait

    with local_cluster(scratch) as client:
        with watch:
            futures = client.map(nothing, range(tiles), pure=False)
            wait(futures)
        assert all(future.status == "finished" for future in futures)
        del futures
    return {}


def halo(
    scratch: Path,
    watch: Stopwatch,
    *,
    source: str,
    truth: str,
    plan: dict[str, Any],
    engine: str = "zarr",
    tuned: bool = False,
) -> dict[str, float]:
    """`dask.array.map_overlap` from Zarr to Zarr, one chunk per tile.

    `engine` says what reads and writes: zarr-python, as `dask.array.from_zarr` does, or
    tensorstore behind the same two operators. `tuned`: see `local_cluster`.
    """
    import dask.array as da
    import zarr

    volume = VolumePlan.from_arguments(**plan)
    result = scratch / "result.zarr"
    modules = ("zarr", "tensorstore", "dask.array", "benchmarks.volume")
    with local_cluster(scratch, warm=modules, tuned=tuned) as client:
        before = bytes_read(client)
        with watch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dask's opinions of our chunks
            open_volume(result, create=volume)
            opened: Any = TensorStoreArray if engine == "tensorstore" else zarr.open_array
            array = da.from_array(opened(source), chunks=volume.block)
            mapped = da.map_overlap(gradient, array, depth=REACH, boundary="none", dtype="u2")
            da.store(mapped, opened(str(result)), lock=False)
        read = bytes_read(client) - before
    check_result(result, volume, truth)
    return {"bytes_read": float(read)}


class TensorStoreArray:
    """A tensorstore array with what dask asks of an array; travels as its path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._array = open_volume(path)
        self.shape: tuple[int, ...] = self._array.shape
        self.ndim = len(self.shape)
        self.dtype = np.dtype(self._array.dtype.numpy_dtype)

    def __reduce__(self) -> tuple[type["TensorStoreArray"], tuple[str]]:
        return TensorStoreArray, (self.path,)

    def __getitem__(self, key: Any) -> Any:
        return self._array[key].read().result()

    def __setitem__(self, key: Any, value: Any) -> None:
        self._array[key].write(value).result()
