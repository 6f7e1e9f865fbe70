"""Disks for tests that are really full, and folders that are really closed.

As a program, this runs a project as a user without rights to everything: root may write anywhere.
"""

import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import dask
import numpy as np
import pytest

import latticework
import latticework as lw
from latticework.lattice import Lattice
from tests.project import steps
from tests.project.running import HereClient, run_here

QUICK = {"latticework.disk.margin": "256 kB", "latticework.disk.every": "0.05 s"}
"""Short waits for little room."""
PATIENCE_S = 120
"""Far longer than anything takes, on a machine that does other things as well."""
NOBODY = 65534


@contextmanager
def small_disk(folder, megabytes=16, *, files=0):
    """A file system of its own with so much room, and room for so many files."""
    disk = Path(folder) / "disk"
    disk.mkdir()
    options = f"size={megabytes}m" + (f",nr_inodes={files}" if files else "")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with dask.config.set(QUICK):
            yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk, *, leave=0):
    """Fill a disk but for so many bytes; the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass
        size = file.tell()
        if leave:
            file.truncate(max(0, size - leave))
    return filler


def noise(n=12, side=512, seed=0):
    """A lattice of so many tiles of half a megabyte that cannot be compressed, and its pixels."""
    pixels = np.random.default_rng(seed).integers(0, 2**16, (n * side, side)).astype("u2")
    return Lattice.from_array(pixels, block={"y": side, "x": side}), pixels


def until(what, *, alive=None):
    """Wait until something is so; fails if it never is, or a thread ends before."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "it took far too long"
        assert alive is None or alive.is_alive(), f"it ended before: {alive.error or alive.summary}"
        time.sleep(0.01)


class Going(threading.Thread):
    """A run in a thread of its own; its summary, or its error."""

    def __init__(self, project, run=run_here, **options):
        super().__init__(daemon=True)
        self.project, self._run_it, self._options = project, run, options
        self.summary = self.error = None
        self.start()

    def run(self):
        try:
            self.summary = self._run_it(self.project, **self._options)
        except BaseException as error:
            self.error = error

    def wait_for_outage(self):
        """Why it cannot write."""
        texts = []

        def paused():
            texts.append(self.project.outage)
            return bool(texts[-1])

        until(paused, alive=self)
        return texts[-1]

    def end(self):
        self.join(PATIENCE_S)
        assert not self.is_alive(), self.project.outage
        if self.error is not None:
            raise self.error
        return self.summary


class AfterStaging(HereClient):
    """A client that does something each time when a batch has been staged, before it is known."""

    def __init__(self, then):
        super().__init__()
        self.then = then

    def submit(self, *arguments, **options):
        done = super().submit(*arguments, **options)
        self.then(self.batches)
        return done


def outcomes(project):
    """How often there was which outcome."""
    return project.attempts().outcome.value_counts().to_dict()


def import_all_that_a_run_needs():
    """While it may be read: where the tests are installed, another user may have no business."""
    for module in pkgutil.walk_packages(latticework.__path__, "latticework."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    with tempfile.TemporaryDirectory() as folder:
        project = lw.create(Path(folder) / "warm.lw", noise(2, 64)[0])
        project.add(steps.same)
        assert run_here(project)
        outcomes(project)
        project.why("same", 1)
        project["same"].data.to_numpy()


def closed_and_opened(path, name):
    """As another user: a folder of a project is closed while it runs, and opened again."""
    if os.geteuid() == 0:
        import_all_that_a_run_needs()
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    lattice, pixels = noise(8, 64)
    project = lw.create(path, lattice)
    project.add(steps.same_slowly, name="same")
    closed = []

    def close(batches):
        if batches == 2:
            [found] = (path for path in project.path.glob(name))
            found.chmod(0o555)
            closed.append(found)

    with dask.config.set(QUICK):
        run = Going(project, client=AfterStaging(close))
        text = run.wait_for_outage()
        counts = project.counts["same"]
        closed[0].chmod(0o755)
        summary = run.end()
    print(text, counts.get("failed", 0), bool(summary), sep="\n")
    print(np.array_equal(project["same"].data.to_numpy().reshape(pixels.shape), pixels))
    print(sorted(outcomes(project)), int(project.pipeline["same"].units.tries.sum()))


def run_on_a_full_disk(path):
    """Run a project in the main thread, on a disk that is full from the second batch on."""
    project = lw.open_project(path)

    def fill_once(batches):
        if batches == 2:
            fill(path.parent)

    with dask.config.set(QUICK):
        print(run_here(project, client=AfterStaging(fill_once)).interrupted)


if __name__ == "__main__" and len(sys.argv) == 2:
    run_on_a_full_disk(Path(sys.argv[1]))
elif __name__ == "__main__":
    for number, name in enumerate(sys.argv[2:]):
        closed_and_opened(Path(sys.argv[1]) / f"{number}.lw", name)
