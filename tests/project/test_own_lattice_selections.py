"""Units on a selection of another lattice."""

import numpy as np

import latticework as lw
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
