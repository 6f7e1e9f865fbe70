"""Pairs whose strips are too large to be compared at once."""

import numpy as np
import pytest
from scipy import ndimage

from latticework.stitch import large_pairs
from latticework.stitch.large_pairs import coarseness, match_strips


def scene_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    fine = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    coarse = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    return 800 + 150 * fine / fine.std() + 150 * coarse / coarse.std()


def reader(pixels, asked):
    def read(box):
        asked.append(box.size)
        return pixels[box.slices]

    return read


@pytest.mark.parametrize(
    ("size", "offset", "true", "dims"),
    [
        ((64, 96, 96), (0, 0, 80), (2, -3, 77), "zyx"),
        ((64, 96, 96), (52, 0, 0), (50, 4, 2), "zyx"),
        ((400, 500), (0, 430), (6, 424), "yx"),
    ],
)
def test_a_large_pair_is_found_as_exactly_as_a_small_one(monkeypatch, size, offset, true, dims):
    rng = np.random.default_rng(4)
    scene = scene_of([n + abs(d) + 20 for n, d in zip(size, offset, strict=True)])
    views = []
    for place in ([10] * len(size), [10 + d for d in true]):
        part = scene[tuple(slice(a, a + n) for a, n in zip(place, size, strict=True))]
        views.append((part + rng.normal(0, 30, size)).astype("u2"))
    monkeypatch.setattr(large_pairs, "LARGE", 20_000)
    monkeypatch.setattr(large_pairs, "SLAB", 30_000)
    monkeypatch.setattr(large_pairs, "WINDOW", {2: (96, 96), 3: (24, 32, 32)})
    asked = []
    found = match_strips(*(reader(v, asked) for v in views), (size, size), offset, dims)
    assert np.abs(np.subtract(found[0].offset_px, true)).max() < 0.15
    assert found[0].correlation > 0.5
    assert max(asked) <= 60_000  # whole strips have ten times as many


def test_noise_is_no_match_in_a_large_pair_either(monkeypatch):
    rng = np.random.default_rng(4)
    views = [rng.normal(500, 30, (64, 96, 96)).astype("u2") for _ in range(2)]
    monkeypatch.setattr(large_pairs, "LARGE", 20_000)
    monkeypatch.setattr(large_pairs, "WINDOW", {2: (96, 96), 3: (24, 32, 32)})
    size = (64, 96, 96)
    found = match_strips(*(reader(v, []) for v in views), (size, size), (0, 0, 80), "zyx")
    assert found[0].correlation < max(0.15, found[0].by_chance)


def test_a_strip_is_made_coarse_until_it_is_small():
    for shape in ((1000, 2048, 350), (5, 30_000, 30_000), (2_000_000, 3)):
        factor = coarseness(shape)
        assert np.prod(-(-np.asarray(shape) // factor)) <= large_pairs.LARGE
        assert (factor <= np.asarray(shape)).all()


def test_other_places_of_a_pair_that_leaves_no_doubt_are_not_looked_at_closely(monkeypatch):
    monkeypatch.setattr(large_pairs, "LARGE", 20_000)
    monkeypatch.setattr(large_pairs, "WINDOW", {2: (96, 96), 3: (24, 32, 32)})
    followed = []
    follow = large_pairs._followed
    monkeypatch.setattr(large_pairs, "_followed", lambda *of: followed.append(of[1]) or follow(*of))
    scene = scene_of((420, 1000)) + 150 * np.sin(np.arange(1000) / 2)  # matches a period off, too
    views = [scene[:400, :500].astype("u2"), scene[6:406, 424:924].astype("u2")]
    found = match_strips(*(reader(v, []) for v in views), ((400, 500),) * 2, (0, 430), "yx")
    assert len(followed) == 1
    assert len(found) > 1  # they still say how well others match
    assert np.abs(np.subtract(found[0].offset_px, (6, 424))).max() < 0.1
    noise = np.random.default_rng(1).normal(500, 30, (2, 400, 500)).astype("u2")
    followed.clear()
    match_strips(*(reader(v, []) for v in noise), ((400, 500),) * 2, (0, 430), "yx")
    assert followed


@pytest.mark.parametrize("true", [(7, -2, 50), (1, 19, 50)])
def test_a_place_beyond_the_end_of_the_search_is_looked_at_again(true):
    """By its fit alone it was exact, but with the correlation of the end of the search."""
    rng = np.random.default_rng(3)
    size, offset = (24, 72, 80), (0, 0, 52)
    scene = scene_of([n + 10 + abs(d) for n, d in zip(size, true, strict=True)])
    reads = []
    for place in ([4] * 3, [4 + d for d in true]):
        part = scene[tuple(slice(a, a + n) for a, n in zip(place, size, strict=True))]
        reads.append(reader((part + rng.normal(0, 20, size)).astype("u2"), []))
    found = match_strips(*reads, (size, size), offset, "zyx")
    assert np.abs(np.subtract(found[0].offset_px, true)).max() < 0.1
    assert found[0].correlation > 0.8
    told = match_strips(*reads, (size, size), offset, "zyx", reach=(5, 16, 16))
    assert told[0].correlation < 0.8  # a reach that is given is kept to
