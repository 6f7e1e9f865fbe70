"""``python -m benchmarks.codecs``: which codec and which inner chunk stores of tiles should use.

Every candidate is read by zarr-python and by tensorstore (checked here, pixel by pixel). Tiles are
written and read as stages do, through tensorstore, one shard a tile: whole, and the margins of
8 pixels that a halo reads. Candidates take turns, figures are medians; files are in the page cache,
so what is compared is the cost of coding. Real tiles come from the shared data, where they are
found; simulated ones are always there.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import zarr

from latticework import Box, Lattice
from latticework.io.chunking import inner_chunk
from latticework.io.layout import ArrayLayout

MARGIN = 8
CODECS: dict[str, list[dict[str, Any]]] = {}


def _blosc(cname: str, clevel: int, shuffle: str) -> list[dict[str, Any]]:
    configuration = {"cname": cname, "clevel": clevel, "shuffle": shuffle, "blocksize": 0}
    return [{"name": "blosc", "configuration": configuration}]


CODECS["none"] = []
CODECS["blosc lz4-1 bitshuffle"] = _blosc("lz4", 1, "bitshuffle")
CODECS["blosc lz4-5 bitshuffle"] = _blosc("lz4", 5, "bitshuffle")
CODECS["blosc lz4-9 bitshuffle"] = _blosc("lz4", 9, "bitshuffle")
CODECS["blosc lz4-5 shuffle"] = _blosc("lz4", 5, "shuffle")
CODECS["blosc lz4hc-5 bitshuffle"] = _blosc("lz4hc", 5, "bitshuffle")
CODECS["blosc zstd-1 bitshuffle"] = _blosc("zstd", 1, "bitshuffle")
CODECS["blosc zstd-3 bitshuffle"] = _blosc("zstd", 3, "bitshuffle")
CODECS["zstd-1"] = [{"name": "zstd", "configuration": {"level": 1}}]
CODECS["zstd-3"] = [{"name": "zstd", "configuration": {"level": 3}}]
CODECS["gzip-1"] = [{"name": "gzip", "configuration": {"level": 1}}]
WINNER = "blosc lz4-5 bitshuffle"
INNER_KIB = (32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Sample:
    """Tiles to store, shape (tiles, *pixels)."""

    name: str
    tiles: np.ndarray


@dataclass(frozen=True)
class Candidate:
    """A way to store them."""

    sample: Sample
    codec: str
    inner_kib: int = 256
    checksum: bool = False


@dataclass
class Figures:
    """What was measured: bytes on disk, and seconds of each repeat."""

    stored: int
    write: list[float]
    read: list[float]
    margins: list[float]


def samples(data: Path | None, *, toy: bool) -> list[Sample]:
    """Simulated tiles, and real ones where the shared data are."""
    number, edge = (2, 256) if toy else (8, 2048)
    depth = 16 if toy else 64
    random = np.random.default_rng(0)
    noise = random.poisson(180, (number, edge, edge)).astype(np.uint16) + 100
    found = [Sample("noise 2-D uint16", noise)]
    cube = (number, depth, 4 * depth, 4 * depth)
    found.append(Sample("noise 3-D uint16", random.poisson(180, cube).astype(np.uint16) + 100))
    uneven = 1.3 - 0.6 * np.hypot(*np.meshgrid(*[np.linspace(-0.7, 0.7, edge)] * 2))
    corrected = (noise[: number // 2] / uneven).astype(np.float32)
    found.append(Sample("corrected noise 2-D float32", corrected))
    if data is not None:
        found = [*_real(data, number, edge, cube), *found]
    return found


def _real(data: Path, number: int, edge: int, cube: tuple[int, ...]) -> list[Sample]:
    import tifffile

    files = sorted((data / "wsi_brain_2d").rglob("C3-*.tif*"))
    stack = np.stack([tifffile.imread(file) for file in files])
    across = max(1, edge // stack.shape[-1])
    tiles = []
    for first in range(number):
        picked = stack[(first * 5 + np.arange(across**2)) % len(stack)]
        rows = picked.reshape(across, across, *stack.shape[1:]).swapaxes(1, 2)
        tiles.append(rows.reshape(across * stack.shape[1], -1)[:edge, :edge])
    volume = tifffile.imread(data / "cells_3d_cellfinder" / "signal.tif")
    depth, side = min(cube[1], 24), 2 * cube[2]
    places = [(60 * (k % 5), 25 * (k % 4)) for k in range(number)]
    blocks = [volume[:depth, y : y + side, x : x + side] for y, x in places]
    return [
        Sample("section 2-D uint16", np.stack(tiles).astype(np.uint16)),
        Sample("two-photon 3-D uint16", np.stack(blocks).astype(np.uint16)),
    ]


def layout_of(candidate: Candidate) -> tuple[ArrayLayout, dict[str, Any]]:
    """Layout and ``zarr.json`` of a candidate."""
    tiles = candidate.sample.tiles
    dims = ("z", "y", "x")[-(tiles.ndim - 1) :]
    shape = tiles.shape[1:]
    lattice = Lattice(
        dims=("round",),
        labels={"round": np.arange(len(tiles))},
        index=np.arange(len(tiles))[:, None],
        tile_dims=dims,
        tile_shape=shape,
        dtype=tiles.dtype,
    )
    inner = inner_chunk(dims, shape, tiles.itemsize, target_bytes=candidate.inner_kib * 1024)
    layout = ArrayLayout.plan(
        lattice, dims=dims, shape=shape, dtype=tiles.dtype, name="array", inner=inner
    )
    metadata = layout.metadata()
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    for codec in CODECS[candidate.codec]:
        configuration = dict(codec["configuration"])
        if codec["name"] == "blosc":
            configuration["typesize"] = tiles.itemsize
        codecs.append({"name": codec["name"], "configuration": configuration})
    if candidate.checksum:
        codecs.append({"name": "crc32c"})
    metadata["codecs"][0]["configuration"]["codecs"] = codecs
    return layout, metadata


def measure(candidates: Sequence[Candidate], folder: Path, repeats: int) -> list[Figures]:
    """Figures of candidates that take turns."""
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": 0}})
    figures = [Figures(0, [], [], []) for _ in candidates]
    for repeat in range(repeats):
        for number, candidate in enumerate(candidates):
            place = folder / f"{repeat}_{number}"
            _measure_once(candidate, place, context, figures[number], check=repeat == 0)
            for file in place.rglob("c.*"):
                file.unlink()
    return figures


def _measure_once(
    candidate: Candidate, place: Path, context: Any, figures: Figures, *, check: bool
) -> None:
    tiles = candidate.sample.tiles
    metadata = layout_of(candidate)[1]
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{place}/"},
        "metadata": metadata,
        "store_data_equal_to_fill_value": True,
    }
    store = tensorstore.open(spec, create=True, context=context).result()

    def write() -> None:
        for index, tile in enumerate(tiles):
            store[index].write(tile).result()

    def read() -> None:
        for index in range(len(tiles)):
            tensorstore.array(out).write(store[index]).result()

    def margins() -> None:
        for index in range(len(tiles)):
            reads = [
                tensorstore.array(buffer).write(store[(index, *box.slices)].translate_to[0])
                for box, buffer in faces
            ]
            for pending in reads:
                pending.result()

    out = np.zeros(tiles.shape[1:], tiles.dtype)
    faces = [(box, np.zeros(box.shape, tiles.dtype)) for box in _faces(tiles.shape[1:])]
    figures.write.append(_seconds(write))
    figures.stored = sum(file.stat().st_size for file in place.rglob("c.*"))
    read()
    figures.read.append(_seconds(read))
    figures.margins.append(_seconds(margins))
    if check:
        assert np.array_equal(out, tiles[-1])
        assert np.array_equal(zarr.open_array(place, mode="r")[-1], tiles[-1])


def _faces(shape: Sequence[int]) -> list[Box]:
    """Margins on the two sides of each axis."""
    boxes = []
    for axis, size in enumerate(shape):
        for start in (0, size - MARGIN):
            first, last = [0] * len(shape), list(shape)
            first[axis], last[axis] = start, start + MARGIN
            boxes.append(Box(tuple(first), tuple(last)))
    return boxes


def _seconds(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


HEADINGS = ("tiles", "codec", "inner chunk", "KiB", "ratio", "write", "read", "margin ms/tile")


def row(candidate: Candidate, figures: Figures) -> list[str]:
    """One line of the table; MB/s of pixels."""
    tiles = candidate.sample.tiles
    inner = layout_of(candidate)[0].inner
    size = tiles.nbytes / 1e6
    return [
        candidate.sample.name,
        candidate.codec + (" + crc32c" if candidate.checksum else ""),
        " x ".join(map(str, inner)),
        f"{prod(inner) * tiles.itemsize / 1024:.0f}",
        f"{tiles.nbytes / figures.stored:.2f}",
        f"{size / statistics.median(figures.write):,.0f}",
        f"{size / statistics.median(figures.read):,.0f}",
        f"{statistics.median(figures.margins) / len(tiles) * 1e3:.2f}",
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns."""
    lines = [HEADINGS, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < 3 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure codecs, then inner chunks and checksums with the winner; print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codecs", description=__doc__)
    parser.add_argument("--toy", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--data", type=Path, help="folder of the shared data")
    parser.add_argument("--repeats", type=int, help="default 5")
    parser.add_argument("--scratch", type=Path, help="folder to write in")
    options = parser.parse_args(arguments)
    data = options.data or Path(
        os.environ.get(
            "LATTICEWORK_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"
        )
    )
    repeats = options.repeats or (1 if options.toy else 5)
    tiles = samples(data if data.is_dir() else None, toy=options.toy)
    with tempfile.TemporaryDirectory(prefix="lw_codecs_", dir=options.scratch) as folder:
        for title, candidates in _rounds(tiles).items():
            print(f"\n{title}\n")
            rows = []
            for number, sample in enumerate(tiles):
                same = [replace(candidate, sample=sample) for candidate in candidates]
                place = Path(folder) / f"{title[:6]}_{number}"
                rows += [
                    row(*pair) for pair in zip(same, measure(same, place, repeats), strict=True)
                ]
            print(table(rows), flush=True)
    print(f"\nwrite, read: MB/s of pixels; margins of {MARGIN} px on all sides of a tile; ", end="")
    print(f"{os.cpu_count()} cores")
    return 0


def _rounds(tiles: Sequence[Sample]) -> dict[str, list[Candidate]]:
    sample = tiles[0]
    return {
        "codecs, inner chunks of about 256 KiB": [Candidate(sample, codec) for codec in CODECS],
        f"inner chunks, {WINNER}": [Candidate(sample, WINNER, size) for size in INNER_KIB],
        f"checksums of inner chunks, {WINNER}": [
            Candidate(sample, WINNER, checksum=checksum) for checksum in (False, True)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
