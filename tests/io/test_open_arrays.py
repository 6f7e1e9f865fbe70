"""Zarr images, arrays in memory, and sources written to disk."""

import importlib
import json
import shutil
import sys
from importlib.metadata import EntryPoint, EntryPoints

import dask.array as da
import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr

from latticework.errors import LatticeError, SourceError, StoreError
from latticework.io import sources
from latticework.io.open_tiles import open_tiles
from latticework.io.sources import load_source, register_source, save_source
from latticework.lattice import Box, Lattice

RNG = np.random.default_rng(5)
VOLUME = RNG.integers(0, 60000, (2, 20, 50, 70), dtype="u2")


def write_ome(path, pixels, position, version):
    """An OME-Zarr image, t c z y x, with sizes in nanometres."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    array = group.create_array("0", shape=(1, *pixels.shape), chunks=(1, 1, 8, 16, 20), dtype="u2")
    array[0] = pixels
    space = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [1, 1, 2000, 400, 400]}
    move = {"type": "translation", "translation": [0, 0, *position]}
    scales = [
        {
            "axes": [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *space],
            "datasets": [{"path": "0", "coordinateTransformations": [scale, move]}],
        }
    ]
    both = {"multiscales": scales, "omero": {"channels": [{"label": "A"}, {"label": "B"}]}}
    group.attrs.update(both if version == "0.4" else {"ome": {"version": "0.5", **both}})


@pytest.fixture(params=["0.4", "0.5"])
def images(request, tmp_path):
    """Six OME-Zarr images, and their pixels."""
    pixels = RNG.integers(0, 999, (2, 3, 2, 8, 16, 20), dtype="u2")
    for i in range(2):
        for j in range(3):
            path = tmp_path / "images" / f"im_{i}_{j}.zarr"
            write_ome(path, pixels[i, j], (5000, i * 14 * 400, j * 18 * 400), request.param)
    return tmp_path / "images", pixels


def whole(tile):
    return Box.whole(tuple(tile.shape))


def test_a_folder_of_ome_zarr_images(images):
    folder, pixels = images
    lattice = open_tiles(folder)
    assert lattice.sizes == {"tile_y": 2, "tile_x": 3}
    assert lattice.tile_shape == {"c": 2, "z": 8, "y": 16, "x": 20}
    assert lattice.channels == ("A", "B")
    assert lattice.pixel_size_um == pytest.approx({"z": 2, "y": 0.4, "x": 0.4})
    assert dict(lattice.step_px) == {"y": 14, "x": 18}
    np.testing.assert_allclose(lattice.position_um[0], [5, 0, 0])
    box = Box((0, 2, 3, 4), (2, 4, 10, 12))
    tile = lattice.tile(y=1, x=2)
    np.testing.assert_array_equal(lattice.source.read(tile.id, box), pixels[1, 2][box.slices])
    by_name = open_tiles(folder, pattern="im_{row}_{col}")
    np.testing.assert_array_equal(by_name.index, lattice.index)
    by_grid = open_tiles(folder, grid={"y": 3, "x": 2})
    assert by_grid.sizes == {"tile_y": 3, "tile_x": 2}


def test_a_damaged_image_is_named_or_left_out(images):
    folder, _ = images
    for name in (".zarray", "zarr.json"):
        path = folder / "im_0_1.zarr" / "0" / name
        if path.exists():
            path.write_text("{")
    with pytest.raises(SourceError, match=r"im_0_1\.zarr"):
        open_tiles(folder)
    with pytest.warns(UserWarning, match=r"left out .*im_0_1\.zarr"):
        assert open_tiles(folder, errors="mark").n_tiles == 5
    lattice = open_tiles(folder, errors="mark", grid={"y": 2, "x": 3})
    assert list(lattice.problems) == [1]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_one_image_is_divided_into_blocks(tmp_path, zarr_format):
    path = tmp_path / "volume.zarr"
    array = zarr.create_array(
        path, shape=VOLUME.shape, chunks=(1, 8, 32, 32), dtype="u2", zarr_format=zarr_format
    )
    array[...] = VOLUME
    lattice = open_tiles(path, block={"z": 8, "y": 32, "x": 32}, pixel_size_um={"z": 2.0})
    assert lattice.sizes == {"tile_z": 3, "tile_y": 2, "tile_x": 3}
    save_source(lattice.source, tmp_path / "saved")
    for source in (lattice.source, load_source(tmp_path / "saved")):
        for tile in lattice:
            z, y, x = (i * b for i, b in zip(tile.index, (8, 32, 32), strict=True))
            _, nz, ny, nx = tile.shape
            expected = VOLUME[:, z : z + nz, y : y + ny, x : x + nx]
            np.testing.assert_array_equal(source.read(tile.id, whole(tile)), expected)
        box = Box((0, 5, 30, 30), (2, 9, 40, 40))
        np.testing.assert_array_equal(source.read_volume(box), VOLUME[box.slices])


def test_blocks_of_an_image_with_a_time_axis_and_another_order(images, tmp_path):
    folder, pixels = images
    lattice = open_tiles(folder / "im_0_0.zarr", block={"y": 8})
    assert lattice.pixel_size_um["y"] == pytest.approx(0.4)
    np.testing.assert_array_equal(
        lattice.source.read(1, Box((0, 0, 0, 0), (2, 8, 8, 20))), pixels[0, 0][:, :, 8:]
    )
    array = zarr.create_array(
        tmp_path / "xyz.zarr", shape=(70, 50, 20), chunks=(32, 32, 8), dtype="u2"
    )
    array[...] = VOLUME[0].T
    lattice = open_tiles(tmp_path / "xyz.zarr", block={"x": 35}, dims=("x", "y", "z"))
    np.testing.assert_array_equal(
        lattice.source.read(1, Box((0, 0, 0), (20, 50, 35))), VOLUME[0][:, :, 35:]
    )


def test_time_points_in_one_image_are_refused(tmp_path):
    zarr.create_array(tmp_path / "t.zarr", shape=(3, 8, 8), chunks=(1, 8, 8), dtype="u2")
    with pytest.raises(SourceError, match="one image per time point"):
        open_tiles(tmp_path / "t.zarr", dims=("t", "y", "x"))


KINDS = {
    "numpy": lambda array: array,
    "dask": lambda array: da.from_array(array, chunks=7),
    "xarray": lambda array: xr.DataArray(array, dims=("y", "x")),
    "zarr": zarr.array,
}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_tiles_and_survive_a_save(tmp_path, kind):
    pixels = RNG.integers(0, 99, (6, 16, 20), dtype="u2")
    lattice = open_tiles([KINDS[kind](a) for a in pixels], grid={"y": 2, "x": 3}, overlap=0.1)
    save_source(lattice.source, tmp_path)
    saved = load_source(tmp_path)
    box = Box((2, 3), (9, 20))
    for source in (lattice.source, saved):
        for i in range(6):
            np.testing.assert_array_equal(source.read(i, box), pixels[i][box.slices])
    np.testing.assert_array_equal(saved.fingerprints(), lattice.source.fingerprints())


def test_names_of_arrays_can_say_where_they_are():
    arrays = {f"a_r{i}_c{j}": np.zeros((4, 4), "u2") for i in range(2) for j in range(3)}
    assert open_tiles(arrays, pattern="a_r{row}_c{col}").sizes == {"tile_y": 2, "tile_x": 3}
    with pytest.raises(SourceError, match="nothing says where"):
        open_tiles(arrays)


@pytest.mark.parametrize("kind", ["numpy", "dask", "xarray"])
def test_blocks_of_an_array_survive_a_save(tmp_path, kind):
    make = {**KINDS, "xarray": lambda array: xr.DataArray(array, dims=tuple("czyx"))}[kind]
    lattice = Lattice.from_array(make(VOLUME), block={"y": 32, "x": 32})
    save_source(lattice.source, tmp_path)
    saved = load_source(tmp_path)
    for tile in lattice:
        np.testing.assert_array_equal(
            saved.read(tile.id, whole(tile)), lattice.source.read(tile.id, whole(tile))
        )


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([np.zeros((4, 4)), np.zeros((4, 5))], {"grid": {"y": 1, "x": 2}}, "'tile_1' is .4, 5."),
        ([], {}, "no arrays"),
        ([[[1, 2], [3, 4]]] * 2, {}, r"is a list; expected arrays, as numpy\.asarray makes"),
        (np.zeros((4, 4)), {}, "block="),
        ([np.zeros(4)], {}, "dims"),
        (3, {}, "cannot open a int"),
    ],
)
def test_arrays_that_do_not_fit_say_why(given, options, message):
    with pytest.raises((LatticeError, SourceError), match=message):
        open_tiles(given, **options)


def test_one_number_is_for_y_and_x():
    lattice = open_tiles(np.zeros((3, 8, 8), "u2"), block=4, pixel_size_um=0.5)
    assert dict(lattice.tile_shape) == {"z": 3, "y": 4, "x": 4}
    assert dict(lattice.pixel_size_um) == {"z": 1.0, "y": 0.5, "x": 0.5}


# ------------------------------------------------------------------------- sources on disk


def numbered(folder, n=4):
    folder.mkdir(parents=True)
    for i in range(n):
        tifffile.imwrite(folder / f"t{i}.tif", np.full((8, 8), i, "u2"))
    return open_tiles(folder, grid={"y": 1, "x": n})


def test_a_project_may_be_moved_with_its_data(tmp_path):
    lattice = numbered(tmp_path / "project" / "raw")
    save_source(lattice.source, tmp_path / "project" / "source", base=tmp_path / "project")
    shutil.move(tmp_path / "project", tmp_path / "moved")
    source = load_source(tmp_path / "moved" / "source", base=tmp_path / "moved")
    assert (source.read(2, Box((0, 0), (8, 8))) == 2).all()
    np.testing.assert_array_equal(source.fingerprints(), lattice.source.fingerprints())


def test_data_elsewhere_stay_where_they_are(tmp_path):
    lattice = numbered(tmp_path / "raw")
    save_source(lattice.source, tmp_path / "project" / "source", base=tmp_path / "project")
    shutil.move(tmp_path / "project", tmp_path / "moved")
    source = load_source(tmp_path / "moved" / "source", base=tmp_path / "moved")
    assert (source.read(3, Box((0, 0), (8, 8))) == 3).all()


def test_fingerprints_change_with_the_file_and_only_its_own(tmp_path):
    lattice = numbered(tmp_path / "raw")
    before = lattice.source.fingerprints()
    assert before.dtype == np.uint64
    assert len(set(before.tolist())) == 4
    tifffile.imwrite(tmp_path / "raw" / "t2.tif", np.full((8, 8), 7, "u2"))
    np.testing.assert_array_equal(lattice.source.fingerprints(), before)
    after = lattice.source.refreshed().fingerprints()
    assert (after != before).tolist() == [False, False, True, False]


def test_what_is_no_source_says_so(tmp_path):
    with pytest.raises(StoreError, match="expected a source that save_source wrote"):
        load_source(tmp_path)
    (tmp_path / "source.json").write_text('{"kind": "other", "version": 1}')
    with pytest.raises(StoreError, match="kind 'other'"):
        load_source(tmp_path)

    class Mine:
        def read(self, tile, box):
            raise NotImplementedError

        def fingerprints(self):
            return np.zeros(1, np.uint64)

    with pytest.raises(SourceError, match="a Mine cannot be written"):
        save_source(Mine(), tmp_path)


OWN = """
from pathlib import Path
import numpy as np

