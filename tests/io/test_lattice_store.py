"""A lattice on disk is the lattice."""

import shutil

import numpy as np
import pytest
import xarray
from hypothesis import given

from latticework import Lattice
from latticework.errors import StoreError
from latticework.io.lattice_store import load_lattice, save_lattice
from latticework.testing import strategies

FACTS = (
    "dims",
    "tile_dims",
    "tile_shape",
    "dtype",
    "pixel_size_um",
    "known_pixel_size_um",
    "step_px",
    "spatial_dims",
)
ARRAYS = ("index", "ids", "position_um", "names", "id_grid")


def assert_same(a, b):
    for fact in (*FACTS, "channels", "problems", "volume_shape"):
        assert getattr(a, fact) == getattr(b, fact), fact
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name, strict=True)
    for dim, labels in a.labels.items():
        np.testing.assert_array_equal(labels, b.labels[dim], strict=True)
    assert (a.shapes is None) == (b.shapes is None)
    if a.shapes is not None:
        np.testing.assert_array_equal(a.shapes, b.shapes, strict=True)
    assert list(a) == list(b)


@given(strategies.lattices(ragged=True))
def test_every_lattice_comes_back_exactly(tmp_path_factory, lattice):
    folder = tmp_path_factory.mktemp("lattice")
    save_lattice(lattice, folder)
    again = load_lattice(folder)
    assert_same(again, lattice)
    save_lattice(again, folder)
    assert_same(load_lattice(folder), lattice)
    opened = xarray.open_zarr(folder / "lattice.zarr")
    np.testing.assert_array_equal(opened["ids"].values, lattice.ids)


def test_the_unit_lattice_and_problems_come_back(tmp_path):
    save_lattice(Lattice.unit(), tmp_path)
    assert_same(load_lattice(tmp_path), Lattice.unit())
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype=">u2")
    marked = Lattice(
        dims=lattice.dims,
        labels=lattice.labels,
        index=lattice.index,
        tile_dims=lattice.tile_dims,
        tile_shape=(4, 4),
        dtype=lattice.dtype,
        problems={3: "file is cut short"},
    )
    save_lattice(marked, tmp_path)
    again = load_lattice(tmp_path)
    assert again.tile(3).problem == "file is cut short"
    assert again.dtype == np.dtype(">u2")


def test_a_swap_cut_in_two_by_a_crash_is_finished(tmp_path):
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u2")
    save_lattice(lattice, tmp_path)
    (tmp_path / "lattice.zarr").rename(tmp_path / ".lattice.zarr.new")
    assert_same(load_lattice(tmp_path), lattice)


def test_no_lattice_and_a_damaged_one_say_so(tmp_path):
    with pytest.raises(StoreError, match="no lattice"):
        load_lattice(tmp_path)
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u2")
    save_lattice(lattice, tmp_path)
    file = next((tmp_path / "lattice.zarr" / "index").glob("c.*"))
    file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(StoreError, match="index"):
        load_lattice(tmp_path)
    shutil.rmtree(tmp_path / "lattice.zarr" / "index")
    with pytest.raises(StoreError, match="index"):
        load_lattice(tmp_path)


def test_which_pixel_sizes_are_known_is_kept(tmp_path):
    options = {"tile_shape": {"z": 2, "y": 8, "x": 8}, "dtype": "u2", "pixel_size_um": 0.5}
    save_lattice(Lattice.from_grid({"y": 2, "x": 2}, **options), tmp_path)
    assert dict(load_lattice(tmp_path).known_pixel_size_um) == {"y": 0.5, "x": 0.5}
    meta = tmp_path / "lattice.zarr" / "zarr.json"
    meta.write_text(meta.read_text().replace('"known_pixel_size"', '"of_later"'))
    assert dict(load_lattice(tmp_path).known_pixel_size_um) == {"z": 1.0, "y": 0.5, "x": 0.5}
