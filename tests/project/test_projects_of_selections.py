"""A project of some of the tiles of an acquisition."""

import numpy as np
import pytest

import latticework as lw
from latticework.lattice import Box


@pytest.fixture
def wells():
    """Two wells of two tiles, each pixel the number of its tile."""
    arrays = {
        f"w{well}_x{x}": np.full((4, 6), 10 * well + x, "u2") for well in (1, 2) for x in range(2)
    }
    return lw.open_tiles(arrays, pattern=r"w{well:d}_x{x:d}", overlap=2)


def test_tiles_that_are_numbered_anew_keep_their_pixels(wells):
    second = wells.sel(well=2)
    anew = second.replace(ids=None)
    assert anew.ids.tolist() == [0, 1]
    box = Box((0, 0), (1, 1))
    for old, new in zip(second, anew, strict=True):
        assert second.source.read(old.id, box) == anew.source.read(new.id, box)
    assert (anew.source.fingerprints() == wells.source.fingerprints()[second.ids]).all()


def test_problems_go_along_with_their_tiles(wells):
    marked = wells.replace(problems={3: "it is torn", 0: "it is black"})
    assert marked.sel(well=2).replace(ids=None).problems == {1: "it is torn"}


def test_a_project_takes_a_selection(wells, tmp_path, local_client):
    def brightness(tile):
        return float(tile.mean())

    project = lw.create(tmp_path / "two.lw", wells.sel(well=2))
    project.add(brightness)
    assert project.run(local_client, progress="none")
    again = lw.create(tmp_path / "two.lw", wells.sel(well=2), exist_ok=True)
    assert sorted(again["brightness"].data["value"]) == [20, 21]
    with pytest.raises(lw.errors.ProjectExistsError):
        lw.create(tmp_path / "two.lw", wells.sel(well=1), exist_ok=True)
