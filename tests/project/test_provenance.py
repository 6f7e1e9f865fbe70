"""Where outputs come from: back to the source, each input once, as it was when they were made."""

import json
import time

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.project.provenance import provenance, save_provenance
from latticework.stages.reads import neighbours, plane
from tests.project import steps
from tests.project.running import numbered, run_here


def mean_of_plane(tiles):
    return float(tiles.mean().compute())


def pair(tile, others):
    return int(tile.sum()) - sum(int(other.sum()) for other in others.values() if other is not None)


@pytest.fixture
def project(folder):
    lattice, _ = numbered((3, 2, 4), (4, 5, 6))
    return lw.create(folder / "p.lw", lattice)


def told(project, stage, id=None, /, *, labels=None, **options):
    values = provenance(project, stage, id, labels or {}, **options)
    return json.loads(json.dumps(values))


def test_an_output_is_traced_through_every_stage_to_the_tile(project):
    project.add(steps.add, amount=3)
    project.add(steps.statistics, after="add")
    assert run_here(project)
    found = told(project, "statistics", labels={"z": 1, "y": 0, "x": 2})
    assert found["output"] == "statistics/10#1"
    assert found["current"]
    assert sorted(found["made"]) == ["add/10#1", "statistics/10#1"]
    top = found["made"]["statistics/10#1"]
    assert top["inputs"] == {"add": ["add/10#1"]}
    assert (top["tile"], top["labels"]) == ("z1_y0_x2", {"tile_z": 1, "tile_y": 0, "tile_x": 2})
    assert top["attempt"] == 1
    assert top["started"] <= top["ended"]
    assert top["queued"] <= top["started"]
    assert top["host"]
    below = found["made"]["add/10#1"]
    assert below["inputs"] == {"source": ["source/10"]}
    definition = found["definitions"][below["definition"]]
    assert definition["params"] == {"amount": 3}
    assert definition["function"]["qualname"] == "add"
    assert definition["function"]["module"] == "tests.project.steps"
    assert definition["function"]["file"].endswith("steps.py")
    assert definition["current"]
    session = found["sessions"][below["session"]]
    assert session["versions"]["numpy"] == np.__version__
    tile = found["source"]["source/10"]
    assert tile["fingerprint"] == f"{int(project.lattice.source.fingerprints()[10]):016x}"


def test_each_input_is_told_once(project):
    project.add(steps.add, amount=3)
    project.add(steps.same, after="add", overlap={"y": 1, "x": 1}, name="twice")
    project.add(steps.difference, after=["add", "twice"])
    assert run_here(project)
    found = told(project, "difference", 5)
    inputs = found["made"]["difference/5#1"]["inputs"]
    assert inputs == {"add": ["add/5#1"], "twice": ["twice/5#1"]}
    around = found["made"]["twice/5#1"]["inputs"]["add"]
    assert "add/5#1" in around
    assert len(around) == 6  # 2 x 3 tiles of its plane touch the halo
    assert sorted(found["source"]) == sorted(key.replace("add", "source")[:-2] for key in around)


def test_neighbours_and_planes_are_told_as_they_were_read(project):
    project.add(pair, reads=neighbours("+z"))
    project.add(mean_of_plane, reads=plane("z"), name="means")
    assert run_here(project)
    assert told(project, "pair", 1)["made"]["pair/1#1"]["inputs"]["source"] == [
        "source/1",
        "source/9",
    ]
    means = told(project, "means", labels={"z": 2})
    assert means["made"]["means/2#1"]["labels"] == {"tile_z": 2}
    assert means["made"]["means/2#1"]["inputs"]["source"] == [f"source/{k}" for k in range(16, 24)]


def test_many_inputs_are_summarised_with_a_digest_that_tells_them_apart(project):
    project.add(steps.add, amount=3)
    project.add(steps.largest, after="add", reads=lw.all_tiles())
    assert run_here(project)
    found = told(project, "largest", most=10)
    (key,) = found["made"]["largest/0#1"]["inputs"]["add"].values()
    summary = found["summaries"][key]
    assert summary["count"] == 24
    assert "units" not in summary
    (definition,) = summary["definitions"]
    assert found["definitions"][definition]["params"] == {"amount": 3}
    assert summary["definitions"][definition] == 24
    assert summary["sessions"] == ["1"]
    source = found["summaries"][summary["inputs"]["source"]["summary"]]
    assert source["count"] == 24
    full = told(project, "largest", most=10, full=True)
    assert full["summaries"][key]["units"] == [[tile, 1] for tile in range(24)]
    assert told(project, "largest", most=10)["summaries"] == found["summaries"]
    with project.lock().held():
        pass
    project.retry("add", 5, failed=False)
    assert run_here(project)
    again = told(project, "largest", most=10)
    (other,) = again["made"]["largest/0#2"]["inputs"]["add"].values()
    assert again["summaries"][other]["digest"] != summary["digest"]


