"""Random acquisitions under a known lamp: what a microscope may bring home."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SIZES = (128, 192, 256, 384, 512)
KINDS = ("blobs", "cells", "fibres", "texture")


@dataclass(frozen=True, slots=True)
class MadeUp:
    """Tiles, and what they were made with."""

    tiles: np.ndarray
    """uint16 (tile, y, x)."""
    lamp: np.ndarray
    """Share of light, mean 1, (y, x)."""
    offset: float
    kind: str
    background: float
    """Counts under all that is in a tile; 0 for structure on nothing."""


def make_up(seed, *, pixels=None, count=None):
    """20 to 100 tiles of 128 to 512 pixels, half of them empty, as `MadeUp`.

    Empty tiles show the camera's offset and noise, or also a weak light; the others blobs, cells,
    fibres or texture of any density, on nothing or on some background.
    """
    rng = np.random.default_rng([seed, 20260])
    size = pixels or int(rng.choice(SIZES, p=[0.15, 0.15, 0.4, 0.15, 0.15]))
    count = count or min(int(rng.integers(30, 101)), max(30, int(12e6 / size**2)))
    kind = KINDS[rng.integers(4)]
    background = float(
        [0, rng.uniform(10, 60), rng.uniform(60, 400)][rng.choice(3, p=[0.2, 0.4, 0.4])]
    )
    weak = float([0, rng.uniform(1, 8), rng.uniform(8, 60)][rng.choice(3, p=[0.45, 0.25, 0.3])])
    offset, signal = float(rng.choice([0, 100, 200, 500])), 10 ** rng.uniform(1.7, 3.5)
    noise, gain = rng.uniform(1, 8), 10 ** rng.uniform(-0.3, 0.6)
    scale, density = rng.uniform(2, 10), 10 ** rng.uniform(-2, 0)
    lamp = lamp_of(rng, size)
    tiles = np.empty((count, size, size), "uint16")
    empty = rng.permutation(count) < count // 2
    for k in range(count):
        light = np.full((size, size), weak)
        if not empty[k]:
            share = min(density * np.exp(rng.normal(0, 0.4)), 0.9)
            light = max(background, weak) + signal * np.exp(rng.normal(0, 0.3)) * structure(
                rng, kind, size, scale, share
            )
        counts = gain * rng.poisson(light * lamp / gain) + rng.normal(offset, noise, lamp.shape)
        tiles[k] = np.clip(np.rint(counts), 0, 65535)
    return MadeUp(tiles, lamp, offset, kind, max(background, weak))


def lamp_of(rng, size):
    """A parabola, a Gaussian or the fourth power of a cosine; 0.4 to 0.7 in the darkest corner."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    middle = rng.uniform(-0.3, 0.3, 2) * (rng.random() < 0.7)
    out = (y - middle[0]) ** 2 + (x - middle[1]) ** 2
    out, corner = out / out.max(), rng.uniform(0.4, 0.7)
    lamp = [
        1 - (1 - corner) * out,
        corner**out,
        (1 + (corner**-0.5 - 1) * out) ** -2,
    ][rng.integers(3)]
    slopes = rng.uniform(-0.12, 0.12, 2) * (rng.random() < 0.4)
    lamp = lamp * (1 + slopes[0] * y + slopes[1] * x)
    return lamp / lamp.mean()


def structure(rng, kind, size, scale, share):
    """What fills about a share of a tile, with a brightness of about 1."""
    shape = (size, size)
    if kind in {"blobs", "fibres"}:
        marks = np.zeros((2 * size, 2 * size))
        if kind == "blobs":
            count = rng.poisson(4 * share * size**2 / (2 * np.pi * scale**2))
            at = rng.integers(0, 2 * size, (2, count))
            np.add.at(marks, tuple(at), np.exp(rng.normal(0, 0.5, count)))
            wide, peak = scale, 2 * np.pi * scale**2
        else:
            wide, peak = scale / 4, np.sqrt(2 * np.pi) * scale / 4
            for _ in range(rng.poisson(2 * share * size / (4 * wide)) + 1):
                turn = rng.uniform(0, np.pi) + np.cumsum(rng.normal(0, 0.02, 3 * size))
                start = rng.uniform(0, 2 * size, 2)[:, None]
                path = np.cumsum([np.sin(turn), np.cos(turn)], axis=1)
                at = np.rint(start + path - path[:, [3 * size // 2]]).astype(int)
                at = at[:, ((at >= 0) & (at < 2 * size)).all(axis=0)]
                marks[tuple(at)] += np.exp(rng.normal(0, 0.4))
        picture = ndimage.gaussian_filter(marks, wide) * peak
        return picture[size // 2 :][:size, size // 2 :][:, :size]
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), scale, mode="wrap")
    smooth /= smooth.std()
    if kind == "texture":
        return np.exp(0.3 * smooth)
    cells = ndimage.gaussian_filter(1.0 * (smooth > np.quantile(smooth, 1 - share)), 1)
    return cells * np.exp(0.2 * rng.normal() + 0.1 * smooth)
