"""What people type to look at an acquisition and to make a project of it."""

import json

import numpy as np
import pytest
import tifffile

import latticework as lw
from latticework.cli.commands import commands
from latticework.cli.frame import called
from latticework.cli.options import ByAxis, Grid
from latticework.cli.words import selection


@pytest.mark.parametrize("name", [None, *commands.commands])
def test_every_command_explains_itself(typed, name):
    text = typed(*(() if name is None else (name,)), "--help")
    assert "Usage:" in text
    assert "latticework " in text.split("Usage:")[1]
    assert "Exit codes:" in text
    if name is not None:
        assert "Examples:" in text
        assert f"  latticework {name} " in text


def test_a_misspelt_command_is_answered_with_the_right_one_or_all(typed):
    assert "there is no command 'stich'; did you mean stitch?" in typed("stich", code=2)
    text = typed("fly", code=2)
    assert "there is no command 'fly'; there are demo, info, status, why" in text


def test_info_tells_the_lattice_and_draws_it(typed, acquisition, tmp_path):
    picture = tmp_path / "Karte.png"
    text = typed(
        "info", acquisition, "--grid", "2x3", "--snake", "--overlap", "25%", "--map", picture
    )
    assert "Lattice of 6 tiles: tile_y 2 × tile_x 3" in text
    assert "overlap y 4 px (25 %), x 5 px (25 %)" in text
    assert "read as     tiff" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_info_on_a_single_file(typed, acquisition):
    assert "Lattice of 1 tile" in typed("info", acquisition / "tile1.tif", "--grid", "1x1")


def test_info_says_what_is_wrong_in_one_message(typed, acquisition, tmp_path):
    assert "Traceback" not in (text := typed("info", tmp_path / "nowhere", code=2))
    assert "there is nothing at" in text
    text = typed("--debug", "info", tmp_path / "nowhere", code=2)
    assert text == "" or "nothing at" in text  # the traceback goes to standard error
    assert "write rows x columns" in typed("info", acquisition, "--grid", "many", code=2)


def test_unreadable_tiles_can_be_marked(typed, acquisition):
    broken = acquisition / "tile4.tif"
    broken.write_bytes(broken.read_bytes()[:150])
    options = (acquisition, "--grid", "2x3")
    assert "tile4.tif" in typed("info", *options, code=2)
    text = typed("info", *options, "--errors", "mark", code=1)
    assert "cannot be read: tile4.tif" in text


def test_a_project_is_made_and_told_about(typed, acquisition, pipeline_file, project_folder):
    text = typed(
        "init", acquisition, project_folder, "--grid", "2x3", "--pipeline", pipeline_file,
        "--pixel-size", "y=0.4,x=0.5", "--name", "eins",
    )  # fmt: skip
    assert "Stages: smooth, doubled, brightest" in text
    assert f"Next: latticework run '{project_folder}'" in text
    project = lw.open_project(project_folder)
    assert project.name == "eins"
    assert dict(project.lattice.pixel_size_um) == {"y": 0.4, "x": 0.5}
    text = typed("info", project_folder)
    assert "Project eins" in text
    assert "<stage 'doubled' after smooth: nothing yet; 6 waiting>" in text
    assert str(pipeline_file) in text


def test_a_folder_that_is_taken_is_refused(typed, made, acquisition, tmp_path):
    folder = made()
    assert "already" in typed("init", acquisition, folder, "--grid", "2x3", code=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    text = typed("init", acquisition, tmp_path / "other", "--grid", "2x3", code=2)
    assert "choose another folder" in text
    assert (tmp_path / "other" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def pipeline(project)\n    pass\n", "(line 1): SyntaxError"),
        ("import no_such_module\n", "(line 1): ModuleNotFoundError: No module named"),
        ("raise SystemExit(0)\n", "SystemExit"),
        ("def pipelin(project):\n    pass\n", "has no function 'pipeline(project)'"),
        ("def pipeline(project):\n    pass\n", "added no stage"),
        (
            "def pipeline(project):\n    x = 1\n    project.add(max, after='x')\n",
            "(line 3): after='x'",
        ),
        (
            "def pipeline(project):\n    project.add(max)\n    1 / 0\n",
            "(line 3): ZeroDivisionError",
        ),
    ],
)
def test_what_is_wrong_with_a_pipeline_names_the_line(
    typed, acquisition, project_folder, tmp_path, code, message
):
    file = tmp_path / "wrong.py"
    file.write_text(code)
    arguments = ("init", acquisition, project_folder, "--grid", "2x3", "--pipeline", file)
    text = typed(*arguments, code=2)
    assert message in text.replace("\n", " ")
    assert "wrong.py" in text
    assert not project_folder.exists()  # nothing half-made is left


