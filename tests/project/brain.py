"""A MouseLight acquisition, the stages that its acceptance table needs, and ways to look on."""

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import latticework as lw
from latticework.lattice import Lattice, State
from latticework.testing import mouselight_list, write_mouselight
from latticework.testing.seed_formats import mouselight_path, write_mouselight_tile

TILE = (2, 4, 5)
DAY = "2018-08-23"


def brain(grid=(3, 3, 3)):
    """A lattice of z, y, x tiles of running numbers, in memory."""
    shape = tuple(g * t for g, t in zip(grid, TILE, strict=True))
    array = (np.arange(np.prod(shape)) % 60_000).reshape(shape).astype("u2")
    return Lattice.from_array(array, block=dict(zip("zyx", TILE, strict=True)), pixel_size_um=1.0)


def recorded(folder, grid=(3, 3, 3), **options):
    """The project of an acquisition on disk that has ended."""
    write_mouselight(brain(grid), folder / "raw", **options)
    return lw.create(folder / "brain.lw", lw.open_tiles(folder / "raw"))


class Microscope:
    """An acquisition that goes on: tiles are imaged, and a list says so."""

    def __init__(self, folder, *, complete, grid=(3, 3, 3), **options):
        self.lattice, self.folder, self.options = brain(grid), Path(folder), options
        self.complete, self.listed = set(complete), set(range(len(self.lattice)))
        write_mouselight(self.lattice, self.folder, complete=self.complete, **options)

    @property
    def list(self):
        return self.folder / "pipeline-input.json"

    def image(self, tile, value=None):
        """Acquire a tile (again, if it is there: with another value in all of its pixels)."""
        one = self.lattice.tile(tile)
        pixels = np.asarray(self.lattice.source.read(tile, lw.Box.whole(one.shape)))
        if value is not None:
            pixels = np.full_like(pixels, value)
        write_mouselight_tile(self.lattice, one, pixels[None], self.folder / mouselight_path(one))
        self.complete.add(tile)

    def text(self):
        said = mouselight_list(self.lattice, complete=self.complete, **self.options)
        said["tiles"] = [tile for tile in said["tiles"] if tile["id"] - 1 in self.listed]
        return json.dumps(said)

    def say(self):
        """Write the list, in one piece."""
        partial = self.list.with_suffix(".partial")
        partial.write_text(self.text())
        partial.replace(self.list)


# ------------------------------------------------------------------ stages


def passed(tile):
    return tile


def plus(tile, *, amount=1):
    return tile + np.asarray(amount, tile.dtype)


@lw.stage(output=lw.array_output("u2", shape=dict(zip("zyx", TILE, strict=True))))
def noted(tile, *, gate):
    """Notes that it has begun, and goes on once it may: `Gate` decides.

    What it makes is declared: several tiles may be out at once from the beginning.
    """
    number = int(tile.attrs["tile_id"])
    (Path(gate) / f"begun-{number}-{os.getpid()}-{time.time_ns()}").touch()
    while not any((Path(gate) / name).exists() for name in ("open", f"let-{number}")):
        time.sleep(0.005)
    (Path(gate) / f"ended-{number}-{os.getpid()}-{time.time_ns()}").touch()
    return tile


def pair(tile, others):
    """Who is whose neighbour."""
    return {
        "own": int(tile.attrs["tile_id"]),
        "next": [
            None if other is None else int(other.attrs["tile_id"]) for other in others.values()
        ],
        "sum": int(tile.sum()) + sum(int(o.sum()) for o in others.values() if o is not None),
    }


def fail_where_marked(tile, *, marks):
    if (Path(marks) / f"{tile.attrs['tile_id']}").exists():
        raise RuntimeError("the disk is full")
    return tile


class Gate:
    """Units of `noted` wait here until they are let through."""

    def __init__(self, folder):
        self.folder = Path(folder) / "gate"
        self.folder.mkdir()

    def __str__(self):
        return str(self.folder)

    def open(self):
        (self.folder / "open").touch()

    def close(self):
        (self.folder / "open").unlink()

    def let(self, tile):
        (self.folder / f"let-{tile}").touch()

    def begun(self):
        """Tiles that have begun, in order of time; one that began twice is there twice."""
        found = [path.name.split("-") for path in self.folder.glob("begun-*")]
        return [int(tile) for _, tile, _, when in sorted(found, key=lambda parts: int(parts[3]))]

    def most_at_once(self):
        """Largest number of units that computed at the same time; reading and writing go beside."""
        steps = []
        for path in self.folder.glob("*-*-*-*"):
            what, _, _, when = path.name.split("-")
            steps.append((int(when), 1 if what == "begun" else -1))
        return int(np.cumsum([step for _, step in sorted(steps)]).max())

    def processes(self, tile):
        return [int(p.name.split("-")[2]) for p in self.folder.glob(f"begun-{tile}-*")]


# ------------------------------------------------------------------ looking on


def until(true, *, seconds=60, what="that"):
    """Wait for something that others do."""
    limit = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < limit, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
    return result


@contextmanager
def running(run, gate=None):
    """A run in the background, which is stopped however the test ends."""
    try:
        yield run
    finally:
        run.stop(wait=False)
        if gate is not None:
            gate.open()
        if run.running:
            run.wait(60)


class Notes:
    """A `Progress` that keeps what is said."""

    def __init__(self):
        self.said = []

    def start(self, stages):
        pass

    def update(self, name, counts):
        pass

    def say(self, text):
        self.said.append(text)

    def finish(self, summary):
        pass

    def has(self, *words):
        return any(all(word in note for word in words) for note in self.said)


def states(project, stage):
    """States of all units of a stage, by id, as the project says now."""
    return [State(state) for state in project.pipeline[stage].units.state.tolist()]


def in_state(project, stage, state):
    """Ids of the units of a stage that are in a state now."""
    return [unit for unit, found in enumerate(states(project, stage)) if found == state]


def last_attempt(project):
    return project.query("select coalesce(max(id), 0) from attempts")[0][0]


def ran_since(project, last):
    """Units that have been attempted since an attempt, by stage, each as often as it was."""
    sql = "select s.name, a.unit from attempts a join stages s on s.id = a.stage where a.id > ?"
    found = {}
    for stage, unit in sorted(project.query(sql, (last,))):
        found.setdefault(stage, []).append(unit)
    return found


def record_of(project, stage):
    """Records of a stage by tile id."""
    return {int(record["own"]): record for record in records(project, stage)}


def records(project, stage):
    sql = "select r.value from records r join stages s on s.id = r.stage where s.name = ?"
    return [json.loads(text) for (text,) in project.query(sql, (stage,))]
