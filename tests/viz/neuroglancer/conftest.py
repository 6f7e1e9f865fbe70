"""A small project with a stage of each kind, whose every pixel is known."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

import latticework as lw
from latticework.viz.neuroglancer import close_server
from tests.viz.neuroglancer.stages import brighter, corners, objects

PIXEL_UM = {"y": 0.5, "x": 0.5}
MOVED_UM = (0.7, -1.2)
"""By how much "places" moves every tile but the first, along y and x."""


def placed(ids: Any) -> pd.DataFrame:
    """Positions as a stitching would find them; a reduction over the tables of all tiles."""
    lattice = lattice_of_test()
    positions = lattice.position_um.copy()
    positions[1:] += MOVED_UM
    del ids
    columns = {
        "id": lattice.ids,
        "position_y_um": positions[:, 0],
        "position_x_um": positions[:, 1],
    }
    return pd.DataFrame(columns)


def pixels_of_tile(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    smooth = np.add.outer(np.arange(64), 2 * np.arange(80)) % 128
    return (smooth + rng.integers(0, 100, (64, 80))).astype("u1")


def lattice_of_test() -> lw.Lattice:
    return lw.open_tiles(
        [pixels_of_tile(k) for k in range(6)],
        grid={"y": 2, "x": 3},
        overlap={"y": 8, "x": 10},
        pixel_size_um=PIXEL_UM,
    )


@dataclass(frozen=True)
class Known:
    project: lw.Project
    mosaic: np.ndarray
    """What the nominal mosaic shows: later tiles on top of earlier ones."""


def mosaic(tiles: list[np.ndarray], step: tuple[int, int] = (56, 70)) -> np.ndarray:
    whole = np.zeros((56 + 64, 2 * 70 + 80), tiles[0].dtype)
    for number, tile in enumerate(tiles):
        y, x = step[0] * (number // 3), step[1] * (number % 3)
        whole[y : y + 64, x : x + 80] = tile
    return whole


@pytest.fixture(scope="session")
def known(tmp_path_factory, local_client) -> Known:
    lattice = lattice_of_test()
    project = lw.create(tmp_path_factory.mktemp("view") / "brain.lw", lattice)
    clean = project.add(brighter)
    project.add(objects)
    points = project.add(corners)
    project.add(placed, name="places", after=points, reads=lw.all_tiles())
    summary = project.run(local_client, progress="none")
    assert summary, summary
    assert clean.counts == {"complete": 6}
    return Known(project, mosaic([pixels_of_tile(k) for k in range(6)]))


@pytest.fixture(autouse=True)
def _no_server_is_left():
    yield
    close_server()
