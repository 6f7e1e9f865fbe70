"""Mosaics of previews: every tile where it lies, in the contrast of its stage, however many."""

import tempfile
import time

import numpy as np
import pytest

import latticework as lw
from latticework.errors import LatticeError, ProjectError
from latticework.io.preview_files import Preview, PreviewWriter, waiting_name
from latticework.io.preview_merging import Merging
from latticework.io.preview_store import waiting_folder
from latticework.lattice import Lattice
from latticework.project.previews import previews_of
from latticework.stages.outputs import Output
from latticework.stages.paths import previews_folder
from latticework.viz import preview_mosaic


def project_of(array, block, **options):
    tiles = Lattice.from_array(array, block=block, **options)
    return lw.create(tempfile.mkdtemp() + "/test.lw", tiles)


def test_blocks_of_an_image_are_that_image_again():
    array = np.random.default_rng(0).integers(0, 9000, (70, 90)).astype("u2")
    project = project_of(array, {"y": 32, "x": 20}, pixel_size_um={"y": 2.0, "x": 2.0})
    found = preview_mosaic(project, "source")
    np.testing.assert_array_equal(found, array)
    assert found.attrs["extent_um"] == (0.0, 180.0, 140.0, 0.0)
    assert found.attrs["pixel_um"] == 2.0
    assert float(found.y[0]) == 1.0
    assert (found.attrs["tiles"], found.attrs["shown"], found.attrs["missing"]) == (15, 15, 0)
    part = preview_mosaic(project, "source", region=(1, 2, 0, 3))
    np.testing.assert_array_equal(part, array[32:64, :60])
    assert part.attrs["extent_um"] == (0.0, 120.0, 128.0, 64.0)


@pytest.mark.parametrize("max_px", [40, 17, 6])
def test_smaller_pictures_are_means(max_px):
    y, x = np.mgrid[:160, :200]
    array = (y * 3 + x).astype("f4")
    project = project_of(array, {"y": 40, "x": 40})
    found = preview_mosaic(project, "source", max_px=max_px)
    assert max(found.shape) <= max_px
    wanted = found.y.values[:, None] * 3 + found.x.values
    assert np.abs(found.values - wanted).max() < 5 * found.attrs["pixel_um"]


def test_overlaps_holes_planes_channels_and_ids_have_their_places():
    tiles, _ = lw.simulate({"z": 2, "y": 2, "x": 3}, tile_shape={"y": 40, "x": 50}, seed=1)
    project = lw.create(tempfile.mkdtemp() + "/test.lw", tiles)
    for z in (0, 1):
        found = preview_mosaic(project, "source", plane={"z": z})
        assert found.attrs["title"] == f"z {z}"
        np.testing.assert_array_equal(found, preview_mosaic(project, "source", plane=z))
        position = tiles.position_um - tiles.position_um.min(axis=0)
        for tile in tiles:
            if tile.labels["tile_z"] != z:
                continue
            y, x = (round(float(v)) for v in position[tile.id][-2:])
            shown = found.values[y : y + 30, x : x + 40]  # of it alone, up to its neighbours
            pixels = project.source.tile(tile.id).values[:30, :40]
            if tile.labels["tile_y"] == tile.labels["tile_x"] == 0:
                assert (shown == pixels).mean() > 0.5
    with pytest.raises(LatticeError, match="expected a number from 0 to 1"):
        preview_mosaic(project, "source", plane=2)
    with pytest.raises(LatticeError, match="along tile_z there are the labels 0, 1"):
        preview_mosaic(project, "source", plane={"z": 7})
    with pytest.raises(LatticeError, match="planes have the axes tile_z"):
        preview_mosaic(project, "source", plane={"y": 0})
    with pytest.raises(LatticeError, match="no channel 3: previews have 1"):
        preview_mosaic(project, "source", channel=3)
    with pytest.raises(ProjectError, match="makes a stage 'places' that does"):
        preview_mosaic(project, "source", positions="solved")
    empty = preview_mosaic(project, "source", region=(5, 6, 0, 1))
    assert (empty.shape, empty.attrs["tiles"]) == ((1, 1), 0)


def test_solved_positions_move_tiles():
    array = np.arange(40 * 60, dtype="f4").reshape(40, 60)
    project = project_of(array, {"y": 40, "x": 30})
    lattice = project.lattice
    moved = lattice.replace(position_um=lattice.position_um + np.array([[0, 0], [0, 10.0]]))
    found = preview_mosaic(project, "source", positions=moved)
    assert found.shape == (40, 70)
    assert np.isnan(found.values[:, 30:40]).all()
    np.testing.assert_array_equal(found.values[:, 40:], array[:, 30:])


def test_what_is_missing_is_counted_and_made_in_the_time_given():
    array = np.zeros((40, 40), "u2")
    project = project_of(array, {"y": 10, "x": 10})
    assert preview_mosaic(project, "source", make_s=0.0).attrs["missing"] == 16
    found = preview_mosaic(project, "source", make_s=0.0)
    assert np.isnan(found.values).all()
    assert preview_mosaic(project, "source").attrs["missing"] == 0


@pytest.fixture(scope="module")
def large():
    """A project of 22,500 tiles of which a stage has made 2 MB each, as far as one can see."""
    n = 150
    project = project_of(np.zeros((n, n), "u1"), {"y": 1, "x": 1})
    project.add(np.negative)
    node = project.pipeline["negative"]
    node.output, node.settled_for = (
        Output("array", "<u2", ("y", "x"), (1024, 1024)),
        (node.fingerprint),
    )
    node.units.published[:] = 1
    layout = previews_of(project, "negative").layout
    folder = previews_folder(project.path, "negative")
    pixels = np.full(layout.shape, 7, "u2")
    small = np.full(layout.small_shape, 7, "u2")
    file = waiting_folder(folder) / waiting_name(node.id, "batch")
    with PreviewWriter(file, layout) as writer:
        for unit in range(n * n):
            writer.add(unit, 1, Preview(pixels, small, np.array([[0.0, 10.0]])))
    Merging(folder, layout, node.id).run(everything=True)
    return project


def test_of_very_many_tiles_only_what_is_in_view_is_read(large, monkeypatch):
    previews = previews_of(large, "negative")
    read = []
    original = type(previews._store).read
    monkeypatch.setattr(
        type(previews._store), "read", lambda self, unit: read.append(unit) or original(self, unit)
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        found = preview_mosaic(large, "negative", max_px=1000)
        seconds.append(time.perf_counter() - start)
        assert (found.values == 7).all()
        assert found.attrs["shown"] == 22_500
    assert min(seconds) < 1.5
    assert not read  # only the smallest form
    found = preview_mosaic(large, "negative", region=(50, 54, 20, 25), max_px=1000)
    assert found.shape == (512, 640)
    assert (found.values == 7).all()
    assert len(read) == 20
    assert (found.attrs["low"], found.attrs["high"]) == (0.0, 10.0)
