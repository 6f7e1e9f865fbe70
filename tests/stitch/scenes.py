"""Scenes of spots, moved, turned, bent, and seen in part only: what the truth is, is known."""

import numpy as np

from latticework.lattice import Lattice


class Arrays:
    """Arrays in memory as a source."""

    def __init__(self, arrays):
        self.arrays = arrays

    def read(self, tile, box):
        return self.arrays[tile][box.slices]

    def fingerprints(self):
        return np.arange(len(self.arrays), dtype="u8")


def lattice_of(arrays, places, nominal, *, pixel_size=None, dims=("tile_y", "tile_x")):
    """A lattice over arrays at grid `places`, nominally at pixels `nominal`."""
    axes = "zyx"[-arrays[0].ndim :]
    size = dict.fromkeys(axes, 1.0) if pixel_size is None else pixel_size
    return Lattice(
        dims=dims,
        labels={dim: np.arange(1 + max(at[k] for at in places)) for k, dim in enumerate(dims)},
        index=np.array(places),
        tile_dims=axes,
        tile_shape=arrays[0].shape,
        dtype=arrays[0].dtype,
        pixel_size_um=size,
        position_um=np.asarray(nominal, float) * [size[axis] for axis in axes],
        source=Arrays(arrays),
    )


def smooth(points, amplitude, wavelength, phase=0.0):
    """A smooth displacement of points."""
    points = np.asarray(points, float)
    return amplitude * np.sin(2 * np.pi * points[:, ::-1] / wavelength + phase)


def image_of(places, shape, rng, *, sigma=2.0, height=300.0, noise=6.0, background=100.0):
    """A picture of spots at places in its pixels, with noise."""
    picture = np.full(shape, background)
    sigma = np.broadcast_to(np.asarray(sigma, float), (len(shape),))
    half = np.ceil(4 * sigma).astype(int)
    for place in places:
        low = np.maximum(np.round(place).astype(int) - half, 0)
        high = np.minimum(np.round(place).astype(int) + half + 1, shape)
        if (low >= high).any():
            continue
        grids = np.meshgrid(*map(np.arange, low, high), indexing="ij")
        power = sum(
            ((grid - at) / width) ** 2 for grid, at, width in zip(grids, place, sigma, strict=True)
        )
        picture[tuple(map(slice, low, high))] += height * np.exp(-power / 2)
    picture = rng.poisson(picture) + rng.normal(0, noise, shape)
    return np.clip(np.rint(picture), 0, 65535).astype("u2")


def two_sets(n, size, shift, rng, *, amplitude=5.0, wavelength=350.0, outliers=0.5, noise=0.2):
    """Points of two tiles: `n` are the same in both, others in one only; and who is who.

    Gives the two sets, and for each point the number of its spot (below 0: no partner).
    """
    dims = len(size)
    scene = rng.uniform(0, 1, (n, dims)) * size
    moved = scene + shift + smooth(scene, amplitude, wavelength, rng.uniform(0, 6, dims))
    more = round(n * outliers / (1 - outliers))
    first, second = (
        np.concatenate([points + rng.normal(0, noise, points.shape), others])
        for points, others in (
            (scene, rng.uniform(0, 1, (more, dims)) * size),
            (moved, rng.uniform(0, 1, (more, dims)) * size + shift),
        )
    )
    orders = rng.permutation(len(first)), rng.permutation(len(second))
    names = [np.where(order < n, order, -1 - k) for k, order in enumerate(orders)]
    return first[orders[0]], second[orders[1]], *names