Path(__file__).with_name("imported").touch()

class Camera:
    kind = "camera"

    def read(self, tile, box):
        return np.full(box.shape, 7, "u2")

    def fingerprints(self):
        return np.zeros(2, np.uint64)

    def save(self, folder, base):
        return {}

    @classmethod
    def load(cls, folder, base, spec):
        return cls()
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A folder that names a class, and a module of that name on the path, not imported."""
    name = f"camera_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sources, "_KINDS", dict(sources._KINDS))
    spec = {"kind": "camera", "version": 1, "class": f"{name}:Camera"}
    (tmp_path / "source.json").write_text(json.dumps(spec))
    yield tmp_path, spec["class"]
    sys.modules.pop(name, None)


def test_a_class_that_a_folder_names_is_not_imported(stranger):
    folder, where = stranger
    with pytest.raises(StoreError, match="nothing was imported") as error:
        load_source(folder)
    assert f"register_source('camera', '{where}')" in str(error.value)
    assert not (folder / "imported").exists()
    register_source("camera", where)
    assert not (folder / "imported").exists()
    assert (load_source(folder).read(0, Box((0, 0), (2, 2))) == 7).all()


def test_an_installed_package_may_declare_its_source(stranger, monkeypatch):
    folder, where = stranger
    declared = [EntryPoint("camera", where, sources.GROUP), EntryPoint("x", "x:X", "another")]
    monkeypatch.setattr(
        sources,
        "entry_points",
        lambda *, group, name: EntryPoints(declared).select(group=group, name=name),
    )
    assert load_source(folder).kind == "camera"


def test_whoever_saves_a_source_of_his_own_may_open_it(stranger):
    folder, where = stranger
    camera = importlib.import_module(where.partition(":")[0]).Camera()
    save_source(camera, folder / "again")
    assert load_source(folder / "again").kind == "camera"


def test_workers_load_the_source_of_the_project_that_they_are_sent(stranger):
    folder, _ = stranger
    with sources.importing_sources():
        assert load_source(folder).kind == "camera"
    with pytest.raises(StoreError, match="nothing was imported"):
        load_source(folder)
