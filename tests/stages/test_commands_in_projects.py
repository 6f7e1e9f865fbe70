"""Commands in whole projects: with other stages before and after, changed, and opened again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster

import latticework as lw
from latticework.errors import StageError
from latticework.lattice.states import State
from latticework.stages.reads import all_tiles, neighbours, plane
from tests.project import steps
from tests.project.running import run_here
from tests.stages.benches import tiff_tiles

THRESHOLD = (
    "import sys, tifffile; a = tifffile.imread(sys.argv[1]); "
    "tifffile.imwrite(sys.argv[2], (a >= float(sys.argv[3])).astype('u1'))"
)
ROOT = Path(__file__).resolve().parents[2]


def segment(level=3):
    return lw.command(
        [sys.executable, "-c", THRESHOLD, "{input}", "{file.mask}", "{level}"],
        name="segment", params={"level": level},
        files={"mask": lw.file("{tile} mask.tif", shape="tile", dtype="u1")},
    )  # fmt: skip


def size(files):
    return {"bytes": files["mask"].stat().st_size, "sum": int(tifffile.imread(files["mask"]).sum())}


def soon(what, seconds=30.0):
    """Whether something becomes so."""
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.05)
    return what()


def started(folder, n):
    """Processes that noted themselves in a folder, once there are as many."""
    assert soon(lambda: len(list(folder.iterdir())) >= n)
    return [int(path.name) for path in folder.iterdir()]


def runs(pid):
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def project(tmp_path):
    return lw.create(tmp_path / "it's a project.lw", tiff_tiles(tmp_path / "raw data"))


def test_commands_read_and_feed_stages_of_python(project):
    project.add(steps.add, amount=1)
    project.add(segment(), after="add")
    project.add(size, after="segment")
    count = "import json, sys, tifffile; n = int(tifffile.imread(sys.argv[1]).sum()); "
    project.add(
        lw.command(
            [sys.executable, "-c", count + "json.dump(n, open(sys.argv[2], 'w'))",
             "{input.segment.mask}", "{file.n}"],
            name="count", files={"n": "n.json"}, result="n",
        ),
        after="segment",
    )  # fmt: skip
    run_here(project)
    assert (project.status.state == State.COMPLETE).all()
    expected = [0, 0, 64, 64, 64, 64]
    assert project["size"].data["sum"].tolist() == expected
    assert [project["count"].tile(k) for k in range(6)] == expected
    files = project["segment"].files(3)
    assert files["mask"].name == f"{project.lattice.tile(3).name} mask.tif"
    assert (tifffile.imread(files["mask"]) == 1).all()


def test_a_misspelt_parameter_of_a_command_is_refused_and_makes_nothing_stale(project):
    project.add(segment())
    run_here(project)
    with pytest.raises(StageError, match=r"no placeholder \{levle\}.*did you mean level"):
        project.change("segment", levle=5)
    with pytest.raises(StageError, match=r"no placeholder \{levle\}"):
        project.add(segment().with_options(params={"level": 3, "levle": 5}))
    assert (project.status.state == State.COMPLETE).all()


def test_a_changed_parameter_makes_new_files_and_what_reads_them(project):
    project.add(segment())
    project.add(size, after="segment")
    run_here(project)
    project.add(segment(level=5))
    run_here(project)
    assert project["size"].data["sum"].tolist() == [0] * 5 + [64]
    assert project.attempts("size")["attempt"].max() == 2
    left = sorted(path.name for path in Path(project.path).rglob("*mask.tif"))
    assert len(left) == 6


def test_a_command_runs_again_in_another_process_without_its_code(project):
    project.add(segment())
    code = (
        "import sys, latticework as lw; from tests.project.running import run_here; "
        "project = lw.open_project(sys.argv[1]); run_here(project); "
        "print(int((project.status.state == 4).sum()))"
    )
    path = str(project.path)
    del project
    ran = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith("6")


def test_pairs_along_an_axis_know_where_there_is_no_neighbour(project):
    stage = lw.command(
        "echo {tile} {neighbour_name} > {file.o}", shell=True, name="pairs", files={"o": "o"},
        reads=neighbours("+x", missing="run"), absent="none",
    )  # fmt: skip
    project.add(stage)
    run_here(project)
    names = [project.lattice.tile(k).name for k in range(6)]
    for k in range(6):
        right = names[k + 1] if k % 3 < 2 else "none"
        assert project["pairs"].files(k)["o"].read_text() == f"{names[k]} {right}\n"


def test_a_failing_command_is_tried_again_and_all_its_attempts_are_told(project):
    stage = lw.command(
        "echo try {attempt}; test {attempt} = 3", shell=True, name="flaky", retries=2
    )
    project.add(stage)
    run_here(project)
    rows = project.attempts("flaky", 0)
    assert rows["exit_code"].tolist() == [1, 1, 0]
    assert "exited with 1" in rows["message"].iloc[0]
    assert (project.status.state == State.COMPLETE).all()


def test_placeholders_are_checked_when_a_stage_is_added(project):
    project.add(segment())
    with pytest.raises(StageError, match=r"no placeholder \{z\}"):
        project.add(lw.command(["true", "{z}"], name="other"))
    with pytest.raises(StageError, match="no placeholder"):
        project.add(lw.command(["true", "{input.segment.msak}"], name="other"), after="segment")
    assert "other" not in project.stages


def test_what_failed_a_check_is_not_published(project):
    bad = segment().with_options(function=lw.command(
        "printf x > {file.mask} # {level}", shell=True, name="segment", params={"level": 3},
        files={"mask": lw.file("m.tif", dtype="u1")},
    ).function, retries=0)  # fmt: skip
    project.add(bad)
    run_here(project)
    assert (project.status.state == State.FAILED).all()
    assert "cannot be read as an array" in project.why("segment", 0)
    assert not (Path(project.path) / "stages" / "segment" / "files").exists()
    assert np.all(project.attempts("segment")["exit_code"] == 0)


def test_planes_and_all_tiles_are_lists_of_paths(project):
    for name, reads, text in (
        ("planes", plane("y"), "printf '%s\\n' {input} > {file.o}"),
        ("all", all_tiles(), "cat {input_list} > {file.o}"),
    ):
        project.add(lw.command(text, shell=True, name=name, files={"o": "o.txt"}, reads=reads))
    run_here(project)
    raw = project["all"].files(0)["o"].parents[6] / "raw data"
    lines = project["all"].files(0)["o"].read_text().splitlines()
    assert sorted(lines) == sorted(map(str, raw.glob("*.tif")))
    for k in range(2):
        lines = project["planes"].files(k)["o"].read_text().splitlines()
        assert lines == [str(raw / f"tile_y{k}_x{x}.tif") for x in range(3)]


def test_a_tile_is_given_with_its_halo_and_the_result_without(project):
    code = (
        "import sys, numpy as np, tifffile; a = tifffile.imread(sys.argv[1]); "
        "np.save(sys.argv[2], np.pad(a[1:-1, 1:-1], 1) + a.shape[0])"
    )
    project.add(
        lw.command(
            [sys.executable, "-c", code, "{input}", "{file.r}"], name="halo",
            files={"r": "r.npy"}, result="r", overlap=1, boundary="nearest",
        )
    )  # fmt: skip
    run_here(project)
    for k in range(6):
        assert (project["halo"].tile(k).to_numpy() == k + 10).all()


def test_cancelled_units_stay_so_until_they_are_tried_again(project):
    project.add(segment())
    project.cancel("segment", 2)
    run_here(project)
    states = project.status.state.to_numpy().ravel()
    assert (states == State.CANCELLED).sum() == 1
    project.retry("segment", 2)
    run_here(project)
    assert (project.status.state == State.COMPLETE).all()


def test_commands_end_with_a_killed_worker_and_when_they_are_cancelled(project, tmp_path):
    folder = tmp_path / "pids"
    folder.mkdir()
    stage = lw.command(
        "sleep 400 & touch {pids}/$!; wait",
        shell=True, name="slow", params={"pids": str(folder)},
    )  # fmt: skip
    project.add(stage)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        run = project.start(client)
        first = started(folder, 2)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        assert soon(lambda: sum(map(runs, first)) == 1)
        again = started(folder, 3)
        assert sum(map(runs, again)) == 2
        project.cancel("slow")
        assert soon(lambda: not any(map(runs, started(folder, 3))))
        run.wait(60)
    assert (project.status.state == State.CANCELLED).all()
    messages = project.attempts("slow")["message"].dropna()
    assert messages.str.contains("cancelled after").all()
