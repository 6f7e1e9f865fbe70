"""What a stitching writes, replaces and removes: only what is its own."""

import pytest

from latticework.stitch import stitch
from latticework.stitch.block_units import in_the_making
from tests.stitch.test_stitching import pixels_of, scene_of, tiles_of

KEY = "0123456789abcdef"


@pytest.fixture
def whole(tmp_path, local_client):
    """Stitch on the session's cluster, without a page."""

    def run(tiles, name="brain.ome.zarr", **options):
        options = {"report": False, "progress": "none", "where": local_client, **options}
        return stitch(tiles, tmp_path / name, **options)

    return run


def test_only_what_was_begun_by_a_stitching_of_this_very_image_is_removed(
    whole, tmp_path, monkeypatch
):
    tiles, _ = tiles_of(scene_of((1, 2)), (1, 2), noise=4)
    kept = [
        *("y[1].ome.zarr.my.part", f"y[1].ome.zarr.{KEY}.part", "y1.ome.zarr.abcdef.part"),
        *(f"y1.ome.zarr.{KEY}.part", f"y[1].ome.zarr.{KEY.upper()}.part", "y[1].ome.zarr.0.part"),
    ]
    for name in kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    monkeypatch.setattr("latticework.stitch.stitching.MAKING", ("volume",))
    whole(tiles, "y[1].ome.zarr", block=(64, 64))  # begun, and not complete
    [begun] = in_the_making(tmp_path / "y[1].ome.zarr")
    monkeypatch.undo()
    done = whole(tiles, "y[1].ome.zarr", block=(48, 48))
    assert not begun.exists()
    assert pixels_of(done.image).any()
    for name in kept:
        assert (tmp_path / name / "mine.txt").read_text() == "mine"
