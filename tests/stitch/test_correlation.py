"""The correlation is that of the definition, and peaks lie where the images were shifted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from latticework.stitch.correlation import NO_MATCH, Correlation

SIDES = st.integers(3, 9)


def by_definition(first, second, shift, valid, least):
    """Correlation coefficient of what overlaps, pixel by pixel."""
    start = [max(0, s) for s in shift]
    stop = [min(n, m + s) for n, m, s in zip(first.shape, second.shape, shift, strict=True)]
    if any(a >= b for a, b in zip(start, stop, strict=True)):
        return 0, NO_MATCH
    here = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    there = tuple(slice(a - s, b - s) for a, b, s in zip(start, stop, shift, strict=True))
    both = valid[0][here] & valid[1][there]
    a, b = first[here][both], second[there][both]
    if a.size < least or a.std() < 1e-9 or b.std() < 1e-9:
        return a.size, NO_MATCH
    return a.size, np.corrcoef(a, b)[0, 1]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 3).flatmap(
        lambda n: st.tuples(
            *(st.lists(SIDES, min_size=n, max_size=n) for _ in range(2)),
            st.lists(st.integers(-6, 2), min_size=n, max_size=n),
            st.lists(st.integers(0, 5), min_size=n, max_size=n),
        )
    ),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_it_is_the_correlation_coefficient_of_what_overlaps(shapes, masked, seed):
    one, other, low, more = shapes
    rng = np.random.default_rng(seed)
    first, second = rng.normal(50, 7, one), rng.normal(-3, 2, other)
    valid = rng.random(one) > 0.2 * masked, rng.random(other) > 0.2 * masked
    high = [a + b for a, b in zip(low, more, strict=True)]
    found = Correlation(first, second, low=low, high=high, least=5, valid=valid)
    for index in np.ndindex(*found.values.shape):
        shift = tuple(a + i for a, i in zip(low, index, strict=True))
        n, value = by_definition(first, second, shift, valid, 5)
        assert found.overlap[index] == n
        assert found.values[index] == pytest.approx(value, abs=2e-3)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.5), (2.5, 3.25), (-7.7, 5.1)])
def test_a_shift_between_pixels_is_found_to_a_hundredth(shift):
    rng = np.random.default_rng(4)
    scene = ndimage.gaussian_filter(rng.normal(size=(256, 320)), 1.2, mode="wrap")
    spectrum = ndimage.fourier_shift(np.fft.fft2(scene), [-s for s in shift])
    moved = np.fft.ifft2(spectrum).real
    box = (slice(40, 220), slice(60, 150))
    found = Correlation(scene[box], moved[box], low=(-12, -12), high=(12, 12))
    peak = found.peaks(1)[0]
    np.testing.assert_allclose(peak.shift, shift, atol=0.02)
    assert peak.correlation > 0.98


def test_images_without_contrast_match_nowhere():
    found = Correlation(np.ones((9, 9)), np.ones((9, 9)), low=(-2, -2), high=(2, 2))
    assert found.peaks() == []


def test_candidates_are_apart_and_the_best_comes_first():
    rng = np.random.default_rng(0)
    found = Correlation(*rng.normal(size=(2, 60, 60)), low=(-9, -9), high=(9, 9))
    peaks = found.peaks(5)
    assert len(peaks) == 5
    values = [peak.correlation for peak in peaks]
    assert values[0] == max(values)
    for one in range(5):
        for other in range(one):
            apart = np.abs(np.subtract(peaks[one].shift, peaks[other].shift))
            assert apart.max() > 2


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="as many axes"):
        Correlation(np.ones((3, 3)), np.ones(3), low=(0,), high=(1,))
    with pytest.raises(ValueError, match="no shifts"):
        Correlation(np.ones(3), np.ones(3), low=(2,), high=(1,))
