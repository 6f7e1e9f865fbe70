"""Following an acquisition from the command line, in real processes, while a microscope runs."""

import io
import json
import re
import signal
import time

import numpy as np
import pytest
from rich.console import Console

import latticework as lw
from latticework.lattice.states import State
from latticework.project.following import read_following
from latticework.testing import simulate, write_pattern
from latticework.testing.live import LiveMicroscope
from latticework.viz.progress_lines import LineProgress
from latticework.viz.progress_rich import RichProgress

from .test_processes import finish, wait_for

PIPELINE = """\
import latticework as lw


def bright(tile, *, by=1):
    return tile + by


def above(tile, neighbours):
    return {"below": neighbours["+y"] is not None}


def pipeline(project):
    bright_ = project.add(bright)
    project.add(above, after=bright_, reads=lw.neighbours("+y"))
"""
QUICK = ("--settle", "0.2", "--interval", "0.1", "--overlap", "10%", "--workers", "1")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "stages.py"
    path.write_text(PIPELINE)
    return path


@pytest.fixture
def incoming(tmp_path):
    return tmp_path / "kommt an"


@pytest.fixture
def microscope(tmp_path, incoming):
    """Twelve tiles, two of which are written slowly, and then a marker."""
    lattice, _ = simulate({"y": 4, "x": 3}, tile_shape={"y": 32, "x": 32})
    prepared = tmp_path / "prepared"
    write_pattern(lattice, prepared, pattern="y{tile_y}_x{tile_x}.tif")
    rng = np.random.default_rng(7)
    return LiveMicroscope(prepared, incoming, rng=rng, order="random", slow=2, end="FERTIG")


def test_status_says_since_when_the_folder_is_gone(
    typed, incoming, microscope, file, project_folder, shell
):
    for _ in range(3):
        microscope.step()
    began = time.time()
    words = ("watch", incoming, project_folder, "--pipeline", file, "--end", "FERTIG", *QUICK)
    process = shell(*words, "--progress", "lines")
    project_file = project_folder / "project.json"
    wait_for(lambda: process.poll() is not None or project_file.exists())
    assert process.poll() is None, process.communicate()[0]
    away = incoming.with_name("away")
    incoming.rename(away)

    def troubled():
        following = read_following(project_folder)
        return following is not None and following.troubles

    def said():
        return typed("status", project_folder, code=1)

    wait_for(troubled)  # the project is there before its run is, and looks all right until then
    [line] = [line for line in said().splitlines() if "cannot be looked into" in line]
    assert re.match(r"Since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(for .*\): ", line), line
    assert str(incoming) in line
    found = json.loads(typed("status", project_folder, "--json", code=1))["following"]
    [[text, since]] = found["troubles"]
    assert "nothing changes" in text
    assert began < since < time.time()
    away.rename(incoming)
    wait_for(lambda: "cannot be looked into" not in said())
    process.send_signal(signal.SIGINT)
    finish(process)


def test_tiles_flow_through_while_they_arrive_and_again_after_ctrl_c(
    typed, incoming, microscope, file, project_folder, shell
):
    words = ("watch", incoming, project_folder, "--pipeline", file, "--end", "FERTIG", *QUICK)
    first = shell(*words, "--progress", "lines")
    for _ in range(6):
        microscope.step()
        time.sleep(0.05)
    half = incoming / "y9_x9.tif"  # begun, and never finished
    half.write_bytes((microscope.prepared / "y0_x0.tif").read_bytes()[:200])
    wait_for(lambda: first.poll() is not None or (project_folder / "project.json").exists())
    assert first.poll() is None, first.communicate()[0]
    project = lw.open_project(project_folder)
    wait_for(lambda: project.counts.get("bright", {}).get("complete", 0) >= 4)

    # Others see what arrives and what is held back, and may steer.
    wait_for(lambda: "seen but not read yet" in typed("status", project_folder, code=1))
    text = typed("status", project_folder, code=1)
    assert "y9_x9.tif: " in text
    assert "arrive" in text
    assert "disk: " in text
    found = json.loads(typed("status", project_folder, "--json", code=1))
    assert found["keeping_up"]["tiles"] == len(project.lattice)
    assert found["following"]["n_held"] >= 1
    assert [stage["name"] for stage in found["keeping_up"]["stages"]] == ["bright", "above"]
    assert "The run does it now." in typed("change", project_folder, "bright", "by=2")

    first.send_signal(signal.SIGINT)
    output, code = finish(first)
    assert code == 130, output
    assert "waiting for the first tile in" in output
    assert "Stages: bright, above" in output
    assert " watch " in output.split("To go on: ")[1]
    assert "Traceback" not in output
    assert not project.settings.ended

    # The same again, without saying how: it goes on with what has arrived meanwhile.
    half.unlink()
    microscope.run()
    second = shell("watch", project_folder, "--workers", "1", "--progress", "lines")
    output, code = finish(second)
    assert code == 0, output
    assert "the acquisition has ended" in output
    assert "left as they are: bright" in output
    assert project.counts == {"bright": {"complete": 12}, "above": {"complete": 12}}
    source, bright = project["source"], project["bright"]
    assert all((bright.tile(n) == source.tile(n) + 2).all() for n in range(12))
    table = project["above"].data
    assert int(np.sum(table["below"])) == 9  # ragged edges ran without in the end
    assert "arrive" not in typed("status", project_folder)


