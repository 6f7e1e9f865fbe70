"""Tiles that are turned, sheared or bent: places that are the same lie at one place afterwards."""

import time

import numpy as np
import pandas as pd
import pytest

from latticework.errors import LatticeError
from latticework.lattice import Lattice
from latticework.stitch import place, register
from latticework.stitch.point_links import register_points
from latticework.stitch.warps import Warp
from tests.stitch.scenes import image_of, lattice_of


class Scene:
    """Tiles of a scene of spots, each bent in a way of its own, which is known.

    The same spots in several tiles, some points that are wrong, and the links between the tiles.
    """

    def __init__(self, grid, shape, bend, *, overlap=0.15, spots=60, wrong=0.1, noise=0.2, seed=0):
        self.rng = rng = np.random.default_rng(seed)
        dims = len(shape)
        axes = "zyx"[-dims:]
        size = np.array(shape, float)
        step = np.where(np.arange(dims) < dims - 2, size, (1 - overlap) * size)
        self.index = np.array(list(np.ndindex(*grid)))
        nominal = np.zeros((len(self.index), dims))
        nominal[:, -2:] = self.index * step[-2:]
        self.truth = nominal + rng.uniform(-3, 3, nominal.shape)
        self.lattice = Lattice(
            dims=("tile_y", "tile_x"),
            labels={"tile_y": np.arange(grid[0]), "tile_x": np.arange(grid[1])},
            index=self.index,
            tile_dims=axes,
            tile_shape=shape,
            dtype="u2",
            pixel_size_um=1.0,
            position_um=nominal,
        )
        self.bend, self.shape, self.axes = bend, shape, axes
        links, points = [], []
        for axis in "yx":
            other = self.lattice.neighbours(f"+{axis}")[:, 0]
            for first in np.flatnonzero(other >= 0).tolist():
                pair = first, int(other[first])
                places = self.shared(*pair, spots)
                seen = [
                    self.seen(tile, places) + rng.normal(0, noise, places.shape) for tile in pair
                ]
                bad = rng.random(len(places)) < wrong
                seen[1][bad] += rng.uniform(-12, 12, (bad.sum(), dims))
                row = {"first": pair[0], "second": pair[1]}
                table = {**row, "residual_px": 0.2, "quality": 0.9}
                table |= {f"first_{a}_px": seen[0][:, k] for k, a in enumerate(axes)}
                table |= {f"second_{a}_px": seen[1][:, k] for k, a in enumerate(axes)}
                points.append(pd.DataFrame(table))
                offset = np.median(seen[0] - seen[1], axis=0)
                row |= {"axis": axis, "trusted": True, "why": "", "correlation": 0.9}
                row |= {"runner_up": 0.1, "overlap": 1.0}
                for k, a in enumerate(axes):
                    model = nominal[pair[1], k] - nominal[pair[0], k]
                    row |= {f"nominal_{a}_px": model, f"offset_{a}_px": offset[k]}
                    row |= {f"model_{a}_px": model}
                links.append(row)
        self.links, self.points = pd.DataFrame(links), pd.concat(points, ignore_index=True)

    def seen(self, tile, places):
        """Where in a tile places of the scene are."""
        size = np.array(self.shape)
        middle = (size - 1) / 2
        at = places - self.truth[tile]
        return at + self.bend(tile, (at - middle) / middle)

    def shared(self, first, second, count):
        """Places in the scene that two tiles show."""
        low = np.maximum(self.truth[first], self.truth[second]) + 8
        high = np.minimum(self.truth[first], self.truth[second]) + self.shape - 9
        return self.rng.uniform(low, np.maximum(high, low + 1), (count, len(low)))

    def apart(self, placed, count=200):
        """How far new places that two tiles share are apart in the volume; a value each."""
        found = []
        for first, second in zip(self.links["first"], self.links["second"], strict=True):
            places = self.shared(first, second, count)
            there = []
            for tile in (first, second):
                at = self.seen(tile, places)
                warp = placed.warps[tile] if placed.warps else Warp(self.shape)
                there.append(placed.lattice.position_um[tile] + warp.forward(at))
            found.append(np.linalg.norm(there[1] - there[0], axis=1))
        return np.concatenate(found)


def still(_tile, at):
    return np.zeros_like(at)


def turned(tile, at):
    """By up to a degree, another way each."""
    angle = np.random.default_rng(tile + 100).uniform(-0.017, 0.017)
    return (
        angle
        * 150
        * np.stack([*at.T[:-2], -at[:, -1], at[:, -2]], axis=1)
        * ([0] * (at.shape[1] - 2) + [1, 1])
    )


def sheared(tile, at):
    matrix = np.random.default_rng(tile).uniform(-3, 3, (at.shape[1],) * 2)
    return at @ matrix.T


def bent(tile, at):
    """Smoothly, by up to 4 px, with a phase of its own."""
    phase = np.random.default_rng(tile).uniform(0, 6, at.shape[1])
    return 4 * np.sin(1.8 * at[:, ::-1] + phase)


@pytest.mark.parametrize("shape", [(300, 300), (40, 200, 200)])
@pytest.mark.parametrize(
    ("bend", "model"), [(turned, "rigid"), (sheared, "affine"), (bent, "warp"), (turned, "affine")]
)
def test_places_that_are_the_same_lie_at_one_place_afterwards(shape, bend, model):
    scene = Scene((3, 4), shape, bend, spots=60 if len(shape) == 2 else 150)
    straight = place(scene.lattice, scene.links)
    found = place(scene.lattice, scene.links, model=model, points=scene.points)
    before, after = np.median(scene.apart(straight)), np.median(scene.apart(found))
    assert before > (0.5 if bend is turned else 1.3)
    assert after < (0.35 if model != "warp" else 0.5)
    assert after < before / 2.5
    assert np.percentile(scene.apart(found), 95) < 1.5
    tiles = found.tiles
    assert (tiles.points > 60).all()
    assert (tiles.points_residual_px < 1).all()
    assert tiles.bent_px.between(0.05, 25).all()
    assert len(found.points) == len(scene.points)
    if model == "rigid":
        for warp in found.warps:
            np.testing.assert_allclose(warp.matrix @ warp.matrix.T, np.eye(len(shape)), atol=1e-9)


