"""Export: what is written can be read again, nothing is lost silently, nothing is overwritten."""

import dask.array
import numpy as np
import pandas as pd
import pytest
import tifffile

import latticework as lw
from latticework.errors import ProjectError
from latticework.io import open_tiles
from latticework.lattice import Box, Lattice
from latticework.testing import simulate
from tests.project import steps
from tests.project.running import run_here


def formula(tile):
    """Text that a spreadsheet would take for a formula; it is the user's own."""
    return pd.DataFrame({"label": ["=1+1", "-x", "@me", "+5 µm"], "n": tile.size})


SHAPES = {
    "2-D": ({"y": 3, "x": 2}, {"tile_shape": {"y": 24, "x": 32}}),
    "3-D with channels": (
        {"y": 2, "x": 3},
        {"tile_shape": {"z": 4, "y": 24, "x": 32}, "channels": ("nuclei", "fibres")},
    ),
    "layers": ({"z": 2, "y": 2, "x": 2}, {"tile_shape": {"z": 6, "y": 24, "x": 32}}),
}


def same_lattice(lattice, again, read):
    assert again.sizes == lattice.sizes
    assert np.array_equal(again.index, lattice.index)
    assert again.spatial_dims == lattice.spatial_dims
    np.testing.assert_allclose(again.position_um, lattice.position_um, rtol=1e-9, atol=1e-9)
    assert dict(again.pixel_size_um) == pytest.approx(dict(lattice.pixel_size_um))
    assert again.dtype == lattice.dtype
    assert again.channels == lattice.channels
    for tile in again:
        pixels = again.source.read(tile.id, Box.whole(tile.shape))
        assert np.array_equal(pixels, np.asarray(read(tile.id)))


@pytest.mark.parametrize("kind", SHAPES)
def test_exported_tiles_open_as_the_same_lattice(folder, kind):
    grid, options = SHAPES[kind]
    lattice, _ = simulate(grid, pixel_size_um={"z": 2.5, "y": 0.4, "x": 0.4}, **options)
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.same, name="same")
    run_here(project)
    files = project.export("same", folder / "out")
    assert not files.left_out
    assert not files.stale
    assert len(files) == len(lattice)
    same_lattice(lattice, open_tiles(folder / "out"), project["same"].tile)


def blocks_project(folder, shape=(8, 32, 48), block=(4, 16, 16)):
    array = np.random.default_rng(3).integers(0, 60000, shape).astype("u2")
    sizes = dict(zip("zyx", block, strict=True))
    lattice = Lattice.from_array(array, block=sizes, pixel_size_um={"z": 2.0, "y": 0.5, "x": 0.5})
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.same, name="same")
    run_here(project)
    return project, array


def test_exported_blocks_open_as_the_same_lattice(folder):
    project, _ = blocks_project(folder)
    project.export("same", folder / "out")
    same_lattice(project.lattice, open_tiles(folder / "out"), project["same"].tile)


@pytest.mark.parametrize("stage", ["source", "same"])
def test_a_volume_is_exported_as_one_file(folder, stage):
    project, array = blocks_project(folder, shape=(7, 30, 41))
    (file,) = project.export(stage, folder / "volume.tif")
    assert np.array_equal(tifffile.imread(file), array)
    (again,) = open_tiles(file)
    assert dict(again.pixel_size_um) == {"z": 2.0, "y": 0.5, "x": 0.5}
    with pytest.raises(ProjectError, match="blocks of the volume are chosen"):
        project.export("same", folder / "part.tif", z=0)


def test_a_volume_is_written_block_by_block(folder, monkeypatch):
    from latticework.stages.bench import ArrayInput

    largest = []
    read = ArrayInput.read_box

    def watched(self, tile, box):
        pixels = read(self, tile, box)
        largest.append(pixels.nbytes)
        return pixels

    project, _ = blocks_project(folder)
    monkeypatch.setattr(ArrayInput, "read_box", watched)
    project.export("same", folder / "volume.tif")
    assert max(largest) == 4 * 16 * 16 * 2
    assert len(largest) == len(project.lattice)


def test_a_large_volume_is_a_bigtiff(folder, monkeypatch):
    from latticework.project import tiff_files

    monkeypatch.setattr(tiff_files, "LARGE", 1000)
    project, array = blocks_project(folder)
    (file,) = project.export("same", folder / "volume.tiff")
    with tifffile.TiffFile(file) as tiff:
        assert tiff.is_bigtiff
        assert np.array_equal(tiff.asarray(), array)


@pytest.fixture
def project(folder):
    lattice, _ = simulate({"y": 2, "x": 3}, tile_shape={"y": 16, "x": 20})
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.same, name="same")
    project.add(steps.largest, name="mip", reads=lw.all_tiles(), after="same")
    project.add(steps.rows_above, name="spots", after="same", threshold=100)
    project.add(steps.statistics, name="stats", after="same")
    run_here(project)
    return project


def test_one_result_is_one_file(folder, project):
    assert project.export("mip", folder / "mip.tif") == [folder / "mip.tif"]
    assert np.array_equal(tifffile.imread(folder / "mip.tif"), project["mip"].data)
    project.export("same", folder / "one.TIFF", y=1, x=2)
    assert np.array_equal(tifffile.imread(folder / "one.TIFF"), project["same"].tile(y=1, x=2))
    with pytest.raises(ProjectError, match="6 tiles here: give a folder"):
        project.export("same", folder / "all.tif")
    assert not (folder / "all.tif").exists()


