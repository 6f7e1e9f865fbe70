"""(d) What a change costs while a project lives: an arrival, a retry, a change of a stage."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import latticework as lw
from benchmarks.cases import Report, Settings, at_most, ratio_rows
from benchmarks.growth import files_that_are_not_there
from latticework.io.growth_store import Growth
from latticework.io.tiff_source import TiffSource
from latticework.lattice import Lattice
from latticework.project.coordinator import Coordinator
from latticework.project.growing import grow_project
from latticework.project.steering import carry_out

ROWS = COLUMNS = 20
"""Tiles of a plane along y and x."""
STAGES = ("clean", "pairs", "spots", "links")
"""Two maps, each followed by pairs with the tile above."""


class Nobody:
    """A client without workers: what is ready stays where it is."""

    status = "running"

    def nthreads(self) -> dict[str, int]:
        """No workers."""
        return {}


def work(tile: Any, *_others: Any, size: int = 0) -> None:
    """A stage."""


def tiles_of(first: int, n: int) -> Lattice:
    """Tiles `first` to ``first + n - 1`` of a stack of planes; there are no such files."""
    place = np.arange(first, first + n)
    z, rest = np.divmod(place, ROWS * COLUMNS)
    index = np.stack([z - z.min(), *np.divmod(rest, COLUMNS)], axis=1)
    source = files_that_are_not_there(place, {"y": 64, "x": 64})
    labels = {
        "tile_z": np.arange(z.min(), z.max() + 1),
        "tile_y": np.arange(ROWS),
        "tile_x": np.arange(COLUMNS),
    }
    return Lattice(
        dims=tuple(labels),
        labels=labels,
        index=index,
        tile_dims=("y", "x"),
        tile_shape=(64, 64),
        dtype="u2",
        names=source.names,
        source=source,
    )


def finished(path: Path, n: int) -> Coordinator:
    """The coordinator of a project of `n` tiles and four stages, in which everything is done."""
    project = lw.create(path, tiles_of(0, n))
    project.ask("open acquisition", {})
    above = lw.neighbours("+z", missing="absent")
    project.add(work, name="clean")
    project.add(work, name="pairs", after="clean", reads=above)
    project.add(work, name="spots", after="clean")
    project.add(work, name="links", after="spots", reads=above)
    project.lock().acquire()
    coordinator = Coordinator(project, Nobody())  # type: ignore[arg-type]
    project.coordinator = coordinator
    for node in coordinator.pipeline:
        everything = np.arange(n)
        node.units.published[:], node.units.attempts[:] = 1, 1
        node.units.fingerprint[:] = coordinator.pipeline.expected(node, everything)
    coordinator.states.begin()
    coordinator.journal.commit()
    return coordinator


def seconds(what: Callable[[int], object], repeats: int) -> float:
    """Median seconds of a call, which gets the number of the repeat."""
    taken = []
    for k in range(repeats):
        begun = time.perf_counter()
        what(k)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def costs(n: int, folder: Path, repeats: int = 15) -> dict[str, float]:
    """Seconds that changes of a project of `n` tiles x 4 stages take until all is queued anew.

    Returns
    -------
    dict
        ``arrival`` and ``replacement`` of one tile, on disk and in the queues; ``retry`` of one
        tile; ``change`` of the first stage (every unit is stale); ``settle``: the state of every
        unit worked out anew.
    """
    coordinator = finished(folder / f"living_{n}.lw", n)
    stale = len(coordinator.ready["clean"])
    assert stale == 0, stale
    first = len(coordinator.pipeline.lattice)

    def arrival(k: int) -> None:
        grow_project(coordinator, Growth(tiles_of(first + k, 1)))

    def replacement(k: int) -> None:
        again = tiles_of(7 * k, 1).source
        assert isinstance(again, TiffSource)
        again.mtimes = again.mtimes + 1
        grow_project(coordinator, Growth(replaced=(np.array([7 * k]), again)))

    def retry(k: int) -> None:
        asked = {"stages": ["clean"], "unit": n // 2 + 3 * k, "states": ["complete"]}
        carry_out(coordinator, "retry", asked)

    def change(k: int) -> None:
        coordinator.project.change("clean", size=k + 1)
        queued = len(coordinator.ready["clean"])
        assert queued == len(coordinator.pipeline.lattice), queued

    found = {
        "settle": seconds(lambda _: coordinator.states.begin(), 2),
        "arrival": seconds(arrival, repeats),
        "replacement": seconds(replacement, repeats),
        "retry": seconds(retry, repeats),
        "change": seconds(change, 2),
    }
    coordinator.project.coordinator = None
    coordinator.project.close_writer()
    coordinator.project.lock().release()
    return found


def report(settings: Settings) -> Report:
    """Costs of changes at two sizes of a project."""
    small, large = (400, 4_000) if settings.toy else (4_000, 400_000)
    folder = Path(tempfile.mkdtemp(prefix="living_", dir=settings.scratch))
    try:
        found = {}
        for n in (small, large):
            settings.say(f"changes of a living project of {n:,} tiles x {len(STAGES)} stages")
            found[n] = costs(n, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = []
    for what in ("arrival", "replacement", "retry"):
        figures = [(f"latticework at {n:,} tiles", found[n][what]) for n in (small, large)]
        limit = 5 * figures[0][1]
        aims = [(f"at {large:,} within 5 times", at_most(figures[1][1], limit))]
        rows += ratio_rows(f"{what} of one tile until all is queued", "s", figures, aims=aims)
    for what, words in (
        ("change", "a changed stage, until every unit is queued anew"),
        ("settle", "the state of every unit worked out anew"),
    ):
        figures = [(f"latticework at {len(STAGES) * large:,} units", found[large][what])]
        per_million = found[large][what] * 1e6 / (len(STAGES) * large)
        aims = [("< 1 s per million units", at_most(per_million, 1.0))]
        rows += ratio_rows(words, "s", figures, aims=aims)
    return Report(rows, NOTES)


NOTES = (
    (
        "changes: in the coordinator's own process, without workers: what is measured is the time "
        "from the change to the moment when everything it touches is queued, stale, blocked or "
        "absent, and the change is durable. An arrival writes the new tile to disk first."
    ),
)

if __name__ == "__main__":
    import sys

    with tempfile.TemporaryDirectory() as scratch:
        for number in sys.argv[1:]:
            print(number, costs(int(number), Path(scratch)))
