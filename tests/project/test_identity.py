"""Results belong to the project, the code and the parameters that were given, not to a cache's."""

import enum
import importlib
import json
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import latticework as lw
from latticework.errors import StageError
from latticework.stages.order import dump
from latticework.stages.params import describe, restore
from tests.project.running import numbered, run_here


def test_a_project_made_again_in_the_same_folder_reads_its_own_acquisition(folder):
    """Workers live longer than projects: what they opened of the first is not for the second."""
    _, array = numbered()
    for pixels in (array, array + 7):
        shutil.rmtree(folder / "p.lw", ignore_errors=True)
        block = lw.Lattice.from_array(pixels, block={"y": 6, "x": 8})
        project = lw.create(folder / "p.lw", block)
        project.add(np.invert, name="inverted")
        assert run_here(project)
        np.testing.assert_array_equal(project["inverted"].data, ~pixels)
        np.testing.assert_array_equal(project.source.data, pixels)


def test_looking_at_a_project_runs_none_of_its_code(folder):
    """Its journal may be somebody else's, and name any module or file."""
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(np.invert, name="inverted")
    assert run_here(project)
    mark, payload = folder / "was here", folder / "payload.py"
    payload.write_text(f"open({str(mark)!r}, 'w').close()\ndef f(tile): return tile\n")
    rewrite(project, "inverted", module="pipeline_file_payload", qualname="f", file=str(payload))
    found = lw.open_project(project.path)
    assert found.why("inverted", 0).startswith("complete")
    assert len(found.attempts("inverted")) == 20
    assert found["inverted"].data.shape == (24, 40)
    assert found.retry("inverted", failed=False) == 20
    assert not mark.exists()
    run_here(found)
    assert mark.exists()


def test_why_still_knows_stages_of_a_notebook(folder):
    lattice, _ = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.add(lambda tile: tile, name="kept")
    found = lw.open_project(project.path)
    assert "was defined in a notebook or script" in found.why("kept", 0)


def rewrite(project, stage, **function):
    """Change what a project's journal says of a stage's function."""
    database = sqlite3.connect(project.path / "journal.sqlite")
    ((text,),) = database.execute("select definition from stages where name=?", (stage,))
    definition = json.loads(text)
    definition["function"] |= function
    database.execute("update stages set definition=? where name=?", (json.dumps(definition), stage))
    database.commit()
    database.close()


class Mode(enum.IntEnum):
    """An integer that is more than an integer."""

    FAST = 1


EXACT = [
    (0, 1),
    [(1,), [2.5, None, True]],
    np.float32(2),
    np.uint8(200),
    np.float64(0.1),
    np.complex64(1 + 2j),
    np.bool_(True),
    {1: "one", "1": "text", (1, 2): 3},
    {"b": 1, "a": 2},
    {"array": 1},
    {"tuple": [1, 2]},
    {"items": [[1, 2]]},
    float("inf"),
    {},
]


@pytest.mark.parametrize("value", EXACT, ids=repr)
def test_parameters_come_back_as_they_were(value):
    """Through JSON with sorted keys, as in the journal: equal, of the same types, in order."""
    found = restore("value", json.loads(json.dumps(describe(value), sort_keys=True)))
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "value",
    [np.arange(3), xr.DataArray([1.0], dims="x"), {1}, b"x", Mode.FAST, np.longdouble(1), len],
    ids=repr,
)
def test_parameters_that_are_known_by_a_hash_do_not_come_back(value):
    with pytest.raises(StageError, match="add the stage again"):
        restore("value", describe([value]))


def labelled(dim="x", at=(0, 1)):
    return xr.DataArray([1.0, 2.0], dims=dim, coords={dim: list(at)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), [1, 2]),
        ({1: 2}, {"1": 2}),
        (np.float32(0.5), 0.5),
        (np.float32(0.5), np.float64(0.5)),
        (True, 1),
        (Mode.FAST, 1),
        (labelled(), labelled(at=(5, 6))),
        (labelled(), labelled(dim="y")),
        (np.array([1, "a"], object), np.array([2, "a"], object)),
        (frozenset([((((((((1,),),),),),),),)]), frozenset([((((((((2,),),),),),),),)])),
        ([1, 2], {"array": [1, 2]}),
    ],
    ids=repr,
)
def test_other_parameters_have_other_descriptions(one, other):
    assert json.dumps(describe(one)) != json.dumps(describe(other))


def test_equal_parameters_have_equal_descriptions():
    made = [np.array(["a" * 3, [1], float(2)], dtype=object) for _ in range(2)]
    assert describe(made[0]) == describe(made[1])
    assert describe(labelled()) == describe(labelled())


def test_workers_run_a_module_as_it_is_here_not_as_they_once_imported_it(folder, monkeypatch):
    file = folder / "edited_stage.py"
    file.write_text("A = 1\ndef helper(): return A\ndef f(): return helper()\n")
    monkeypatch.syspath_prepend(folder)
    module = importlib.import_module("edited_stage")
    file.write_text("A = 22222\ndef helper(): return A\ndef f(): return helper()\n")
    importlib.invalidate_caches()
    importlib.reload(module)
    (folder / "order").write_bytes(dump(module.f, module.f))
    file.write_text("def f(): return 'what the worker once imported'\n")
    worker = (
        f"import sys, pickle; sys.path.insert(0, {str(folder)!r}); import edited_stage\n"
        f"print(pickle.load(open({str(folder / 'order')!r}, 'rb'))())"
    )
    found = subprocess.run(
        [sys.executable, "-c", worker], capture_output=True, text=True, check=False
    )
    monkeypatch.delitem(sys.modules, "edited_stage")
    assert found.stdout.strip() == "22222", found.stderr