def test_tables_are_written_as_their_path_ends(folder, project):
    project.export("spots", folder / "spots.csv", y=1)
    project.export("spots", folder / "spots.parquet", y=1)
    (inside,) = project.export("stats", folder / "tables")
    table = pd.read_parquet(folder / "spots.parquet")
    assert set(table["tile_y"]) == {1}
    pd.testing.assert_frame_equal(pd.read_csv(folder / "spots.csv"), table, check_dtype=False)
    assert inside == folder / "tables" / "stats.csv"
    assert len(pd.read_csv(inside)) == 6


@pytest.mark.parametrize(
    ("stage", "name"),
    [("spots", "s.xlsx"), ("spots", "s.tif"), ("same", "s.csv"), ("mip", "m.png")],
)
def test_an_unknown_ending_is_refused(folder, project, stage, name):
    with pytest.raises(ProjectError, match=r"ends in \.\w+, but stage .* makes"):
        project.export(stage, folder / name)
    assert not (folder / name).exists()


@pytest.mark.parametrize(("stage", "name"), [("spots", "s.csv"), ("mip", "m.tif"), ("same", "out")])
def test_nothing_is_overwritten_unasked(folder, project, stage, name):
    files = project.export(stage, folder / name)
    files[-1].write_text("mine")
    with pytest.raises(ProjectError, match="exists already"):
        project.export(stage, folder / name)
    assert files[-1].read_text() == "mine"
    project.export(stage, folder / name, overwrite=True)
    assert files[-1].read_bytes() != b"mine"
    assert not list(folder.rglob("*.part*"))


def test_names_of_tiles_stay_in_the_folder(folder):
    names = ["../../out", "a/b.tif", "/etc/x.ome.tif", "名" * 200]
    tiles = np.zeros((4, 8, 8), "u2")
    lattice = open_tiles(dict(zip(names, tiles, strict=True)), grid={"y": 2, "x": 2})
    project = lw.create(folder / "p.lw", lattice)
    files = project.export("source", folder / "out" / "deep")
    assert {file.parent for file in files} == {folder / "out" / "deep"}
    assert len(set((folder / "out" / "deep").iterdir())) == 4
    assert files[1].name == "00001_a_b.ome.tif"


def test_what_is_left_out_or_out_of_date_is_said(folder):
    lattice, _ = simulate({"y": 2, "x": 2}, tile_shape={"y": 16, "x": 20})
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.fail_at, name="some", bad=[3], retries=0)
    run_here(project)
    files = project.export("some", folder / "out")
    assert len(files) == 3
    assert [str(one) for one in files.left_out] == ["y1_x1 (failed)"]
    project.add(steps.fail_at, name="some", bad=[3], amount=1, retries=0)
    files = project.export("some", folder / "again")
    assert [one.tile.id for one in files.stale] == [0, 1, 2]


def test_tiles_that_cannot_be_read_are_left_out(folder):
    for n in range(4):
        tifffile.imwrite(folder / f"t{n}.tif", np.full((8, 8), n, "u2"))
    (folder / "t2.tif").write_bytes(b"II*\0")
    lattice = open_tiles(folder, grid={"y": 2, "x": 2}, errors="mark")
    files = lw.create(folder / "p.lw", lattice).export("source", folder / "out")
    assert len(files) == 3
    assert [str(one) for one in files.left_out] == ["y1_x0 (unreadable)"]


def test_text_of_tables_is_left_as_it_is(folder, project):
    project.add(formula, name="text", after="same")
    run_here(project)
    project.export("text", folder / "text.csv")
    assert set(pd.read_csv(folder / "text.csv")["label"]) == {"=1+1", "-x", "@me", "+5 µm"}


@pytest.mark.parametrize(
    ("given", "written"), [("?", "u1"), ("f2", "f4"), ("i8", "i4"), ("f8", "f8"), ("i1", "i1")]
)
def test_types_that_tiff_has_not_are_widened(folder, given, written):
    values = dask.array.ones((2, 8, 8), chunks=-1, dtype=given).compute()
    project = lw.create(folder / "p.lw", open_tiles(list(values), grid={"y": 1, "x": 2}))
    files = project.export("source", folder / "out")
    assert open_tiles(folder / "out").dtype == np.dtype(written)
    assert (tifffile.imread(files[0]) == 1).all()


def test_integers_too_large_for_tiff_are_refused(folder):
    values = np.full((2, 8, 8), 2**40)
    project = lw.create(folder / "p.lw", open_tiles(list(values), grid={"y": 1, "x": 2}))
    with pytest.raises(ProjectError, match="1099511627776"):
        project.export("source", folder / "out")


def test_a_place_that_cannot_be_written_is_said(folder, project):
    (folder / "file").write_text("mine")
    for path in ("file", "file/mip.tif"):
        with pytest.raises(ProjectError, match=r"is a file|cannot be written"):
            project.export("mip", folder / path)
    assert (folder / "file").read_text() == "mine"
