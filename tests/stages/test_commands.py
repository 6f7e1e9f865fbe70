"""Commands as stages: what a program is given, what it must make, and how that is kept."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.errors import StageError, StoreError
from latticework.io import open_tiles
from latticework.io.memory import MemorySource
from latticework.io.records import to_json
from latticework.io.tables import stage_table
from latticework.lattice.lattice import Lattice
from latticework.stages.callables import Reference
from latticework.stages.command_checks import (
    check_command,
    check_placeholders,
    parameters_used,
)
from latticework.stages.outputs import Output, files_output, record_output, table_output
from latticework.stages.paths import attempt_log, files_folder, table_folder, tile_folder
from latticework.stages.placeholders import PLACEHOLDERS
from latticework.stages.processes import LOG_BYTES
from latticework.stages.produced import publish_files, read_files
from latticework.stages.reads import all_tiles, neighbours, nothing, same_tile
from latticework.stages.stage import Stage, fingerprint
from latticework.testing import write_smartspim
from tests.stages.benches import NAMES, Place, array_tiles, tiff_tiles

COMPLETE, INPUT, EXIT_CODE, OUTPUT_CHECK = 1, 4, 7, 8
ECHO = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w'))"
MAKE = "import numpy as np, sys; np.save(sys.argv[1], np.full(eval(sys.argv[2]), 7, sys.argv[3]))"


def echo(*arguments, **options):
    """A stage that writes its arguments to a file."""
    return lw.command(
        [sys.executable, "-c", ECHO, "{file.arguments}", *arguments],
        name="echo", files={"arguments": "arguments.json"}, **options,
    )  # fmt: skip


def make(shape="(8, 8)", dtype="u2", name="a.npy", **options):
    """A stage that makes an array."""
    return lw.command(
        [sys.executable, "-c", MAKE, "{output}/a.npy", shape, dtype],
        name="make", **{"files": {"a": lw.file(name)}, **options},
    )  # fmt: skip


def published(place, order, report, unit=0):
    """What a batch made of a unit, published as the coordinator does."""
    stage, lattice = order.stage, place.lattice
    folder = tile_folder(unit, lattice.tile(unit).name)
    publish_files(Path(report.staging), place.folder, stage, folder)
    return read_files(place.folder, stage, lattice, unit)


def echoed(place, stage, unit=0, **more):
    """Arguments that a stage's program was given."""
    order = place.order(stage) if isinstance(stage, Stage) else stage
    rows, report = place.run(order, [unit], **more)
    assert rows["outcome"].tolist() == [COMPLETE], report.failures
    return json.loads(published(place, order, report, unit)["arguments"].read_text())


# -------------------------------------------------------------------- what it is given


@pytest.mark.parametrize("unit", range(6))
def test_every_variable_of_mouselight_has_an_equivalent(tmp_path, unit):
    place = Place(tmp_path / "p", tiff_tiles(tmp_path / "raw data's"))
    stage = echo(
        *("{project}", "{project_root}", "{log}", "{x}", "{y}", "{step_px_x}", "{step_um_y}"),
        *("{expected_exit_code}", "{is_cluster}", "{stage}", "{neighbour}", "{neighbour_name}"),
        *("{input}", "{tile_path}", "{tile}", "{sigma}", "{attempt}", "{source_root}"),
        ok=[0, 3],
        params={"sigma": 2},
        reads=neighbours("+x", missing="run"),
        absent="no neighbour",
    )
    raw, tiles = tmp_path / "raw data's", place.lattice
    y, x = divmod(unit, 3)
    got = echoed(place, stage, unit, attempt=4)
    right = unit + 1 if x < 2 else None
    expected = [
        *("p", str(place.folder), str(place.folder / "logs"), str(x), str(y), "8", "4.0"),
        *("0", "0", "echo"),
        "no neighbour" if right is None else str(raw / f"tile_y{y}_x{x + 1}.tif"),
        "no neighbour" if right is None else tiles.tile(right).name,
        *(str(raw / f"tile_y{y}_x{x}.tif"), f"tile_y{y}_x{x}.tif", tiles.tile(unit).name),
        *("2", "4", str(raw)),
    ]
    assert got[2].startswith(expected[2])
    assert got[2].endswith("/4.log")
    assert got[:2] + got[3:] == expected[:2] + expected[3:]