@pytest.mark.parametrize("shape", [(300, 300), (40, 200, 200)])
@pytest.mark.parametrize("model", ["rigid", "affine", "warp"])
def test_tiles_that_are_not_bent_lie_as_if_they_were_only_moved(shape, model):
    scene = Scene((3, 4), shape, still)
    straight = place(scene.lattice, scene.links)
    found = place(scene.lattice, scene.links, model=model, points=scene.points)
    apart = found.lattice.position_um - straight.lattice.position_um
    assert np.abs(apart - np.median(apart, axis=0)).max() < 0.5
    assert np.median(found.tiles.bent_px) < 0.8
    assert np.median(scene.apart(found)) < 0.2


def test_tiles_with_few_points_do_not_degenerate():
    scene = Scene((2, 3), (300, 300), still, noise=0.5)
    few = scene.points.groupby(["first", "second"]).head(2)
    for model in ("rigid", "affine", "warp"):
        found = place(scene.lattice, scene.links, model=model, points=few)
        assert found.tiles.bent_px.max() < 13  # some of the two are wrong, by up to 17
        none = place(scene.lattice, scene.links, model=model, points=scene.points.iloc[:0])
        assert none.tiles.bent_px.max() == 0
        straight = place(scene.lattice, scene.links)
        np.testing.assert_allclose(none.lattice.position_um, straight.lattice.position_um)


def test_points_of_links_that_are_not_trusted_do_not_count():
    scene = Scene((1, 3), (300, 300), still)
    scene.links.loc[1, "trusted"] = False
    scene.points.loc[scene.points["second"] == 2, "second_y_px"] += 20
    found = place(scene.lattice, scene.links, model="affine", points=scene.points)
    assert set(found.points["second"]) == {1}
    assert found.tiles.points.tolist() == [60, 60, 0]
    assert found.tiles.bent_px[2] == 0


def test_anchors_do_not_move_when_tiles_are_bent():
    scene = Scene((2, 2), (300, 300), sheared)
    anchors = {3: (777.0, 888.0)}
    for model in ("rigid", "affine", "warp"):
        found = place(scene.lattice, scene.links, model=model, points=scene.points, anchors=anchors)
        np.testing.assert_allclose(found.lattice.position_um[3], [777, 888], atol=1e-3)


def test_points_that_are_none_are_refused():
    scene = Scene((1, 2), (300, 300), still)
    with pytest.raises(LatticeError, match="has no second_x_px; it has"):
        place(
            scene.lattice,
            scene.links,
            model="warp",
            points=scene.points.drop(columns="second_x_px"),
        )
    scene.points.loc[3, "first_y_px"] = np.nan
    with pytest.raises(LatticeError, match="not finite"):
        place(scene.lattice, scene.links, model="warp", points=scene.points)
    with pytest.raises(LatticeError, match="at least 2 control points"):
        place(scene.lattice, scene.links, model="warp", points=scene.points.iloc[:3], control=1)


def test_a_bent_scene_is_placed_from_its_pictures():
    rng = np.random.default_rng(8)
    spots = rng.uniform(0, 620, (1500, 2))
    arrays, nominal, truth = [], [], []
    for row, column in np.ndindex(2, 2):
        at = np.array([20.0 + 230 * row, 20.0 + 230 * column])
        true = at + rng.uniform(-4, 4, 2)
        inside = spots - true
        arrays.append(
            image_of(
                inside + bent(2 * row + column, (inside - 150) / 150), (300, 300), rng, sigma=1.6
            )
        )
        nominal.append(at)
        truth.append(true)
    lattice = lattice_of(arrays, list(np.ndindex(2, 2)), nominal)
    links, points = register_points(lattice, with_points=True)
    assert links.trusted.all()
    straight = place(lattice, register(lattice))
    found = place(lattice, links, model="warp", points=points)
    assert "bent by up to" in repr(found)

    def apart(placed):
        gaps = []
        for first, second in zip(links["first"], links["second"], strict=True):
            there = []
            for tile in (first, second):
                at = spots - truth[tile]
                at = at + bent(tile, (at - 150) / 150)
                warp = placed.warps[tile] if placed.warps else Warp((300, 300))
                inside = ((at > 4) & (at < 295)).all(axis=1)
                there.append((placed.lattice.position_um[tile] + warp.forward(at), inside))
            both = there[0][1] & there[1][1]
            gaps.append(np.linalg.norm(there[0][0] - there[1][0], axis=1)[both])
        return np.median(np.concatenate(gaps))

    assert apart(straight) > 1.2
    assert apart(found) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bend", "model"), [(sheared, "affine"), (turned, "rigid"), (bent, "warp")]
)
def test_a_hundred_thousand_points_are_solved_in_seconds(bend, model):
    scene = Scene((20, 20), (300, 300), bend, spots=132)
    assert len(scene.points) > 100_000
    began = time.monotonic()
    found = place(scene.lattice, scene.links, model=model, points=scene.points)
    assert time.monotonic() - began < 60  # on a busy machine
    assert np.median(scene.apart(found, 20)) < 0.5
