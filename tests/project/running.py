"""Running a project in the test's own process: real coordinator, stores and journal, no cluster."""

import asyncio
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import latticework as lw
from latticework.lattice import Lattice
from latticework.project import running


class Fetches:
    """As much of a Dask client as its futures' reports are fetched with."""

    def sync(self, function, *arguments):
        return asyncio.run(function(*arguments))

    async def gather(self, future, *, asynchronous):  # noqa: ARG002  as Dask's
        return future.result()


class Done:
    """A future that has come back already."""

    client = Fetches()

    def __init__(self, value, error):
        self.value, self.error = value, error
        self.status = "finished" if error is None else "error"

    def result(self):
        return self.value

    def exception(self):
        return self.error

    def release(self):
        pass

    def cancel(self):
        pass

    def add_done_callback(self, callback):
        callback(self)


class HereClient:
    """As much of a Dask client as the coordinator uses; runs what it is given at once."""

    status = "running"

    def __init__(self, slots=2):
        self.slots = slots
        self.batches = 0

    def nthreads(self):
        return {f"here-{k}": 1 for k in range(self.slots)}

    def subscribe_topic(self, topic, handler):
        pass

    def unsubscribe_topic(self, topic):
        pass

    def submit(self, function, *arguments, **_options):
        self.batches += 1
        try:
            return Done(function(*arguments), None)
        except Exception as error:  # as a scheduler does
            return Done(None, error)


def run_here(project, stages=None, client=None, progress="none"):
    """`Project.run` without a cluster."""
    with project.lock().held(patience_s=5):  # somebody may just be looking whether it is taken
        running.refresh_code(project)
        chosen = running.chosen_nodes(project, stages)
        return running.run_nodes(project, client or HereClient(), chosen, progress, only=stages)


MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where small projects are quick, whatever the disk is doing."""


@contextmanager
def temporary_project(tiles):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield lw.create(Path(folder) / "test.lw", tiles)


def numbered(grid=(4, 5), block=(6, 8), dtype="u2"):
    """A block lattice over an array of running numbers, and the array."""
    shape = tuple(g * b for g, b in zip(grid, block, strict=True))
    array = (np.arange(np.prod(shape)) % 60_000).reshape(shape).astype(dtype)
    axes = "zyx"[-len(grid) :]
    return Lattice.from_array(array, block=dict(zip(axes, block, strict=True))), array


def completions(project):
    """How often each unit of each stage has completed, by (stage, unit)."""
    sql = (
        "select s.name, a.unit, count(*) from attempts a join stages s on s.id = a.stage "
        "where a.outcome = 1 group by s.name, a.unit"
    )
    return {(stage, unit): n for stage, unit, n in project.query(sql)}


def attempts_since(project, last):
    """(stage, unit) of the attempts made after attempt number `last`, sorted."""
    sql = "select s.name, a.unit from attempts a join stages s on s.id = a.stage where a.id > ?"
    return sorted(project.query(sql, (last,)))
