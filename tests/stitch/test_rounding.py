"""Stairs that rounding makes of smooth brightness pass for no structure; noise stays as it is."""

import numpy as np
import pytest
from scipy import ndimage

from latticework.stitch import register
from latticework.stitch.filtering import contrast
from latticework.stitch.rounding import unrounded
from tests.stitch.acquisitions import lattice_of


def smooth(shape, rng, size):
    """Smooth random brightness around 0, with a spread of 1."""
    coarse = [n // 4 + 8 for n in shape]
    ground = ndimage.zoom(ndimage.gaussian_filter(rng.normal(size=coarse), size / 4), 4, order=3)
    ground = ground[tuple(slice(0, n) for n in shape)]
    return (ground - ground.mean()) / ground.std()


@pytest.mark.parametrize("seed", range(4))
def test_stairs_of_an_even_ground_do_not_match_where_the_specimen_does_not(seed):
    rng = np.random.default_rng(seed)
    ground = 80 + 2 * smooth((400, 400), rng, 40)
    arrays, truth = [], []
    for row, column in np.ndindex(2, 2):
        y, x = np.array([20, 20]) + np.array([row, column]) * 130 + rng.integers(-4, 5, 2)
        tile = ground[y : y + 160, x : x + 160] * (1 + 0.1 * rng.uniform(-1, 1))
        arrays.append(np.rint(tile).astype("u1"))
        truth.append((y, x))
    places = list(np.ndindex(2, 2))
    links = register(lattice_of(arrays, places, 130.0 * np.array(places)))
    links = links[links.trusted]
    offsets = links[["offset_y_px", "offset_x_px"]].to_numpy()
    true = np.array(truth)[links["second"]] - np.array(truth)[links["first"]]
    assert (np.abs(offsets - true) < 2).all()


@pytest.mark.parametrize("dims", ["yx", "zyx"])
def test_stairs_become_what_was_rounded_within_what_is_not_known(dims):
    rng = np.random.default_rng(1)
    ground = np.stack([100 + 5 * smooth((120, 150), rng, 30) for _ in range(3)])
    ground = ground if dims == "zyx" else ground[0]
    counts = np.rint(ground).astype("u1")
    found = unrounded(counts, dims)
    assert np.abs(found - counts).max() <= 1
    mean = np.mean([unrounded(counts, dims, seed=k) for k in range(16)], axis=0)
    left, before = (
        np.mean([contrast(plane, "yx").std() for plane in np.reshape(of - ground, (-1, 120, 150))])
        for of in (mean, counts)
    )
    assert left < 0.6 * before
    assert (unrounded(counts, dims) == found).all()  # always the same noise
    assert (unrounded(counts, dims, seed=1) != found).any()


def test_noise_and_even_ground_need_nothing_put_back():
    rng = np.random.default_rng(2)
    ground = 100 + 5 * smooth((120, 150), rng, 30)
    noisy = np.rint(ground + rng.normal(0, 0.3, ground.shape)).astype("u2")
    photons = rng.poisson(0.1, (120, 150)).astype("u1")
    even = np.full((20, 30), 7, "u1")
    for pixels in (noisy, photons, ground, even, even[:0]):
        assert unrounded(pixels, "yx") is pixels
