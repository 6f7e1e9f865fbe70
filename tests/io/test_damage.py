"""Damaged and missing files are errors that name the array, the tile, the file and the remedy."""

import os
import subprocess
import sys

import numpy as np
import pytest

from latticework import Lattice
from latticework.errors import StoreError
from latticework.io.handles import explain
from latticework.io.layout import ArrayLayout
from latticework.io.publish import publish
from latticework.io.tile_array import TileArray, open_labelled
from latticework.testing.strategies import random_array

INDEX = (1, 2)


@pytest.fixture
def lattice():
    return Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 200, "x": 300}, dtype="uint16")


def stored(folder, lattice, *, checksum=False):
    layout = ArrayLayout.plan(
        lattice, dims=("y", "x"), shape=(200, 300), dtype="u2", name="clean", checksum=checksum
    )
    store = TileArray.create(folder / "data.zarr", layout, lattice)
    store.stage(folder / "staging", INDEX, random_array((200, 300), "u2", seed=0))
    publish(folder / "staging", store.path, layout.keys(INDEX))
    return store, store.path / layout.keys(INDEX)[0]


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40
    file.write_bytes(content)


DAMAGE = {
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "cut by a byte": lambda file: os.truncate(file, file.stat().st_size - 1),
    "emptied": lambda file: os.truncate(file, 0),
    "index flipped": lambda file: flip(file, -20),
}


@pytest.mark.parametrize("cache_bytes", [0, 10**7])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_shard_is_an_error_that_names_it(tmp_path, lattice, how, cache_bytes):
    store, file = stored(tmp_path, lattice)
    reader = TileArray.open(store.path, cache_bytes=cache_bytes)
    reader.read(INDEX)
    DAMAGE[how](file)
    with pytest.raises(StoreError, match="the next run makes them again") as caught:
        reader.read(INDEX)
    for part in ("(1, 2)", "tile_y=1, tile_x=2", "'clean'", str(file)):
        assert part in str(caught.value)
    with pytest.raises(StoreError, match="damaged"):
        open_labelled(store.path, lattice).compute()


@pytest.mark.parametrize("place", [5, 1000, 50_000])
def test_with_checksums_a_flipped_bit_of_a_pixel_is_an_error(tmp_path, lattice, place):
    store, file = stored(tmp_path, lattice, checksum=True)
    flip(file, place)
    with pytest.raises(StoreError, match="the file is damaged"):
        TileArray.open(store.path).read(INDEX)


def test_a_missing_shard_is_an_error_and_not_zeros(tmp_path, lattice):
    store, file = stored(tmp_path, lattice)
    file.unlink()
    with pytest.raises(StoreError, match="never published or its file is gone") as caught:
        store.read(INDEX)
    assert str(file) in str(caught.value)


def test_a_folder_in_place_of_a_shard_is_an_error(tmp_path, lattice):
    store, file = stored(tmp_path, lattice)
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError):
        store.read(INDEX)


def run_python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_shard_without_permission_is_an_error(tmp_path, lattice):
    store, file = stored(tmp_path, lattice)
    file.chmod(0)
    code = """
import os, sys
import tensorstore
from latticework.io.tile_array import TileArray
store = TileArray.open(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
try:
    store.read((1, 2))
except OSError as error:
    print(type(error).__name__, error)
"""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    out = run_python(code, store.path).stdout
    assert out.startswith("StoreError")
    assert "give yourself access" in out
    assert str(file) in out


def test_a_write_that_does_not_fit_says_so_and_leaves_published_tiles_alone(tmp_path, lattice):
    store, file = stored(tmp_path, lattice)
    before = file.read_bytes()
    code = """
import resource, signal, sys
import numpy as np
from latticework.io.tile_array import TileArray
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
store = TileArray.open(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 65535, (200, 300)).astype("u2")
try:
    store.stage(sys.argv[2], (1, 2), noise)
except OSError as error:
    print(type(error).__name__, error)
"""
    out = run_python(code, store.path, tmp_path / "staging").stdout
    assert out.startswith("StoreError cannot write tile (1, 2)")
    assert "forbids files of that size" in out
    assert not any((tmp_path / "staging").rglob("c.1.2*[!k]"))
    assert file.read_bytes() == before


def test_a_full_disk_is_told_from_other_failures(tmp_path, lattice):
    store, _ = stored(tmp_path, lattice)
    error = ValueError("RESOURCE_EXHAUSTED: No space left on device")
    message = explain(store.layout, tmp_path, INDEX, error, "write")
    assert "the disk is full: free some space and run again" in message


def test_staging_below_a_file_is_an_error(tmp_path, lattice):
    store, _ = stored(tmp_path, lattice)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write tile"):
        store.stage(tmp_path / "file", INDEX, np.zeros((200, 300), "u2"))