def test_the_end_can_be_said(typed, incoming, microscope, file, project_folder, shell):
    microscope.run()
    (incoming / "FERTIG").unlink()
    words = ("watch", incoming, project_folder, "--pipeline", file, *QUICK)
    watching = shell(*words, "--progress", "none")
    wait_for(lambda: watching.poll() is not None or (project_folder / "project.json").exists())
    project = lw.open_project(project_folder)
    wait_for(lambda: project.counts.get("bright", {}).get("complete") == 12)
    wait_for(lambda: project.counts["above"].get("complete") == 9)
    assert project.counts["above"].get("waiting") == 3  # for what may come below
    assert "1 tile left" in typed("withdraw", project_folder, "y0_x0.tif")
    assert "The acquisition is over. The run does it now." in typed("end", project_folder)
    output, code = finish(watching)
    assert code == 0, output
    assert project.counts["above"]["complete"] == 11


def test_what_cannot_be_watched_is_said(typed, incoming, tmp_path):
    new = tmp_path / "new.lw"
    incoming.mkdir()
    (tmp_path / "dashboard.json").write_text("{}")
    broken = tmp_path / "broken.py"
    broken.write_text("pipeline = 3\n")
    for words, message in [
        ((incoming,), "say which project"),
        ((incoming, new, "--workers", "1", "--scheduler", "tcp://a:1"), "give one of them"),
        ((incoming, new, "--pipeline", broken), "has no function 'pipeline(project)'"),
        ((incoming, new, "--end", "0"), "expected the name of a file, or a number"),
        ((incoming, tmp_path), "is not a project"),
        ((tmp_path / "dashboard.json", new, "--done-marker", "*.done"), "leave it out"),
        ((incoming, new, "--grid", "7"), "7x9"),
        ((incoming, new, "--grid", "2x3", "--end", "7"), "--end 7: --grid 2x3 has 6 tiles"),
    ]:
        text = typed("watch", *words, code=2)
        assert message in text, words
        assert "Traceback" not in text
    assert not new.exists()


