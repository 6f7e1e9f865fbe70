"""The camera's offset is told from empty tiles that glow, and from those that do not."""

import numpy as np
import pytest

from latticework.stages.ready import estimate_darkfield, estimate_flatfield


def tiles_with_glow(seed, glow, *, cells):
    """40 tiles with an offset of 100, and the lamp: half empty, others with cells or brighter."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*[np.linspace(-1, 1, 96)] * 2, indexing="ij")
    middle = rng.uniform(-0.3, 0.3, 2)
    lamp = np.exp(-rng.uniform(0.25, 0.45) * ((y - middle[0]) ** 2 + (x - middle[1]) ** 2))
    lamp /= lamp.mean()
    light = np.full((40, 96, 96), float(glow))
    for tile in light[::2]:
        count = rng.integers(15, 60)
        for row, column in rng.uniform(-10, 106, (count, 2)) if cells else ():
            far = (48 * (y + 1) - row) ** 2 + (48 * (x + 1) - column) ** 2
            tile[:] += rng.uniform(200, 2000) * np.exp(-far / 2 / rng.uniform(2, 5) ** 2)
        tile[:] += 0 if cells else rng.uniform(100, 400)
    tiles = 100 + rng.poisson(light * lamp) + rng.normal(0, 3, light.shape)
    return np.rint(tiles).clip(0, 65535).astype("uint16"), lamp


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_weak_glow_below_cells_is_not_taken_for_the_offset(seed):
    tiles, lamp = tiles_with_glow(seed, 20, cells=True)
    dark = float(estimate_darkfield(tiles).mean())
    assert abs(dark - 100) < 5  # the darkest place of the darkest tile has 110 or so
    field = estimate_flatfield(tiles, offset=dark)
    assert float(np.abs(field / lamp - 1).max()) < 0.2


@pytest.mark.parametrize("seed", [0, 1])
def test_brighter_tiles_tell_the_offset_below_a_glow(seed):
    tiles, _ = tiles_with_glow(seed, 20, cells=False)
    assert abs(float(estimate_darkfield(tiles).mean()) - 100) < 0.5


@pytest.mark.parametrize("cells", [False, True])
def test_empty_tiles_without_light_show_the_offset(cells):
    tiles, _ = tiles_with_glow(0, 0, cells=cells)
    assert abs(float(estimate_darkfield(tiles).mean()) - 100) < 0.5


def test_glow_alone_leaves_a_third_of_the_light_to_each_place():
    tiles, lamp = tiles_with_glow(7, 60, cells=True)
    empty = tiles[1::2]
    light = empty.mean(axis=0) - float(estimate_darkfield(empty).mean())
    corner = light[lamp < np.percentile(lamp, 1)]
    assert 0.25 < float(corner.mean() / light.mean()) < 0.8
