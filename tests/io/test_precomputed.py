"""Precomputed volumes: every voxel, every resolution, the sizes in nanometres."""

import json

import numpy as np
import pytest
import tensorstore
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.errors import StoreError
from latticework.io import precomputed
from latticework.io.precomputed import write_precomputed


def write(path, volume, **options):
    options = {"pixel_size_um": (2.0, 0.5, 0.5), "dtype": volume.dtype, **options}
    return write_precomputed(
        path, lambda a, b: volume[tuple(map(slice, a, b))], shape=volume.shape, **options
    )


def test_voxels_and_sizes_are_those_of_the_volume(tmp_path):
    volume = np.random.default_rng(0).integers(0, 60000, (6, 700, 1100)).astype("u2")
    done = write(tmp_path / "v", volume, origin_um=(10.0, 5.0, -7.5))
    info = json.loads((tmp_path / "v" / "info").read_text())
    assert (info["type"], info["data_type"], info["num_channels"]) == ("image", "uint16", 1)
    scales = info["scales"]
    assert [scale["resolution"] for scale in scales] == [
        *([500, 500, 2000], [1000, 1000, 2000], [2000, 2000, 2000]),
    ]
    for scale, factor in zip(scales, (1, 2, 4), strict=True):
        expected = [-(-1100 // factor), -(-700 // factor), 6]
        assert scale["size"] == expected
    assert scales[0]["voxel_offset"] == [-15, 10, 5]
    np.testing.assert_array_equal(done.read(), volume)
    halved = volume.reshape(6, 350, 2, 550, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(done.read(1), np.floor(halved + 0.5))


def test_another_reader_finds_the_voxel_at_its_place_in_nanometres(tmp_path):
    volume = np.arange(2 * 70 * 90, dtype="f4").reshape(2, 70, 90)
    write(tmp_path / "v", volume, origin_um=(4.0, 10.0, 20.0))
    store = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/v/"},
        }
    ).result()
    at_nm = np.array([20_000 + 3 * 500, 10_000 + 60 * 500, 4_000 + 2_000])  # x y z
    x, y, z = (at_nm / [500, 500, 2000]).astype(int)
    assert store[x, y, z, 0].read().result() == volume[1, 60, 3]


@settings(max_examples=10)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.booleans())
def test_shapes_are_rounded_up_and_labels_are_never_mixed(tmp_path_factory, shape, labels):
    path = tmp_path_factory.mktemp("p") / "v"
    volume = np.random.default_rng(1).integers(0, 3, shape).astype("u4") * 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precomputed, "COARSEST", 8)
        done = write(path, volume, labels=labels, pixel_size_um=(1.0, 1.0, 1.0))
    for level, found in enumerate(done.shapes):
        assert done.read(level).shape == found
        if level:
            before = done.shapes[level - 1]
            assert all(n in (m, -(-m // 2)) for n, m in zip(found, before, strict=True))
        if labels:
            assert set(np.unique(done.read(level))) <= {0, 1000, 2000}
    np.testing.assert_array_equal(done.read(), volume)


def test_what_is_there_is_not_replaced_unless_it_may(tmp_path):
    volume = np.ones((2, 20, 20), "u1")
    write(tmp_path / "v", volume)
    with pytest.raises(StoreError, match="overwrite=True"):
        write(tmp_path / "v", volume)
    write(tmp_path / "v", volume + 1, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(StoreError, match="no precomputed volume"):
        write(tmp_path / "mine", volume, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_types_that_the_format_lacks_are_refused(tmp_path):
    for dtype, labels in (("f8", False), ("i8", False), ("f4", True), ("i4", True)):
        with pytest.raises(StoreError, match="convert them to one of"):
            write(tmp_path / "v", np.zeros((1, 4, 4), dtype), labels=labels)
    assert not (tmp_path / "v").exists()
