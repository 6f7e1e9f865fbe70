"""How long a tile takes to join a lattice, whatever the lattice's size."""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from latticework.io.growth_store import Growth, apply_growth, load_grown, save_growth
from latticework.io.tiff_source import TiffSource
from latticework.lattice import Lattice

SHAPE = {"y": 512, "x": 512}


def files_that_are_not_there(place: np.ndarray, shape: dict[str, int]) -> TiffSource:
    """The source of tiles in files of their own, by number, which nobody reads."""
    n, sides = len(place), tuple(shape.values())
    return TiffSource(
        root=Path("/acquisition"),
        names=[f"tile_{k:07d}.tif" for k in place.tolist()],
        sizes=np.full(n, 2 * int(np.prod(sides))),
        mtimes=place + 10**18,
        file_of=np.arange(n)[:, None],
        page_of=np.zeros((n, 1), np.int64),
        slot=np.zeros(1, np.int64),
        page=np.zeros(1, np.int64),
        sample=np.zeros(1, np.int64),
        shape=sides,
        dtype=np.dtype("u2"),
    )


def acquisition(
    n: int, *, first: int = 0, of: int | None = None, positions: bool = False
) -> Lattice:
    """Tiles `first` to ``first + n - 1`` of a flat scan of `of` tiles, one TIFF file each.

    There are no such files: nothing is read.
    """
    columns = round(np.sqrt(of or n))
    place = np.arange(first, first + n)
    index = np.stack([place // columns, place % columns], axis=1)
    labels, index = zip(
        *(np.unique(column, return_inverse=True) for column in index.T), strict=True
    )
    source = files_that_are_not_there(place, SHAPE)
    return Lattice(
        dims=("tile_y", "tile_x"),
        labels=dict(zip(("tile_y", "tile_x"), labels, strict=True)),
        index=np.stack(index, axis=1),
        tile_dims=("y", "x"),
        tile_shape=(512, 512),
        dtype="u2",
        pixel_size_um=0.5,
        step_px={"y": 461, "x": 461},
        position_um=np.stack([place // columns, place % columns], axis=1) * 230.5
        if positions
        else None,
        names=source.names,
        source=source,
    )


def join_seconds(
    n: int, *, tiles: int = 1, placed_by: str = "labels", repeats: int = 30
) -> dict[str, float]:
    """Median seconds in which `tiles` tiles join a lattice of `n`.

    Returns
    -------
    dict
        ``apply`` (the lattice in memory), ``save`` (what is written), ``join`` (both),
        ``worker`` (another process brings its lattice up to date).
    """
    of, positions = n + tiles * repeats, placed_by == "positions"
    lattice = acquisition(n, of=of, positions=positions)
    folder = Path(tempfile.mkdtemp(prefix="growth_"))
    seconds: dict[str, list[float]] = {"apply": [], "save": [], "join": [], "worker": []}
    known = lattice
    try:
        for version in range(2, repeats + 2):
            new = acquisition(tiles, first=len(lattice), of=of, positions=positions)
            growth = Growth(new, placed_by)
            start = time.perf_counter()
            lattice = apply_growth(lattice, growth)
            applied = time.perf_counter()
            save_growth(folder, version, growth)
            saved = time.perf_counter()
            known = load_grown(folder, version, known=(version - 1, known))
            end = time.perf_counter()
            for name, value in {
                "apply": applied - start,
                "save": saved - applied,
                "join": saved - start,
                "worker": end - saved,
            }.items():
                seconds[name].append(value)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    for placed_by in ("labels", "positions"):
        for tiles in (1, 10):
            for n in (4_000, 40_000, 400_000):
                found = join_seconds(n, tiles=tiles, placed_by=placed_by)
                text = "  ".join(f"{name} {1e3 * value:6.2f} ms" for name, value in found.items())
                print(f"{tiles:3} by {placed_by:9} to {n:8,}: {text}")