def test_sizes_on_the_command_line():
    grid = Grid()
    assert grid.convert("3x7×9", None, None) == {"z": 3, "y": 7, "x": 9}
    by_axis = ByAxis()
    assert by_axis.convert("51", None, None) == 51
    assert by_axis.convert("12.5%", None, None) == 0.125
    assert by_axis.convert("z=2,y=0.4", None, None) == {"z": 2, "y": 0.4}


def test_labels_are_numbers_or_names_as_the_lattice_has_them():
    tiles = lw.Lattice(
        dims=["well", "tile_x"],
        labels={"well": np.array(["7", "E07"]), "tile_x": np.array([3, 5])},
        index=[[0, 0], [0, 1], [1, 0], [1, 1]],
        tile_dims=("y", "x"),
        tile_shape=(4, 4),
        dtype="u1",
    )
    assert selection(tiles, ["well=7", "x=5"]) == (None, {"well": "7", "x": 5})
    assert selection(tiles, ["2"]) == (2, {})
    for wrong, message in [("x=five", "numbers"), ("well", "labels of tiles"), ("-1", "labels of")]:
        with pytest.raises(Exception, match=message):
            selection(tiles, [wrong])
    with pytest.raises(lw.errors.LatticeError, match="no lattice axis 'z'"):
        selection(tiles, ["z=1"])


def test_options_reach_the_reader(typed, tmp_path):
    folder = tmp_path / "plate"
    folder.mkdir()
    for well in ("A01", "B02"):
        for site in (1, 2):
            for channel in (1, 2):
                name = f"{well}_s{site}_w{channel}.tif"
                tifffile.imwrite(folder / name, np.zeros((8, 8), "u2"))
    (tmp_path / "sites.csv").write_text(
        "well,site,y,x\nA01,1,0,0\nA01,2,0,7\nB02,1,0,0\nB02,2,0,7\n"
    )
    text = typed("info", folder, "--pattern", "{well}_s{x:d}_w{c:d}.tif", "--files", "*.tif")
    assert "well A01, B02" in text
    assert "c 2 × y 8 × x 8" in text


def test_status_as_json_of_a_new_project(typed, made, pipeline_file):
    folder = made(pipeline_file)
    told = json.loads(typed("status", folder, "--json", code=1))
    assert told["stages"]["smooth"] == {"counts": {"waiting": 6}, "total": 6}
    assert told["complete"] is False
    assert told["run_by"] is None


def test_a_taken_folder_is_refused_before_the_acquisition_is_read(typed, tmp_path, project_folder):
    project_folder.mkdir()
    (project_folder / "mine").touch()
    text = typed("init", tmp_path / "not there", project_folder, code=2)
    assert "exists and is not a project" in text


def test_errors_speak_of_options(typed, acquisition):
    for file in acquisition.iterdir():
        file.rename(file.with_name(f"{'abcdef'[int(file.stem[-1]) - 1]}.tif"))
    text = typed("info", acquisition, code=2)
    assert "--grid 2x3 (or other rows and columns that make 6)" in text
    assert "--positions table.csv" in text
    assert "--pattern '{row:d}_{col:d}.tif'" in text
    assert "grid=" not in text


@pytest.mark.parametrize(
    ("typed_as", "said"),
    [
        (".venv/bin/latticework", ".venv/bin/latticework"),
        ("my tools/latticework", "'my tools/latticework'"),
        ("bin/pytest", "latticework"),
    ],
)
def test_a_command_is_named_as_it_was_called(monkeypatch, typed_as, said):
    monkeypatch.setattr("sys.argv", [typed_as])
    monkeypatch.setenv("PATH", "")
    assert called() == said


def test_a_command_on_the_path_is_named_shortly(monkeypatch, tmp_path):
    program = tmp_path / "latticework"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [str(program)])
    assert called() == "latticework"
