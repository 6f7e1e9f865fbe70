"""A run that is killed again and again: the program, and what must be true afterwards.

``python -m tests.project.kills FOLDER SECONDS`` runs (or goes on with) 500 tiles through three
stages: an array with a halo, a table, and a map with two parents.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from scipy.ndimage import median_filter

import latticework as lw
from latticework.lattice import Lattice
from tests.project import steps

GRID, BLOCK = (20, 25), (16, 16)
TILES = GRID[0] * GRID[1]
ROOT = Path(__file__).resolve().parents[2]


def image():
    shape = tuple(g * b for g, b in zip(GRID, BLOCK, strict=True))
    return np.random.default_rng(7).integers(0, 60_000, shape, dtype="u2")


def patiently_sharpen(tile, smooth, *, seconds):
    time.sleep(seconds)
    return tile.astype("i4") - smooth.astype("i4")


def build(folder):
    block = dict(zip("yx", BLOCK, strict=True))
    return lw.create(folder, Lattice.from_array(image(), block=block), exist_ok=True)


def add_stages(project, seconds):
    smooth = project.add(median_filter, name="smooth", overlap=2, boundary="reflect", size=5)
    project.add(steps.rows_above, name="bright", after=smooth, threshold=40_000)
    project.add(
        patiently_sharpen, name="sharp", after=[project.source, smooth], params={"seconds": seconds}
    )
    return project


def main():
    folder, seconds = sys.argv[1:]
    project = add_stages(build(folder), float(seconds))
    summary = project.run(progress="lines")
    print(summary, flush=True)
    sys.exit(0 if summary else 1)


# ------------------------------------------------------------------ from outside


def start(folder, seconds, log):
    """Start the program in a session of its own, so that it alone can be hit."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.project.kills", str(folder), str(seconds)],
        cwd=ROOT,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finished_units(folder):
    """Units complete in the journal, as another process sees it now."""
    if not (Path(folder) / "project.json").exists():
        return 0
    return lw.open_project(folder).query("select count(*) from attempts where outcome = 1")[0][0]


def kill_at(folder, seconds, log, *, delay, after_progress):
    """Start, wait for progress if told so, then `delay` seconds, and kill -9 the coordinator.

    Returns
    -------
    bool
        Whether it was alive to be killed.
    list
        The processes that it had started.
    """
    process = start(folder, seconds, log)
    family = psutil.Process(process.pid)
    before = finished_units(folder)
    limit = time.monotonic() + 120
    while after_progress and process.poll() is None and time.monotonic() < limit:
        if finished_units(folder) > before:
            break
        time.sleep(0.02)
    time.sleep(delay)
    children = family.children(recursive=True) if process.poll() is None else []
    alive = process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return alive, children


def check(folder, reference):
    """Everything that must be true of a killed run that has been brought to its end."""
    project, wanted = lw.open_project(folder), lw.open_project(reference)
    stages = ("smooth", "bright", "sharp")
    assert project.counts == {name: {"complete": TILES} for name in stages}
    rows = project.query(
        "select s.name, a.unit, count(*) from attempts a join stages s on s.id = a.stage "
        "where a.outcome = 1 group by a.stage, a.unit"
    )
    assert sorted((stage, unit) for stage, unit, _ in rows) == sorted(
        (stage, unit) for stage in stages for unit in range(TILES)
    )
    assert {n for *_, n in rows} == {1}
    numbers = project.query(
        "select count(*), count(distinct stage * 1e6 + unit * 1e3 + attempt) from attempts"
    )
    assert numbers[0][0] == numbers[0][1]  # no attempt number was given twice
    assert project.query("select count(*) from batches") == [(0,)]
    for name in ("smooth", "sharp"):
        np.testing.assert_array_equal(project[name].data.to_numpy(), wanted[name].data.to_numpy())
    pd.testing.assert_frame_equal(project["bright"].data, wanted["bright"].data)
    padded = np.pad(image(), 2, mode="symmetric")
    smooth = median_filter(padded, 5)[2:-2, 2:-2]
    np.testing.assert_array_equal(project["smooth"].data.to_numpy(), smooth)
    np.testing.assert_array_equal(
        project["sharp"].data.to_numpy(), image().astype("i4") - smooth.astype("i4")
    )
    left = leftovers(folder)
    assert not left, left
    check_status_array(project)


def leftovers(folder):
    """Files in the staging area, and files of unfinished writes anywhere in the project."""
    found = [p for p in (Path(folder) / "staging").rglob("*") if p.is_file()]
    found += [p for p in Path(folder).rglob("*") if p.name.endswith((".partial", ".new", ".tmp"))]
    return [str(p.relative_to(folder)) for p in found]


def check_status_array(project):
    """status.zarr agrees with the journal."""
    import xarray as xr

    with xr.open_zarr(project.path / "status.zarr") as stored:
        stored.load()
        status = project.status
        assert stored.stage.to_numpy().tolist() == status.stage.to_numpy().tolist()
        for name in ("state", "attempts"):
            np.testing.assert_array_equal(stored[name].to_numpy(), status[name].to_numpy())


if __name__ == "__main__":
    main()
