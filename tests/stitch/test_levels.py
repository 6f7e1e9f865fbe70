"""A gain and an offset for each tile leave no step at the seams, whatever their pattern."""

import numpy as np
import pytest

from latticework.errors import LatticeError
from latticework.lattice import Lattice
from latticework.stitch.levelling import estimate_gains
from latticework.stitch.levels import estimate_levels
from latticework.stitch.patches import line_between
from tests.stitch.acquisitions import lattice_of
from tests.stitch.test_registering import cut, scene_of


def pattern(kind, grid, rng):
    row, column = np.indices(grid)
    return {
        "checkerboard": np.where((row + column) % 2, 1.2, 1.0),
        "alternate rows": np.where(row % 2, 1.2, 1.0),
        "alternate columns": np.where(column % 2, 1.2, 1.0),
        "at random": rng.choice([1.0, 1.2], grid),
    }[kind]


@pytest.mark.parametrize("grid", [(2, 6), (4, 4)])
@pytest.mark.parametrize(
    "kind", ["checkerboard", "alternate rows", "alternate columns", "at random"]
)
def test_gains_and_backgrounds_leave_steps_of_less_than_two_percent(grid, kind):
    rng = np.random.default_rng(3)
    gains = pattern(kind, grid, rng)
    scene = scene_of((grid[0] * 100 + 60, grid[1] * 100 + 60), rng)
    lattice, truth = cut(scene, grid, (120, 120), 100, (2, 2), rng, gains=gains)
    lattice = lattice.replace(position_um=truth)
    known = estimate_levels(lattice, dark=100.0)
    made = known.gains * gains.ravel()
    assert made.max() / made.min() < 1.02
    np.testing.assert_allclose(100 * known.gains + known.offsets, 100)  # the dark stays dark
    made = estimate_gains(lattice, dark=100.0) * gains.ravel()
    assert made.max() / made.min() < 1.02
    extra = rng.choice([0, 25, 60], len(lattice))
    before = np.mean([tile.mean() for tile in lattice.source.arrays])
    for tile, more in zip(lattice.source.arrays, extra, strict=True):
        np.add(tile, more, out=tile, casting="unsafe")
    levels = estimate_levels(lattice)  # nobody says what the camera counts in the dark
    for light in (400, 800, 1200):
        seen = levels.gains * (gains.ravel() * light + 100 + extra) + levels.offsets
        assert seen.max() / seen.min() < 1.02
    after = np.mean(
        [levels.apply(tile, row).mean() for row, tile in enumerate(lattice.source.arrays)]
    )
    assert after == pytest.approx(before + extra.mean(), rel=0.02)


def test_even_overlaps_tell_of_offsets_only():
    rng = np.random.default_rng(1)
    tiles = [rng.normal(100 + 20 * k, 3, (64, 64)).astype("f4") for k in range(3)]
    lattice = lattice_of(tiles, [(0, 0), (0, 1), (0, 2)], [(0, 40 * k) for k in range(3)])
    levels = estimate_levels(lattice)
    np.testing.assert_allclose(levels.gains, 1, atol=0.01)
    seen = [levels.apply(tile, row).mean() for row, tile in enumerate(tiles)]
    assert np.ptp(seen) < 1.5


def test_tiles_without_neighbours_and_without_pixels():
    alone = lattice_of([np.ones((32, 32))], [(0, 0)], [(0, 0)])
    levels = estimate_levels(alone)
    assert levels.gains.tolist() == [1]
    assert levels.offsets.tolist() == [0]
    empty = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    with pytest.raises(LatticeError, match="no pixels"):
        estimate_levels(empty)


def test_debris_in_one_view_does_not_bend_the_line():
    rng = np.random.default_rng(2)
    scene = rng.uniform(200, 900, (160, 24))
    scene += np.linspace(0, 900, 160)[:, None]
    other = 1.1 * scene + 40
    other[:24, :16] = 65_000
    slope, _, here, there, _ = line_between(scene, other)
    assert abs(np.exp(slope) - 1.1) < 0.005
    assert abs(there - 1.1 * here - 40) < 10


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_few_cells_on_nothing_tell_the_slope_and_one_cell_tells_little(noise):
    rng = np.random.default_rng(5)
    patches = np.full((5, 40), 8.0)
    patches[2, 3:30:3] = rng.uniform(100, 900, 9)
    scene = np.kron(patches, np.ones((8, 8)))
    views = np.rint(100 + scene + rng.normal(0, noise, scene.shape)), 100 + 1.2 * scene
    views[1][16:24] *= np.repeat(rng.normal(1, 0.01, 40), 8)  # edges lie elsewhere
    line = line_between(views[0], np.rint(views[1] + rng.normal(0, noise, scene.shape)))
    assert abs(line.slope - np.log(1.2)) < min(0.03, 4 * line.trust**-0.5)
    patches[2, 6:] = 8.0
    scene = np.kron(patches, np.ones((8, 8)))
    alone = line_between(np.rint(100 + scene), np.rint(100 + 1.5 * scene))
    assert alone.trust**-0.5 > 0.03