def test_a_depth_limits_how_far_back_it_goes(project):
    project.add(steps.add)
    project.add(steps.same, after="add")
    project.add(steps.total, after="same")
    assert run_here(project)
    found = told(project, "total", 1, depth=1)
    assert sorted(found["made"]) == ["same/1#1", "total/1#1"]
    assert "inputs" not in found["made"]["same/1#1"]
    assert sorted(told(project, "total", 1, depth=0)["made"]) == ["total/1#1"]


def test_a_stale_output_tells_of_the_definition_that_made_it(project):
    project.add(steps.add, amount=3)
    project.add(steps.total, after="add")
    assert run_here(project)
    time.sleep(0.01)
    project.add(steps.add, amount=4)
    found = told(project, "total", 1)
    assert not found["current"]
    made_by = found["definitions"][found["made"]["add/1#1"]["definition"]]
    assert made_by["params"] == {"amount": 3}
    assert not made_by["current"]
    assert run_here(project)
    found = told(project, "total", 1)
    assert found["current"]
    assert sorted(found["made"]) == ["add/1#2", "total/1#2"]
    assert found["definitions"][found["made"]["add/1#2"]["definition"]]["params"] == {"amount": 4}


def test_a_stale_output_tells_of_the_attempts_that_it_read_not_of_later_ones(project):
    project.add(steps.add, amount=3)
    project.add(steps.total, after="add")
    assert run_here(project)
    project.add(steps.add, amount=4)
    run_here(project, ["add"])
    found = told(project, "total", 1)
    assert not found["current"]
    assert sorted(found["made"]) == ["add/1#1", "total/1#1"]
    assert found["definitions"][found["made"]["add/1#1"]["definition"]]["params"] == {"amount": 3}


def test_it_survives_a_change_of_parents_and_the_removal_of_stages(project):
    project.add(steps.add, amount=3)
    project.add(steps.same, after="add")
    project.add(steps.total, after="same")
    assert run_here(project)
    time.sleep(0.01)
    project.change("total", after="add")
    project.remove("same")
    found = told(project, "total", 1)
    assert not found["current"]
    assert sorted(found["made"]) == ["add/1#1", "same (removed)/1#1", "total/1#1"]
    assert found["made"]["total/1#1"]["inputs"] == {"same": ["same (removed)/1#1"]}


def test_what_read_a_stage_that_was_taken_out_between_still_tells_of_it(project):
    project.add(steps.add, amount=3)
    project.add(steps.same, after="add")
    project.add(steps.total, after="same")
    assert run_here(project)
    project.remove("same", children="reparent")
    found = told(project, "total", 1)
    assert not found["current"]
    assert sorted(found["made"]) == ["add/1#1", "same (removed)/1#1", "total/1#1"]
    project.add(steps.same, after="add")
    assert sorted(told(project, "total", 1)["made"]) == sorted(found["made"])
    assert run_here(project)
    assert sorted(told(project, "total", 1)["made"]) == ["add/1#1", "total/1#2"]


def test_a_change_of_retries_makes_nothing_old(project):
    project.add(steps.add, amount=3)
    assert run_here(project)
    project.add(steps.add, amount=3, retries=4)
    found = told(project, "add", 1)
    assert found["current"]
    (definition,) = found["definitions"].values()
    assert definition["current"]


def test_files_of_tiles_are_told_with_size_and_time(folder):
    tifffile = pytest.importorskip("tifffile")
    (folder / "tiles").mkdir()
    for number in range(4):
        name = f"tile_y{number // 2}_x{number % 2}.tif"
        tifffile.imwrite(folder / "tiles" / name, np.full((8, 9), number, "u2"))
    project = lw.create(folder / "p.lw", lw.open_tiles(folder / "tiles"))
    project.add(steps.total)
    assert run_here(project)
    (tile,) = told(project, "total", 3)["source"].values()
    path = folder / "tiles" / "tile_y1_x1.tif"
    assert tile["file"] == str(path)
    assert tile["bytes"] == path.stat().st_size
    assert tile["modified"].endswith("+00:00")
    path.unlink()
    (tile,) = told(project, "total", 3)["source"].values()
    assert tile["missing"]


def test_there_is_no_provenance_of_what_was_not_made(project):
    project.add(steps.add)
    with pytest.raises(ProjectError, match=r"published nothing at z0_y0_x1: ready to run"):
        told(project, "add", 1)
    with pytest.raises(ProjectError, match="acquired"):
        told(project, "source", 1)


def test_it_can_be_written_to_a_file(project, folder):
    project.add(steps.add)
    assert run_here(project)
    values = provenance(project, "add", 2, {})
    path = save_provenance(values, folder / "deep" / "add.json")
    assert json.loads(path.read_text()) == json.loads(json.dumps(values))