def test_a_parameter_of_the_project_wins_and_never_moves_a_file(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    order = place.order(
        echo("{sigma}", "{tile}", "{attempt}", params={"sigma": 2}),
        parameters={"sigma": "a b", "tile": "theirs", "attempt": 9, "output": "/nowhere"},
    )
    assert echoed(place, order) == ["a b", "theirs", "1"]


@pytest.mark.parametrize("unit", range(6))
def test_names_with_spaces_quotes_and_new_lines_arrive_as_they_are(tmp_path, unit):
    place = Place(tmp_path / 'it\'s a "project"\n{tile}', array_tiles())
    assert echoed(place, echo("{tile}", "<{tile}>"), unit) == [NAMES[unit], f"<{NAMES[unit]}>"]


def test_a_shell_is_given_the_same(tmp_path):
    place = Place(tmp_path / "a 'b'", array_tiles())
    stage = lw.command(
        "printf '%s|' {tile} {list} > {file.text}; test -f {input}",
        shell=True, name="sh", files={"text": "o.txt"}, params={"list": ["$(id)", "a b"]},
    )  # fmt: skip
    order = place.order(stage)
    rows, report = place.run(order, range(6))
    assert rows["outcome"].tolist() == [COMPLETE] * 6
    for unit, name in enumerate(NAMES):
        text = published(place, order, report, unit)["text"].read_text()
        assert text == f"{name}|$(id)|a b|"


def test_neighbours_become_as_many_arguments_as_there_are(tmp_path):
    place = Place(tmp_path / "p", tiff_tiles(tmp_path / "raw"))
    stage = echo(
        *("{neighbours}", "--", "{neighbour[+y]}", "{neighbour_name.source[-x]}", "--"),
        "{neighbour_names}",
        reads=neighbours("-x", "+x", "+y", missing="run"),
    )
    raw, name = tmp_path / "raw", [place.lattice.tile(k).name for k in range(6)]
    assert echoed(place, stage, 0) == [
        *(str(raw / "tile_y0_x1.tif"), str(raw / "tile_y1_x0.tif"), "--"),
        *(str(raw / "tile_y1_x0.tif"), "", "--", name[1], name[3]),
    ]
    absent = (np.array([1], "<i8").tobytes(),)
    assert echoed(place, stage, 0, absent=absent)[0] == str(raw / "tile_y1_x0.tif")


def test_pixels_are_written_for_a_program_and_removed_afterwards(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    look = (
        "import sys, tifffile, numpy as np\n"
        "a = tifffile.imread(sys.argv[1])\n"
        "assert a.shape == (8, 8) and (a == int(sys.argv[2])).all()\n"
        "assert (np.load(sys.argv[3]) == a + 1).all()\n"
        "print(sys.argv[1]); print(sys.argv[3])"
    )
    shell = (
        f"{sys.executable} -c 'import numpy as n, sys, tifffile; "
        "n.save(sys.argv[2], tifffile.imread(sys.argv[1]) + 1)' {input} {scratch}/b.npy && "
        "exec {python} -c {look} {input} {unit} {scratch}/b.npy"
    )
    stage = lw.command(
        shell, shell=True, name="look", params={"python": sys.executable, "look": look}
    )
    rows, report = place.run(stage, [2, 5])
    assert rows["outcome"].tolist() == [COMPLETE, COMPLETE], report.failures
    assert rows["bytes_read"].min() >= 128
    printed = attempt_log(place.folder, "look", tile_folder(2, NAMES[2]), 1).read_text()
    assert printed
    assert not any(Path(line).exists() for line in printed.splitlines())
    assert report.staging == ""
    assert report.output == Output("nothing")


@pytest.mark.parametrize("form", ["tiff", "npy", "zarr"])
def test_the_acquisition_is_written_in_the_format_that_is_asked_for(tmp_path, form):
    place = Place(tmp_path / "p", tiff_tiles(tmp_path / "raw"))
    read = {
        "tiff": "tifffile.imread(f)", "npy": "np.load(f)", "zarr": "zarr.open_array(f, mode='r')[:]"
    }[form]  # fmt: skip
    library = {"tiff": "tifffile", "npy": "numpy as np", "zarr": "zarr"}[form]
    code = f"import sys, {library}; f = sys.argv[1]; assert ({read} == 4).all()"
    stage = lw.command(
        [sys.executable, "-c", code, "{input}"], name="look", inputs={"source": form}
    )
    rows, report = place.run(stage, [4])
    assert rows["outcome"].tolist() == [COMPLETE], report.failures


@pytest.fixture
def planes_in_files(tmp_path):
    """Two tiles of which every plane is a file of its own."""
    tiles = [np.arange(2 * 3 * 8 * 10).reshape(2, 3, 8, 10).astype("u2") + k for k in (0, 500)]
    lattice = Lattice.from_grid(
        {"y": 1, "x": 2}, tile_shape={"c": 2, "z": 3, "y": 8, "x": 10}, dtype="u2",
        pixel_size_um={"z": 2.0, "y": 1.8, "x": 1.8}, channels=["Ex_488_Em_0", "Ex_561_Em_1"],
        source=MemorySource(tiles),
    )  # fmt: skip
    write_smartspim(lattice, tmp_path / "raw")
    found = open_tiles(tmp_path / "raw", pixel_size_um={"y": 1.8, "x": 1.8})
    return Place(tmp_path / "p", found), tiles


def test_a_tile_of_several_files_is_one_path_with_all_its_pixels(tmp_path, planes_in_files):
    place, tiles = planes_in_files
    np.save(tmp_path / "expected.npy", tiles[1])
    code = (
        "import sys, numpy as np, tifffile; path, = sys.argv[2:]; "
        "assert (tifffile.imread(path) == np.load(sys.argv[1])).all()"
    )
    look = [sys.executable, "-c", code, str(tmp_path / "expected.npy")]
    rows, report = place.run(lw.command([*look, "{input}"], name="look"), [1])
    assert rows["outcome"].tolist() == [COMPLETE], report.failures
    listed = [*look, "--in={input}"]
    listed[2] = code.replace("sys.argv[2:]", "[a[5:] for a in sys.argv[2:]]")
    rows, report = place.run(lw.command(listed, name="look"), [1])
    assert rows["outcome"].tolist() == [COMPLETE], report.failures


def test_all_files_of_a_tile_are_given_as_they_are_where_that_is_asked_for(
    tmp_path, planes_in_files
):
    place, _ = planes_in_files
    files = sorted(str(path) for path in (tmp_path / "raw").rglob("*.tif"))
    mine = [path for path in files if place.lattice.tile(1).name in path]
    assert len(mine) == 6
    got = echoed(place, echo("{inputs}", reads=nothing()), 1)
    assert sorted(got) == mine
    code = "import sys; n = len(open(sys.argv[1]).readlines()); assert n == int(sys.argv[2])"
    for name, n, reads in (
        ("{inputs_list}", 6, same_tile()),
        ("{input_list}", 1, same_tile()),
        ("{inputs_list}", 12, all_tiles()),
        ("{input_list}", 2, all_tiles()),
    ):
        stage = lw.command([sys.executable, "-c", code, name, str(n)], name="count", reads=reads)
        rows, report = place.run(stage, [0])
        assert rows["outcome"].tolist() == [COMPLETE], report.failures


def test_a_tile_in_memory_is_written_once_for_both_of_its_names(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    one, other = echoed(place, echo("{input}", "{inputs}", inputs={"source": "zarr"}), 3)
    assert one == other


def test_tables_records_and_files_of_parents_are_given_as_paths(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    first = place.order(make())
    _, report = place.run(first, [1])
    files = published(place, first, report, 1)
    stage_table(table_folder(place.folder, "cells"), 1, pd.DataFrame({"n": [1, 2]}))
    code = (
        "import json, sys; a = sys.argv[2:]; json.dump([*a[:2], open(a[2]).read(), "
        "json.load(open(a[3]))], open(sys.argv[1], 'w'))"
    )
    stage = lw.command(
        [sys.executable, "-c", code.replace("{", "{{"), "{file.arguments}", "{input.make}",
         "{input.make.a}", "{input.cells}", "{input.shift}"], name="echo",
        files={"arguments": "arguments.json"}, inputs={"cells": "csv"},
    )  # fmt: skip
    parents = {"make": files_output(), "cells": table_output(), "shift": record_output()}
    records = [{"shift": {1: to_json({"y": 0.5})}}]
    got = echoed(place, place.order(stage, parents), 1, records=records)
    assert got == [str(files["a"]), str(files["a"]), "n\n1\n2\n", {"y": 0.5}]


def test_a_parent_that_cannot_be_read_is_no_fault_of_the_command(tmp_path):
    place = Place(tmp_path / "p", tiff_tiles(tmp_path / "raw"))
    (tmp_path / "raw" / "tile_y0_x1.tif").unlink()
    rows, report = place.run(echo("{input}"), [0, 1])
    assert rows["outcome"].tolist() == [COMPLETE, INPUT]
    assert "tile_y0_x1.tif" in report.failures[0].message


def test_a_command_that_reads_nothing_is_still_told_where_its_file_is(tmp_path):
    place = Place(tmp_path / "p", tiff_tiles(tmp_path / "raw"))
    assert echoed(place, echo("{input}", reads=nothing()), 2) == [
        str(tmp_path / "raw" / "tile_y0_x2.tif")
    ]


def test_the_environment_has_the_facts_the_threads_and_what_was_said(tmp_path, monkeypatch):
    monkeypatch.setenv("INHERITED", "yes")
    place = Place(tmp_path / "p", array_tiles())
    text = (
        'printf "%s|" "$INHERITED" "$OMP_NUM_THREADS" "$LATTICEWORK_TILE" "$MINE" > {file.o}; pwd'
    )
    stage = lw.command(
        text,
        shell=True,
        name="env",
        files={"o": "o.txt"},
        env={"MINE": "<{tile}>"},
        cwd="{scratch}",
    )
    order = place.order(stage, cores=3)
    _, report = place.run(order, [1])
    assert published(place, order, report, 1)["o"].read_text() == ("yes|3|with space|<with space>|")
    log = attempt_log(place.folder, "env", tile_folder(1, NAMES[1]), 1)
    assert "/scratch/1" in log.read_text()


# -------------------------------------------------------------------- what it must do


@pytest.mark.parametrize(("code", "outcome"), [(0, EXIT_CODE), (3, COMPLETE), (4, EXIT_CODE)])
def test_the_exit_codes_that_mean_success_are_declared(tmp_path, code, outcome):
    place = Place(tmp_path / "p", array_tiles())
    text = f"echo fine; echo 'no licence' >&2; exit {code}"
    rows, report = place.run(lw.command(text, shell=True, name="exits", ok=3))
    assert rows["outcome"].tolist() == [outcome]
    assert rows["exit_code"].tolist() == [code]
    if outcome != COMPLETE:
        message = report.failures[0].message
        assert f"exited with {code} (expected 3) for tile plain (tile_y=0, tile_x=0)" in message
        assert "no licence" in message
        log = attempt_log(place.folder, "exits", "0/0-plain", 1, "err")
        assert f"log at {log}" in message
        assert log.read_text() == "no licence\n"
        assert report.failures[0].error == "CommandError"


def test_a_program_that_crashes_says_by_which_signal(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    rows, report = place.run(lw.command("kill -SEGV $$", shell=True, name="crash"))
    assert rows["exit_code"].tolist() == [-11]
    assert "was ended by signal 11" in report.failures[0].message


def test_every_attempt_keeps_its_own_log(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    stage = lw.command("echo try {attempt}; test {attempt} = 3", shell=True, name="tries")
    outcomes = [place.run(stage, [0], attempt=k)[0]["outcome"][0] for k in (1, 2, 3)]
    assert outcomes == [EXIT_CODE, EXIT_CODE, COMPLETE]
    for k in (1, 2, 3):
        assert attempt_log(place.folder, "tries", "0/0-plain", k).read_text() == f"try {k}\n"


def test_what_a_program_cost_is_counted(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    code = "x = bytearray(300_000_000); sum(range(3_000_000))"
    rows, _ = place.run(lw.command([sys.executable, "-c", code], name="costs"))
    assert 0.03 < rows["cpu_s"][0] < 5
    assert rows["peak_memory"][0] > 300_000_000


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (make(files={"a": "b.npy"}), "'a' (b.npy) is not there; its folder has a.npy"),
        (make(files={"a": lw.file("a.npy", min_bytes=999)}), "bytes, but min_bytes=999"),
        (make(files={"a": lw.file("a.npy", shape=(8, 9))}), "shape (8, 8), but (8, 9)"),
        (make(files={"a": lw.file("a.npy", shape=(None, None, 1))}), "shape (8, 8)"),
        (make(shape="(4, 8)", files={"a": lw.file("a.npy", shape="tile")}), "(4, 8), but (8, 8)"),
        (make(files={"a": lw.file("a.npy", dtype="f4")}), "holds uint16, but float32"),
    ],
)
def test_a_file_that_is_not_as_declared_fails_the_unit(tmp_path, stage, message):
    place = Place(tmp_path / "p", array_tiles())
    rows, report = place.run(stage)
    assert rows["outcome"].tolist() == [OUTPUT_CHECK]
    assert rows["exit_code"].tolist() == [0]
    assert message in report.failures[0].message
    assert "(tile plain (tile_y=0, tile_x=0))" in report.failures[0].message
    assert report.staging == ""


@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.zarr"])
def test_arrays_are_checked_in_every_format_also_where_they_are_cut_short(tmp_path, name):
    code = """
import sys, os, numpy as np
f, cut = sys.argv[1], sys.argv[2] == "1"
a = np.arange(4096, dtype="u2").reshape(64, 64)
if f.endswith("tif"):
    import tifffile
    tifffile.imwrite(f, a)
elif f.endswith("npy"):
    np.save(f, a)
else:
    import zarr
    zarr.create_array(f, data=a)
if cut and not f.endswith("zarr"): os.truncate(f, os.path.getsize(f) - 1000)
elif cut: os.truncate(f + "/zarr.json", 10)
"""
    place = Place(tmp_path / "p", array_tiles())
    stage = lw.command(
        [sys.executable, "-c", code, "{file.a}", "{unit}"], name="cut",
        files={"a": lw.file(name, shape=(64, None), dtype="u2")},
    )  # fmt: skip
    rows, report = place.run(stage, [0, 1])
    assert rows["outcome"].tolist() == [COMPLETE, OUTPUT_CHECK], report.failures
    assert "cannot be read as an array" in report.failures[0].message


def test_hdf5_without_h5py_says_what_to_install(tmp_path):
    if "h5py" in sys.modules or _has("h5py"):
        pytest.skip("h5py is installed")
    place = Place(tmp_path / "p", array_tiles())
    stage = lw.command(
        "echo x > {file.a}", shell=True, name="h5", files={"a": lw.file("a.h5", dtype="u2")}
    )
    _, report = place.run(stage)
    assert "pip install h5py" in report.failures[0].message


def _has(module):
    import importlib.util

    return importlib.util.find_spec(module) is not None


# -------------------------------------------------------------------- what is kept


def test_all_files_are_kept_or_the_declared_ones(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    for keep, names in (("all", ["a.txt", "b.txt", "c.txt"]), ("declared", ["a.txt", "c.txt"])):
        stage = lw.command(
            "cd {output}; mkdir -p more; echo 1 > a.txt; echo 2 > more/b.txt; echo 3 > more/c.txt",
            shell=True, name="some", keep=keep, files={"a": "a.txt", "c": "more/c.txt"},
        )  # fmt: skip
        order = place.order(stage)
        _, report = place.run(order)
        files = published(place, order, report)
        assert [path.name for path in files.all] == names
        assert dict(files) == {"a": files.folder / "a.txt", "c": files.folder / "more/c.txt"}
        with pytest.raises(KeyError, match="declared are: a, c"):
            files["b"]


def test_new_files_take_the_place_of_old_ones_as_a_whole(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    for text in ("echo old > {output}/a; echo old > {output}/b", "echo new > {output}/a"):
        order = place.order(lw.command(text, shell=True, name="again", files={"a": "a"}))
        _, report = place.run(order)
        files = published(place, order, report)
    assert [path.name for path in files.all] == ["a"]
    assert files["a"].read_text() == "new\n"
    assert (Path(report.staging) / "files" / "0" / "0-plain" / "b").exists()  # goes with staging


def test_files_where_folders_cannot_be_exchanged_are_published_too(tmp_path, monkeypatch):
    monkeypatch.setattr("latticework.stages.produced.exchange", lambda *_: False)
    place = Place(tmp_path / "p", array_tiles())
    for text in ("old", "new"):
        order = place.order(
            lw.command(f"echo {text} > {{file.a}}", shell=True, name="again", files={"a": "a"})
        )
        _, report = place.run(order)
        files = published(place, order, report)
    assert files["a"].read_text() == "new\n"


def test_files_that_were_lost_are_told(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    order = place.order(make())
    with pytest.raises(StoreError, match="has no files of tile plain"):
        read_files(place.folder, "make", place.lattice, 0)
    _, report = place.run(order)
    published(place, order, report)["a"].unlink()
    with pytest.raises(StoreError, match=r"a is not in .* any more; run the stage again"):
        read_files(place.folder, "make", place.lattice, 0)
    assert files_folder(place.folder, "make").is_dir()


@pytest.mark.parametrize("name", ["x" * 300, "a/b/../c", "'\"\n", "", "ünï/💡", "."])
def test_any_name_of_a_tile_gives_a_safe_folder_of_its_own(name):
    folder = tile_folder(12034, name)
    assert folder.startswith("12/12034")
    assert len(folder) < 120
    assert folder.isascii()
    assert ".." not in Path(folder).parts
    assert len(Path(folder).parts) == 2
    assert tile_folder(1, name) != tile_folder(11, name)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.npy", MAKE, "array"),
        ("a.csv", "import sys; open(sys.argv[1], 'w').write('n,m\\n1,2\\n')", "table"),
        ("a.json", "import sys; open(sys.argv[1], 'w').write('{{\"n\": 3}}')", "record"),
    ],
)
def test_a_file_can_become_what_other_stages_read(tmp_path, name, text, kind):
    place = Place(tmp_path / "p", array_tiles())
    stage = lw.command(
        [sys.executable, "-c", text, "{file.r}", "(8, 8)", "f4"], name="result",
        files={"r": name}, result="r",
    )  # fmt: skip
    rows, report = place.run(stage, [0, 1])
    assert rows["outcome"].tolist() == [COMPLETE, COMPLETE], report.failures
    assert report.output.kind == kind
    if kind == "array":
        assert report.output == Output("array", "<f4", ("y", "x"), (8, 8))
    if kind == "record":
        assert [text for _, text in report.records] == ['{"n": 3}', '{"n": 3}']


# -------------------------------------------------------------------- what it is


def test_a_command_is_all_in_its_definition(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print(1)")
    stage = lw.command(
        [sys.executable, script, "{input}"], files={"a": lw.file("a.tif", shape=(None, 8))},
        ok=(0, 3), env={"A": "{tile}"}, cwd="{scratch}", inputs={"source": "npy"}, timeout=60,
    )  # fmt: skip
    definition = json.loads(json.dumps(stage.definition()))
    loaded = Reference.from_json(definition["function"]).load()
    assert loaded == stage.function
    again = Stage(loaded, stage.name, output=stage.output)
    assert fingerprint(again.definition()) == fingerprint(definition)
    assert stage.timeout == 60
    script.write_text("print(2)")
    assert fingerprint(again.definition()) != fingerprint(definition)
    with pytest.raises(StageError, match="runs in a project"):
        stage(1)


def test_a_stage_of_python_has_the_definition_that_it_always_had():
    assert "command" not in lw.stage(np.sqrt).definition()["function"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: lw.command("fiji {input}"), "is one text: give a list"),
        (lambda: lw.command([]), "a list of texts, the program first"),
        (lambda: lw.command(["a", "{file.x}"], files={"y": "y"}), r"no placeholder \{file.x\}"),
        (lambda: lw.command(["a", "{"]), "has a lone"),
        (lambda: lw.command(["a"], params={"tile": 1}), "already stands for the name of the tile"),
        (lambda: lw.command(["a"], params={"position_um_z": 1}), "already stands for"),
        (lambda: lw.command(["a"], params={"a b": 1}), "cannot be a placeholder"),
        (lambda: lw.command(["a"], result="x"), "is none of its files"),
        (lambda: lw.command(["a"], files={"x": "x.doc"}, result="x"), "cannot be read as a result"),
        (lambda: lw.command(["a"], files={"x": "../x"}), "is no path in the output folder"),
        (lambda: lw.command(["a"], files={"x": "/x"}), "is no path in the output folder"),
        (lambda: lw.command(["a"], files={"x": "a\0b"}), "is no path in the output folder"),
        (lambda: lw.command(["a"], files={"x": "{output}/x"}), "leave {output} out"),
        (lambda: lw.command(["a"], keep="some"), "keep='some'"),
        (lambda: lw.command(["a"], ok=()), "no exit code"),
        (lambda: lw.command(["a"], inputs={"source": "png"}), "names no format"),
        (lambda: lw.command(["a"], timeout=-1), "timeout=-1"),
        (lambda: lw.command("a '{input}'", shell=True), "inside ' quotes"),
        (lambda: lw.command(["a"], env={"A=B": "x"}), "no name for an environment variable"),
    ],
)
def test_what_is_wrong_is_refused_at_once(given, message):
    with pytest.raises(StageError, match=message):
        given()


def test_placeholders_are_checked_when_a_command_is_added():
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2")

    def check(text, *, offsets=(), inputs=None):
        check_placeholders(
            lw.command(["a", text, "{sigma}"], inputs=inputs, params={"sigma": 1}).function,
            lattice=lattice, params={"sigma": 1}, project={"dye": "GFP"},
            parents={"source": (), "clean": ["prob"]}, offsets=offsets,
        )  # fmt: skip

    for name in ("y", "tile_x", "index_y", "shape_x", "sigma", "dye", "input.clean", "tile_path"):
        check(f"{{{name}}}")
    check("{neighbour}", offsets=["+x"])
    check("{neighbour.clean[-x]}", offsets=["+x", "-x"])
    check("{input.clean.prob}")
    for name, message in (
        ("z", r"\{z\}"),
        ("sgima", r"did you mean \{sigma\}"),
        ("neighbour", r"no placeholder \{neighbour\}"),
        ("input.clean.brop", r"\{input.clean.prob\}"),
        ("input.claen", r"did you mean \{input.clean\}"),
    ):
        with pytest.raises(StageError, match=message):
            check(f"{{{name}}}")
    with pytest.raises(StageError, match="names no parent; there are source, clean"):
        check("", inputs={"dirty": "npy"})


def test_a_parameter_that_no_placeholder_takes_is_refused():
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    command = lw.command(
        ["a", "{sigma}"], env={"A": "{level}"}, files={"o": "{tile}{suffix}"},
        params={"sigma": 1, "level": 2, "suffix": "-a"},
    )  # fmt: skip
    check_command(command, lattice, {"source": None}, {})
    typo = command.with_options(params={**command.params, "sigm": 2})
    said = r"no placeholder \{sigm\} .*: did you mean sigma\? Its .* \{sigma\}, \{suffix\}"
    with pytest.raises(StageError, match=said):
        check_command(typo, lattice, {"source": None}, {})


def test_a_command_is_checked_against_its_pipeline():
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    parents = {"source": None, "make": make().definition()["function"]}
    reads = {"source": neighbours("+x")}
    for text in ("{input.make.a}", "{neighbour[+x]}", "{neighbour}", "{dye}"):
        check_command(lw.command(["a", text], reads=reads), lattice, parents, {"dye": 1})
    for text in ("{input.make.b}", "{neighbour[+y]}", "{gye}"):
        with pytest.raises(StageError, match="no placeholder"):
            check_command(lw.command(["a", text], reads=reads), lattice, parents, {"dye": 1})
    check_command(lw.stage(np.sqrt), lattice, parents, {})
    with pytest.raises(StageError, match=r"\{x\} already stands for something of the tile"):
        check_command(lw.command(["a"], params={"x": 1}), lattice, parents, {})


def test_parameters_of_a_project_that_a_command_uses_are_known():
    function = lw.command(["a", "{dye}-{tile}", "{output}"]).definition()["function"]
    parameters = {"dye": "GFP", "tile": "t", "output": "/x", "other": 1}
    assert parameters_used(function, parameters) == {"dye": "GFP", "tile": "t"}
    assert parameters_used(lw.stage(np.sqrt).definition()["function"], parameters) == {}


def test_a_placeholder_that_slipped_through_fails_the_unit_and_lists_the_others(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    rows, report = place.run(lw.command(["true", "{sgima}"], params={"sigma": 2}, name="t"))
    assert rows["outcome"].tolist() == [2]
    assert "did you mean {sigma}?" in report.failures[0].message


def test_the_guide_lists_every_placeholder():
    guide = (Path(__file__).parents[2] / "docs/how-to/commands.md").read_text()
    missing = [name for name in PLACEHOLDERS if f"`{{{name}}}`" not in guide]
    assert not missing
    assert LOG_BYTES == 64 * 2**20
    assert "64 MB" in guide


def test_relative_programs_are_found_from_where_they_were_named(tmp_path, monkeypatch):
    (tmp_path / "tools").mkdir()
    script = tmp_path / "tools" / "run.sh"
    script.write_text("#!/bin/sh\necho {done}")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    stage = lw.command(["tools/run.sh"])
    assert stage.function.argv == (str(script),)
    assert stage.name == "run"
    assert stage.function.scripts == (script,)
    monkeypatch.chdir(os.sep)
    rows, _ = Place(tmp_path / "p", array_tiles()).run(stage)
    assert rows["outcome"].tolist() == [COMPLETE]


@pytest.mark.parametrize("path", ["{project_root}/evil", "{sub}/x", "{sub}"])
def test_a_placeholder_of_a_declared_file_cannot_lead_out_of_its_folder(tmp_path, path):
    place = Place(tmp_path, array_tiles())
    stage = lw.command(
        [sys.executable, "-c", "pass", "{sub}", "{project_root}"],
        name="evil", files={"a": path}, params={"sub": "../../.."},
    )  # fmt: skip
    rows, report = place.run(place.order(stage), [0])
    assert rows["outcome"].tolist() == [OUTPUT_CHECK]
    assert "must not lead out of it" in report.failures[0].message
    assert "'a'" in report.failures[0].message
