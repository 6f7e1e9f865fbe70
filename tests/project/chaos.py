"""A project under fire: workers are killed and stopped, and so is the coordinator, at random.

``python -m tests.project.chaos FOLDER TILES SECONDS`` runs it, or goes on with it: four stages, one
of them with a halo, one of which takes so many seconds a tile.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

import latticework as lw
from latticework.lattice import Lattice
from tests.project import steps

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 50
BLOCK = 8
STAGES = ("edges", "slow", "sum", "numbers")


def build(folder, tiles, seconds):
    shape = (tiles // COLUMNS * BLOCK, COLUMNS * BLOCK)
    image = np.random.default_rng(3).integers(0, 60_000, shape, dtype="u2")
    lattice = Lattice.from_array(image, block={"y": BLOCK, "x": BLOCK})
    project = lw.create(folder, lattice, exist_ok=True)
    project.add(steps.scharr, name="edges", overlap=1, boundary="nearest")
    project.add(steps.slow, name="slow", seconds=seconds)
    project.add(steps.difference, name="sum", after=["slow", "source"])
    project.add(steps.statistics, name="numbers", after="edges")
    return project


def main():
    folder, tiles, seconds = sys.argv[1:]
    summary = build(folder, int(tiles), float(seconds)).run(lw.local(2), progress="lines")
    print(summary, flush=True)
    sys.exit(0 if summary else 1)


# ------------------------------------------------------------------ from outside


class Chaos:
    """Keeps a project's program going, and what it consists of dying.

    Parameters
    ----------
    arguments
        Of the program.
    rng
        What decides.
    log
        File for all that the program prints.
    """

    def __init__(self, arguments, rng, log):
        self.arguments, self.rng, self.log = arguments, rng, log
        self.done = dict.fromkeys(("worker killed", "worker stopped", "coordinator killed"), 0)
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.project.chaos", *map(str, self.arguments)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def workers(self):
        """Processes that run units: children of nannies."""
        found = []
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def rage(self, seconds):
        """Do harm for so many seconds, or until the program has ended well."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            time.sleep(self.rng.uniform(2, 5))
            if self.process.poll() == 0:
                return
            if self.process.poll() is not None:
                self.start()
                continue
            what = self.rng.random()
            if what < 0.15:
                self.kill_coordinator()
            elif workers := self.workers():
                self.harm(workers[self.rng.integers(len(workers))], stop=what < 0.4)

    def harm(self, worker, *, stop):
        with contextlib.suppress(psutil.Error):
            if stop:
                worker.suspend()
                time.sleep(self.rng.uniform(0.5, 3))
                worker.resume()
                self.done["worker stopped"] += 1
            else:
                worker.kill()
                self.done["worker killed"] += 1

    def kill_coordinator(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.done["coordinator killed"] += 1
        self.start()

    def finish(self, seconds):
        """Leave it in peace, and wait for its end; its exit code."""
        if self.process.poll() not in (0, None):
            self.start()
        return self.process.wait(seconds)

    def end(self):
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


if __name__ == "__main__":
    main()
