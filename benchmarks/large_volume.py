"""(i) Tiles made on the fly, more than fit into memory, stitched to the end through a ``kill -9``.

``python -m benchmarks.large_volume FOLDER PLAN`` is what is killed, and started again.
"""

import functools
import importlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy import ndimage

from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows
from benchmarks.clock import Stopwatch
from benchmarks.measure import Contestant, contest
from benchmarks.restarting import kill_family
from latticework.io import register_source
from latticework.lattice import Box, Lattice

PERIODS = (31, 509, 521), (37, 397, 431), (29, 461, 379)
"""Of the patterns that the specimen is the sum of, in pixels along z, y and x."""
JITTER_PX = (2, 4, 4)
"""How far tiles lie from where they are said to be, along z, y and x, at most."""
LOOK_S = 0.5
PROBE, PROBES, TOLERANCE = 48, 400, 20
"""Side and number of the cubes in which the volume is compared with the specimen, and by how many
counts a voxel may be off: tiles lie a hundredth of a pixel from where they are."""
IMAGE, PROJECT, RESULT, WORDS = "volume.ome.zarr", "volume.lw", "found.json", "words.txt"


@dataclass(frozen=True, slots=True)
class LargePlan:
    """How large the acquisition is, and with how much memory it is stitched."""

    grid: tuple[int, int]
    #: tiles along y and x
    tile: tuple[int, int, int]
    overlap: int
    #: pixels that neighbours share along y and x, more or less
    workers: int
    memory: str
    #: of each worker

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The plan from its JSON."""
        known = json.loads(text)
        return cls(**{**known, "grid": tuple(known["grid"]), "tile": tuple(known["tile"])})

    @property
    def n_bytes(self) -> int:
        """Size of the tiles' pixels, of 16 bits."""
        return 2 * int(np.prod(self.tile)) * int(np.prod(self.grid))

    @property
    def places(self) -> list[tuple[int, int]]:
        """Row and column of each tile."""
        return list(itertools.product(*map(range, self.grid)))

    def nominal(self) -> np.ndarray:
        """Where tiles are said to be: pixels along z, y and x, shape (n, 3)."""
        step = np.array([0, self.tile[1] - self.overlap, self.tile[2] - self.overlap])
        return np.array([(0, *place) for place in self.places]) * step

    def truth(self) -> np.ndarray:
        """Where they are."""
        rng = np.random.default_rng(0)
        nominal = self.nominal()
        most = np.array(JITTER_PX)
        return np.asarray(nominal + rng.integers(-most, most + 1, nominal.shape))

    def lattice(self) -> Lattice:
        """The acquisition; no pixel of it is made before it is read."""
        return Lattice(
            dims=("tile_y", "tile_x"),
            labels={f"tile_{dim}": np.arange(n) for dim, n in zip("yx", self.grid, strict=True)},
            index=np.array(self.places),
            tile_dims=("z", "y", "x"),
            tile_shape=self.tile,
            dtype="u2",
            pixel_size_um=dict.fromkeys("zyx", 1.0),
            position_um=self.nominal().astype(float),
            source=MadeOnTheFly(self),
        )


