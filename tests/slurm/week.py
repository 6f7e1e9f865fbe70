"""A week at a facility, in a minute: the project that the tests of failures run on SLURM.

``python -m tests.slurm.week FOLDER SECONDS`` runs it, or goes on with it. Options of the pool may
follow, as JSON.
"""

import json
import sys

import latticework as lw
from tests.project import steps
from tests.project.running import numbered

GRID = (12, 12)


def build(folder, seconds):
    lattice, _ = numbered(GRID)
    project = lw.create(folder, lattice, exist_ok=True)
    project.add(steps.slow, name="slow", seconds=seconds)
    project.add(steps.scharr, name="edges", after="slow", overlap=1, boundary="nearest")
    project.add(steps.statistics, name="numbers", after="edges")
    project.add(steps.add, name="sum", after="edges", amount=3)
    return project


def pool(**options):
    """A pool for a cluster of which all nodes are this machine."""
    given = {"memory": "1GiB", "walltime": "10m", "maximum": 3, "poll_s": 2, "idle_s": 5}
    return lw.slurm(**{**given, "interface": "lo", "outlive": "1min", **options})


def main():
    folder, seconds, *options = sys.argv[1:]
    where = pool(**json.loads(options[0] if options else "{}"))
    summary = build(folder, float(seconds)).run(where, progress="lines")
    print(summary, flush=True)
    sys.exit(0 if summary else 1)


if __name__ == "__main__":
    main()
