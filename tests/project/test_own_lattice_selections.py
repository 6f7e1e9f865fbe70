"""Units on a selection of another lattice."""

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError
from tests.project.running import numbered, run_here


def names_and_sum(tiles):
    return {"n": len(tiles), "y": float(tiles.unit.position_um["y"])}


def test_units_can_be_a_selection_of_a_lattice(tmp_path):
    lattice, _ = numbered((4, 5))
    project = lw.create(tmp_path / "p.lw", lattice)
    chosen = lattice.take([7, 3, 12])
    project.add(names_and_sum, name="boxes", reads=lw.intersecting(chosen))
    assert run_here(project)
    rows = project["boxes"].data
    assert rows["n"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(sorted(rows["y"]), sorted(chosen.position_um[:, 0]))
    assert lw.open_project(project.path).counts == {"boxes": {"complete": 3}}


def total(tiles):
    return float(len(tiles))


def test_labels_of_axes_that_no_named_stage_has_are_refused(tmp_path):
    tiles = lw.open_tiles([np.zeros((8, 8), "u2")] * 6, grid={"y": 2, "x": 3})
    project = lw.create(tmp_path / "p.lw", tiles)
    project.add(np.abs, name="abs")
    project.add(total, after="abs", reads=lw.all_tiles())
    for steer in (project.retry, project.cancel):
        with pytest.raises(ProjectError, match="stage 'total' has no axis tile_y: it has one unit"):
            steer("total", y=1)
    assert project.cancel(["total", "abs"], y=1) == 3