@dataclass(frozen=True, slots=True)
class MadeOnTheFly:
    """Tiles cut from a specimen that is worked out where somebody reads."""

    kind: ClassVar[str] = "benchmark-on-the-fly"
    plan: LargePlan

    def save(self, folder: Path, base: Path) -> dict[str, Any]:  # noqa: ARG002 - has no files
        """The plan, which is all there is."""
        return asdict(self)

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """What `save` returned."""
        return cls(LargePlan.from_text(json.dumps(spec["plan"])))

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of a box of a tile."""
        return specimen(box.shift(self.plan.truth()[tile].tolist()))

    def fingerprints(self) -> np.ndarray:
        """Tile numbers: nothing changes."""
        return np.arange(len(self.plan.places), dtype=np.uint64)


def specimen(box: Box) -> np.ndarray:
    """Pixels of a box anywhere, uint16: patterns that repeat, but not all at once."""
    pixels = [
        pattern[np.ix_(*(np.arange(s.start, s.stop) % n for s, n in zip(box.slices, size)))]  # noqa: B905
        for pattern, size in zip(_patterns(), PERIODS, strict=True)
    ]
    return np.asarray(pixels[0] + pixels[1] + pixels[2])


@functools.cache
def _patterns() -> list[np.ndarray]:
    """Smooth structures of 100 to 1000 counts, one for each of the `PERIODS`."""
    rng = np.random.default_rng(1)
    made = []
    for size in PERIODS:
        smooth = ndimage.gaussian_filter(rng.random(size, "f4"), (1, 2, 2), mode="wrap")
        low, high = smooth.min(), smooth.max()
        made.append((100 + 900 * (smooth - low) / (high - low)).astype("u2"))
    return made


PLAN = LargePlan((5, 8), (248, 1024, 1024), 100, 2, "1.25GiB")
TOY = LargePlan((2, 3), (32, 128, 128), 24, 2, "1GiB")
MEMORY_GB = 4.0


def report(settings: Settings) -> Report:
    """Voxels a second, memory of all processes, and what is wrong in the end."""
    plan = TOY if settings.toy else PLAN
    title = f"stitching {plan.n_bytes / 1e9:.3g} GB, killed half way"
    settings.say(title)
    arguments: dict[str, object] = {"plan": json.dumps(asdict(plan))}
    ours = Contestant("latticework", "benchmarks.large_volume:stitch_large", arguments)
    (standing,) = contest(
        [ours], settings.scratch, repeats=1, timeout_s=7200, say=settings.say
    )  # minutes each: one is enough
    off, error, memory = (standing.median(of) for of in ("off", "error_px", "peak_bytes"))
    speed = standing.median("voxels") / 1e6 / standing.median("seconds")
    no_aim = ("", None)
    found = (
        ("", "MVox/s", speed, no_aim),
        (": voxels off", "share", off, ("0", at_most(off, 0))),
        (": largest error of a tile", "px", error, ("< 0.05 px", at_most(error, 0.05))),
        (": blocks made twice", "blocks", standing.median("again"), no_aim),
        (
            *(": memory of all processes", "GB", memory / 1e9),
            (f"< {MEMORY_GB:.0f} GB", at_most(memory / 1e9, MEMORY_GB)),
        ),
    )
    rows = [
        row
        for what, unit, figure, aim in found
        for row in ratio_rows(f"{title}{what}", unit, [("latticework", figure)], aims=[aim])
    ]
    return Report(rows, NOTES, problems([standing]))


# ------------------------------------------------------------------ what is measured


def stitch_large(scratch: Path, watch: Stopwatch, *, plan: str) -> dict[str, float]:
    """Stitch; kill all processes when half of the volume is written; start again; compare."""
    known = LargePlan.from_text(plan)
    with watch:
        killed_half_way = _start(scratch, plan)
        try:
            written = _half_written(scratch, killed_half_way)
        finally:
            kill_family(killed_half_way)
        killed = time.monotonic()
        second = _start(scratch, plan)
        try:
            code = second.wait()
        finally:
            kill_family(second)
    if code:
        raise RuntimeError(_words(scratch))
    found = json.loads((scratch / RESULT).read_text())
    position = np.asarray(found["position_px"])
    apart = position - known.truth()
    shift = np.median(apart, axis=0)
    corner = np.rint((position - shift).min(axis=0)).astype(int)
    return {
        "voxels": found["voxels"],
        "after_s": watch.end - killed,
        "written": written / (found["units"] - 1),
        "again": found["attempts"] - (found["units"] - written),
        "error_px": float(np.abs(apart - shift).max()),
        "off": _share_off(scratch / IMAGE, corner.tolist()),
    }


def _start(scratch: Path, plan: str) -> "subprocess.Popen[bytes]":
    with (scratch / WORDS).open("ab") as words:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.large_volume", str(scratch), plan],
            stdout=words,
            stderr=words,
            start_new_session=True,
        )


def _words(scratch: Path) -> str:
    return (scratch / WORDS).read_text(errors="replace")[-2000:]


def _half_written(scratch: Path, process: "subprocess.Popen[bytes]") -> int:
    """Wait until half of the blocks are written; how many are, by the project's own account."""
    import latticework as lw

    path = scratch / PROJECT
    while process.poll() is None:
        time.sleep(LOOK_S)
        if not path.exists():
            continue
        counts = lw.open_project(path).counts.get("volume", {})
        complete = counts.get("complete", 0)
        if complete and 2 * complete >= sum(counts.values()):
            return int(complete)
    raise RuntimeError(f"it ended before half of the volume was written\n{_words(scratch)}")


def _share_off(image: Path, corner: Sequence[int]) -> float:
    """Share of the voxels, in cubes all over the volume, that are not the specimen's.

    `corner` is where in the specimen the volume begins. Its rim, where there may be no tile, is
    left out.
    """
    import zarr

    pixels = zarr.open_array(image / "0", mode="r")
    rng = np.random.default_rng(2)
    rim = 2 * max(JITTER_PX) + 1
    off = seen = 0
    for _ in range(PROBES):
        side = [min(PROBE, n - 2 * rim) for n in pixels.shape]
        at = [int(rng.integers(rim, n - rim - s + 1)) for n, s in zip(pixels.shape, side)]  # noqa: B905
        cube = Box(tuple(at), tuple(a + s for a, s in zip(at, side, strict=True)))
        true = specimen(cube.shift(list(corner))).astype(int)
        off += int((np.abs(np.asarray(pixels[cube.slices]) - true) > TOLERANCE).sum())
        seen += true.size
    return off / seen


# ------------------------------------------------------------------ what is killed


def run(scratch: Path, plan: LargePlan) -> None:
    """`stitch` with a few workers of little memory; leaves what it found in a file."""
    import latticework as lw
    from latticework.stitch import stitch

    workers = lw.local(plan.workers, memory=plan.memory)
    done = stitch(plan.lattice(), scratch / IMAGE, where=workers, progress="none")
    if not done:
        raise RuntimeError("\n".join(("no volume", *done.account.lines)))
    found = {
        "position_px": done.placement.lattice.position_um.tolist(),
        "voxels": float(np.prod(zarr_shape(scratch / IMAGE))),
        "attempts": done.summary.attempts,
        "units": sum(done.project.counts["volume"].values()) + 1,
    }
    (scratch / RESULT).write_text(json.dumps(found))


def zarr_shape(image: Path) -> tuple[int, ...]:
    """Voxels of the full resolution along z, y and x."""
    import zarr

    return tuple(zarr.open_array(image / "0", mode="r").shape)


register_source(MadeOnTheFly.kind, "benchmarks.large_volume:MadeOnTheFly")

NOTES = (
    (
        "larger than memory: `stitch` with its defaults and two workers; no pixel of a tile is "
        "kept anywhere. All processes are ended by `kill -9` when half of the blocks are written, "
        "and it is started again: the time is that of both. Then 400 cubes of 48 pixels all over "
        "the volume are compared with the specimen. Memory is the sum over all processes, pages "
        "that they share counted once for each; the benchmark's own is in it."
    ),
)

if __name__ == "__main__":
    module = importlib.import_module("benchmarks.large_volume")  # workers find it by this name
    module.run(Path(sys.argv[1]), module.LargePlan.from_text(sys.argv[2]))
