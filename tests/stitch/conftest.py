"""What tests of stitching share."""

import pytest

from latticework.stitch import stitch


@pytest.fixture
def whole(tmp_path, local_client):
    """Stitch on the session's cluster, without a page."""

    def run(tiles, name="brain.ome.zarr", **options):
        options = {"report": False, "progress": "none", "where": local_client, **options}
        return stitch(tiles, tmp_path / name, **options)

    return run
