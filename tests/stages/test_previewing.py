"""Previews of tiles: what they show is what the tile has, whatever its dims, size and type."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.io.preview_layout import PreviewLayout, sampling
from latticework.stages.previewing import preview_of


def blocks_of(picture, factor):
    """Means of squares of what is finite, with the rest padded."""
    rows, columns = (-(-n // factor) for n in picture.shape)
    padded = np.full((rows * factor, columns * factor), np.nan)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    squares = padded.reshape(rows, factor, columns, factor).swapaxes(1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmean(squares.reshape(rows, columns, -1), axis=2)


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(["c", "z", "t"]), unique=True, max_size=3),
    st.randoms(use_true_random=False),
    st.sampled_from(["u1", "u2", "i2", "f4", "f8"]),
    st.sampled_from(["max", "mean"]),
    st.integers(0, 2**32 - 1),
)
def test_a_preview_is_means_of_what_is_seen_through_z(others, chance, dtype, projection, seed):
    dims = [*others, "y", "x"]
    chance.shuffle(dims)
    rng = np.random.default_rng(seed)
    sizes = {"y": int(rng.integers(1, 700)), "x": int(rng.integers(1, 500)), "c": 5, "z": 3, "t": 2}
    shape = [sizes[dim] for dim in dims]
    tile = (rng.random(shape) * 250).astype(dtype)
    if tile.dtype.kind == "f":
        tile[rng.random(shape) < 0.2] = np.nan
    layout = PreviewLayout.of(dtype, dims, shape, projection)
    found = preview_of(tile, dims, layout)
    assert max(layout.size) <= 128
    assert found.pixels.shape == layout.shape
    assert found.pixels.dtype == np.dtype(layout.dtype)
    assert found.pixels.dtype == np.dtype(dtype if dtype != "f8" else "f4")
    through = [dim for dim in dims if dim in ("z", "t")]
    order = [dims.index(d) for d in ("c", *through, "y", "x") if d in dims]
    array = tile.transpose(order).astype("f8")
    array = array if "c" in dims else array[None]
    assert layout.channels == min(4, len(array))
    for channel in range(layout.channels):
        seen = array[channel]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while seen.ndim > 2:
                seen = np.nanmax(seen, axis=0) if projection == "max" else np.nanmean(seen, axis=0)
        step = sampling(layout.factor)  # pixels that are looked at
        sampled = np.full(seen.shape, np.nan)
        sampled[::step, ::step] = seen[::step, ::step]
        wanted = blocks_of(sampled, layout.factor)
        if np.dtype(dtype).kind != "f":
            np.testing.assert_allclose(found.pixels[channel], wanted, atol=0.51)
        else:
            np.testing.assert_allclose(found.pixels[channel], wanted, rtol=1e-5)
        low, high = found.contrast[channel]
        values = found.pixels[channel][np.isfinite(found.pixels[channel].astype("f8"))]
        if values.size:
            assert values.min() <= low <= high <= values.max()
            assert (values > high).mean() <= 0.02
        else:
            assert np.isnan([low, high]).all()


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8"])
def test_ids_of_labels_are_never_mixed(dtype):
    labels = np.zeros((3, 300, 200), dtype)
    labels[1, 40:250, 10:150] = 70_001
    labels[2, 100:120, 30:60] = 123_456_789
    layout = PreviewLayout.of(dtype, ("z", "y", "x"), labels.shape)
    found = preview_of(labels, ("z", "y", "x"), layout)
    assert layout.projection == "labels"
    assert found.pixels.dtype == "u4"
    assert set(np.unique(found.pixels)) == {0, 70_001, 123_456_789}
    assert set(np.unique(found.small)) <= {0, 70_001, 123_456_789}


def test_a_smaller_tile_leaves_the_rest_of_its_preview_blank():
    layout = PreviewLayout.of("f4", ("y", "x"), (300, 300))
    found = preview_of(np.ones((100, 300), "f4"), ("y", "x"), layout)
    assert np.isfinite(found.pixels[0]).sum() == 34 * 100
    assert np.isnan(found.pixels[0, 34:]).all()
    assert found.contrast.tolist() == [[1.0, 1.0]]


def test_infinite_pixels_masks_and_empty_tiles():
    layout = PreviewLayout.of("f4", ("y", "x"), (256, 4))
    tile = np.full((256, 4), 5.0, "f4")
    tile[0, 0], tile[1, 0], tile[:, 3] = np.inf, -np.inf, np.nan
    found = preview_of(tile, ("y", "x"), layout)
    assert np.nanmax(found.pixels) == np.nanmin(found.pixels) == 5
    mask = PreviewLayout.of("bool", ("y", "x"), (4, 4))
    assert preview_of(np.eye(4, dtype=bool), ("y", "x"), mask).pixels[0].tolist() == (
        np.eye(4).tolist()
    )
    nothing = preview_of(np.full((256, 4), np.nan, "f4"), ("y", "x"), layout)
    assert np.isnan(nothing.pixels).all()
    assert np.isnan(nothing.contrast).all()
