r"""Whether bright pixels show the stripes that the ground shows.

A shadow takes the same share of all light. What a camera adds to its lines, line by line, is the
same number of counts everywhere: a large share of a dim ground, and hardly any of a bright cell::

    a shadow               what a camera adds
    ground  ‾‾\__/‾‾       ground  ‾‾\__/‾‾
    cell    ‾‾\__/‾‾       cell    ‾‾‾‾‾‾‾‾
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
BRIGHT = 5.0
"""Pixels are bright from this multiple of what the ground counts."""
LEAST_PIXELS = 8
"""Bright pixels of a line below which it is not asked."""
LEAST_LINES = 12
"""Lines below which nothing is said."""
SHOWN, ERRORS = 0.5, 2.0
"""Stripes are none of bright pixels if these show less than this share of them, by so many standard
errors."""


class Shown(NamedTuple):
    """How lines of bright pixels bend, and how they would if they had the stripes of the ground."""

    bends: Floats
    """(lines,): second differences of logarithms across the stripes, medians of each line."""
    expected: Floats
    """(lines,): those of the stripes."""
    weight: Floats
    """(lines,): bright pixels."""


def ground_of(plane: Singles) -> float:
    """What most pixels of a plane count; 0 if that is nothing.

    Parameters
    ----------
    plane
        Counts above what the camera counts without light; NaN where they are not known.
    """
    known = plane[np.isfinite(plane)]
    return max(float(np.median(known)), 0.0) if known.size else 0.0


def shown_in(plane: Singles, pattern: Singles) -> Shown:
    """What bright pixels of a plane tell of stripes.

    Parameters
    ----------
    plane
        (lines, pixels): counts above what the camera counts without light; NaN where not known.
    pattern
        (lines, pixels): logarithms of the factors of the stripes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> stripes = np.repeat(rng.normal(0, 0.05, (60, 1)), 90, axis=1).astype("f4")
    >>> cells = np.full((60, 90), 30, "f4")
    >>> cells[:, 30:50] = 2000
    >>> bright_ones_lack(shown_in(cells * np.exp(stripes), stripes))
    False
    >>> bright_ones_lack(shown_in(cells + 30 * stripes, stripes))
    True
    """
    ground = ground_of(plane)
    with np.errstate(invalid="ignore", divide="ignore"):
        bright = plane > max(BRIGHT * ground, 1e-6)
        light = np.log(np.where(bright, plane, 1.0))
    asked = bright[:-2] & bright[1:-1] & bright[2:]
    bends, expected = (of[1:-1] - (of[:-2] + of[2:]) / 2 for of in (light, pattern))
    count = asked.sum(axis=1)
    lines = np.flatnonzero(count >= LEAST_PIXELS)
    return Shown(
        np.array([np.median(bends[k][asked[k]]) for k in lines], "f8"),
        np.array([expected[k][asked[k]].mean() for k in lines], "f8"),
        count[lines].astype("f8"),
    )


def bright_ones_lack(*shown: Shown) -> bool:
    """Whether bright pixels of some planes clearly lack the stripes of the ground.

    Told by the slope of the line through what they show and what is expected of them.
    """
    bends, expected, weight = (np.concatenate(of) for of in zip(*shown, strict=True))
    if len(bends) < LEAST_LINES:
        return False
    bends = bends - np.average(bends, weights=weight)
    expected = expected - np.average(expected, weights=weight)
    power = float(weight @ expected**2)
    if not power > 0:
        return False
    slope = float(weight @ (bends * expected)) / power
    left = float(weight @ (bends - slope * expected) ** 2) / (len(bends) - 2)
    return slope + ERRORS * float(np.sqrt(left / power)) < SHOWN


__all__ = ["Shown", "bright_ones_lack", "ground_of", "shown_in"]
