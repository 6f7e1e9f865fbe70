"""Lists of tiles with numbers that cannot be."""

import json

import pytest

import latticework as lw
from latticework.errors import SourceError
from latticework.testing import write_mouselight


@pytest.mark.parametrize(
    "spoil",
    [
        lambda listed: listed["tiles"][1]["position"].update(x=1e308),
        lambda listed: listed["tiles"][1].update(id=10**30),
        lambda listed: listed["extents"].update(maximumZ=float("nan")),
    ],
    ids=["position", "id", "extent"],
)
def test_a_list_with_impossible_numbers_is_refused_by_name(tmp_path, spoil):
    lattice, _ = lw.simulate(
        {"z": 1, "y": 1, "x": 2}, tile_shape={"z": 4, "y": 16, "x": 16}, seed=1
    )
    write_mouselight(lattice, tmp_path)
    path = tmp_path / "pipeline-input.json"
    listed = json.loads(path.read_text())
    spoil(listed)
    path.write_text(json.dumps(listed))
    with pytest.raises(SourceError, match="whole numbers"):
        lw.open_tiles(path)
