"""OME-Zarr images: every pixel where it belongs at each resolution, and valid metadata."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.errors import StoreError
from latticework.io.pyramid import Pyramid, coarser

CASES = [
    ("yx", (3000, 5000), (0.5, 0.5)),
    ("zyx", (20, 700, 900), (5.0, 1.0, 1.0)),
    ("zyx", (130, 300, 1300), (1.0, 1.0, 1.0)),
    ("czyx", (2, 40, 300, 1030), (2.0, 1.0, 1.0)),
    ("cyx", (3, 700, 800), (0.25, 0.5)),
]


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize(("dims", "shape", "size"), CASES)
def test_all_levels_hold_the_volume_and_a_validator_agrees(tmp_path, version, dims, shape, size):
    pixels = np.random.default_rng(0).integers(0, 60_000, shape).astype("u2")
    image = Pyramid.plan(
        tmp_path / "image.ome.zarr",
        dims=dims,
        shape=shape,
        dtype="u2",
        pixel_size_um=size,
        origin_um=[10.0] * len(size),
        version=version,
    ).create()
    for box in image.blocks():
        image.write_block(box, pixels[box.slices])
    image.finish(threads=2)
    group = zarr.open_group(image.path, mode="r")
    above = pixels
    for level in image.levels:
        found = group[str(level.number)][...]
        if level.number:
            factor = image.levels[level.number - 1].factor
            above = coarser(above, [a // b for a, b in zip(level.factor, factor, strict=True)])
        np.testing.assert_array_equal(found, above)
    assert max(image.levels[-1].shape[-2:]) <= 512
    models = pytest.importorskip(f"ome_zarr_models.v{version.replace('.', '')}")
    read = models.Image.from_zarr(group)
    scale, shift = read.ome_attributes.multiscales[0].datasets[0].coordinateTransformations
    assert list(scale.scale)[-len(size) :] == list(size)
    assert list(shift.translation)[-len(size) :] == [10.0] * len(size)
    attributes = dict(group.attrs)
    omero = pytest.importorskip("ome_zarr_models.v04.omero")  # 0.5 has not changed it
    told = omero.Omero(**attributes.get("ome", attributes)["omero"]).channels
    assert 0 <= told[0].window.start < told[0].window.end <= 60_000
    count = shape[0] if "c" in dims else 1
    assert len({channel.color for channel in told}) == count == len(told)
    assert [channel.label for channel in told] == [str(k) for k in range(count)]
    assert [axis.name for axis in read.ome_attributes.multiscales[0].axes] == list(dims)
    assert (told[0].window.min, told[0].window.max) == (0, 65535)


def test_an_image_is_shown_between_percentiles_of_what_is_not_blank(tmp_path):
    pixels = np.zeros((400, 400), "u2")
    pixels[:40, :100] = np.linspace(1000, 2000, 4000).reshape(40, 100)
    pixels[0, 0] = 60_000  # a hot pixel
    image = Pyramid.plan(
        tmp_path / "image.ome.zarr", dims="yx", shape=(400, 400), dtype="u2", pixel_size_um=(1, 1)
    ).create()
    image.write_block(image.blocks()[0], pixels)
    group = zarr.open_group(image.finish().path, mode="r")
    window = group.attrs["ome"]["omero"]["channels"][0]["window"]
    assert 1000 <= window["start"] < 1020
    assert 1980 < window["end"] <= 2000


def test_axes_with_large_pixels_are_halved_later():
    image = Pyramid(
        *(Path("unused"), ("z", "y", "x"), (64, 4096, 4096), "uint16", (4.0, 1.0, 1.0)),
        origin_um=(0.0, 0.0, 0.0),
        block=(64, 256, 256),
    )
    assert [level.factor for level in image.levels] == [
        *((1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8)),
    ]


def test_levels_are_centred_on_each_other():
    image = Pyramid(
        *(Path("image.ome.zarr"), ("y", "x"), (2048, 2048), "uint8", (2.0, 2.0)),
        origin_um=(0.0, 0.0),
        block=(2048, 2048),
    )
    sets = image.metadata(None)["multiscales"][0]["datasets"]
    shifts = [of["coordinateTransformations"][1]["translation"] for of in sets]
    assert shifts == [[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 2)), min_size=1, max_size=3),
    st.sampled_from(["u1", "u2", "i2", "u4", "f4", "f8"]),
    st.integers(0, 2**31),
)
def test_a_coarser_pixel_is_the_mean_of_the_finer_ones(sides, dtype, seed):
    shape, ratio = zip(*sides, strict=True)
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    ends = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "iu" else (-1e3, 1e3)
    pixels = rng.uniform(*ends, shape).astype(kind)
    found = coarser(pixels, ratio)
    assert found.dtype == kind
    for index in np.ndindex(*found.shape):
        part = pixels[tuple(slice(i * r, i * r + r) for i, r in zip(index, ratio, strict=True))]
        mean = part.astype("f8")
        for axis, (n, r) in enumerate(zip(part.shape, ratio, strict=True)):
            if n < r:
                mean = np.repeat(mean, r, axis=axis)
        tolerance = 0.51 if kind.kind in "iu" else 1e-3
        assert float(found[index]) == pytest.approx(float(mean.mean()), abs=tolerance, rel=1e-6)


def test_what_is_there_is_not_written_over(tmp_path):
    (tmp_path / "a").mkdir()
    options = {"shape": (9, 9), "dtype": "u1", "pixel_size_um": (1, 1)}
    with pytest.raises(StoreError, match="exists already"):
        Pyramid.plan(tmp_path / "a", dims="yx", **options).create()
    with pytest.raises(StoreError, match="c z y x"):
        Pyramid.plan(tmp_path / "b", dims="xy", **options).create()