@pytest.mark.slow
def test_numbers_of_a_grid_are_asked_for_and_its_last_tile_is_the_end(
    typed, acquisition, tmp_path, file, project_folder, shell
):
    (acquisition / "tile1.tif").rename(tmp_path / "tile1.tif")
    (acquisition / "tile6.tif").rename(tmp_path / "tile6.tif")
    (acquisition / "tile2.tif").touch()  # not the first in time
    words = ("watch", acquisition, project_folder, "--pipeline", file, "--grid", "2x3", *QUICK)
    with (tmp_path / "said.txt").open("w+") as said:
        asking = shell(*words, stdout=said)
        wait_for(
            lambda: asking.poll() is not None or "--first" in (tmp_path / "said.txt").read_text()
        )
        asking.send_signal(signal.SIGINT)
        finish(asking)
    text = (tmp_path / "said.txt").read_text()
    assert text.count("waiting for the first tile in") == 1
    assert text.count("4 files are there (tile2.tif, tile3.tif, tile4.tif and 1 more), but") == 1
    assert "say --first 0 or --first 1" in text

    watching = shell(*words, "--first", "1", "--progress", "lines")
    wait_for((project_folder / "project.json").exists)
    project = lw.open_project(project_folder)
    wait_for(lambda: project.counts.get("bright", {}).get("complete") == 4)
    watching.send_signal(signal.SIGINT)
    output, code = finish(watching)
    assert code == 130, output

    status = typed("status", project_folder, code=1)
    assert f"It ends when 6 tiles are there, or with: latticework end '{project_folder}'" in status
    assert " for its end: above " in status
    found = json.loads(typed("status", project_folder, "--json", code=1))["acquisition"]
    assert found["goes_on"]
    assert found["ends_with"] == 6
    assert found["waiting_for_end"]["above"] >= 1
    assert f"latticework end '{project_folder}'" in typed("why", project_folder, "above", code=0)
    ran = typed("run", project_folder, "--workers", "1", "--progress", "none", code=1)
    assert "The acquisition goes on (4 tiles so far)" in ran
    assert "latticework watch" in ran

    for name in ("tile1.tif", "tile6.tif"):
        (tmp_path / name).rename(acquisition / name)
    output, code = finish(shell("watch", project_folder, "--workers", "1"))
    assert code == 0, output
    assert "goes on" not in typed("status", project_folder)


def test_tiles_that_cannot_be_read_are_listed(typed, acquisition, project_folder, file):
    (acquisition / "tile3.tif").write_bytes(b"II*\0 half")
    options = ("--grid", "2x3", "--errors", "mark", "--pipeline", file)
    typed("init", acquisition, project_folder, *options)
    text = typed("status", project_folder, code=1)
    assert "1 tile of the acquisition cannot be read:\n  tile3.tif: " in text
    found = json.loads(typed("status", project_folder, "--json", code=1))
    assert found["failures"][0]["stage"] == "source"
    assert found["failures"][0]["tile"] == "tile3.tif"
    assert (found["n_failures"], found["acquisition"]["n_unreadable"]) == (1, 1)


def test_files_that_are_held_back_are_told_before_the_end(
    typed, incoming, microscope, file, project_folder, shell
):
    microscope.run()
    (incoming / "FERTIG").unlink()
    half = incoming / "y9_x9.tif"
    half.write_bytes((microscope.prepared / "y0_x0.tif").read_bytes()[:200])
    words = ("watch", incoming, project_folder, "--pipeline", file, *QUICK)
    watching = shell(*words, "--progress", "none")
    wait_for((project_folder / "following.json").exists)
    wait_for(lambda: "seen but not read yet" in typed("status", project_folder, code=1))
    text = typed("end", project_folder)
    assert "1 file seen but not read yet: what is whole by then joins" in text
    assert "  y9_x9.tif: " in text
    finish(watching)


GAUGE = "6.0 tiles/min arrive (60 so far)\nspots falls behind: 3.0/min of 6.0/min"


def test_lines_of_a_run_tell_the_gauge_when_it_changes():
    file = io.StringIO()
    shown = LineProgress(file=file, every_s=0)
    shown.start({"spots": 60})
    for text in (GAUGE, GAUGE, GAUGE.replace("60", "61")):
        shown.gauge(text)
        shown.update("spots", {State.COMPLETE: 30, State.WAITING: 30})
    assert file.getvalue().count("  spots falls behind: 3.0/min of 6.0/min") == 2
    assert file.getvalue().count("61 so far") == 1


def test_bars_of_a_run_stand_above_the_gauge():
    file = io.StringIO()
    console = Console(file=file, width=80, height=20, force_terminal=True, color_system="truecolor")
    shown = RichProgress(console=console)
    shown.start({"spots": 60})
    shown.update("spots", {State.COMPLETE: 30, State.WAITING: 30})
    shown.gauge(GAUGE + "\nsomething to blink: \x1b[5m")
    shown.finish()
    text = file.getvalue()
    assert text.rindex("50 %") < text.rindex("60 so far") < text.rindex("falls behind")
    assert "\x1b[5m" not in text
