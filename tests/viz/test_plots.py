"""Pictures of lattices and projects: one entry, clear refusals, and what is said is drawn."""

import tempfile

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

import latticework as lw
from latticework.errors import LatticeError, ProjectError
from latticework.lattice import Lattice
from latticework.stages.stage import stage
from latticework.stitch import place, register
from latticework.viz import plot_positions, plot_previews, plot_residuals
from tests.project.running import run_here


@pytest.fixture(scope="module")
def tiles():
    made, _ = lw.simulate({"z": 2, "y": 2, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=2)
    return made


@pytest.fixture(scope="module")
def placement(tiles):
    return place(tiles, register(tiles))


@pytest.fixture(scope="module")
def project(tiles, placement):
    """A project with tables of places and links, as a stitching makes them."""
    made = lw.create(tempfile.mkdtemp() + "/plots.lw", tiles)
    table = placement.tiles.rename(columns={"tile": "id"})
    for k, axis in enumerate(placement.lattice.spatial_dims):
        table[f"position_{axis}_um"] = placement.lattice.position_um[:, k]

    @stage(reads=lw.all_tiles(), name="places")
    def places(_tiles):
        return table

    @stage(reads=lw.all_tiles(), name="links")
    def links(_tiles):
        return placement.links

    @stage(reads=lw.all_tiles(), name="lamp")
    def lamp(tiles):
        return tiles[0]

    made.add(np.negative)
    made.add(lamp)
    made.add(places)
    made.add(links)
    run_here(made)
    return made


@pytest.mark.parametrize(
    ("what", "theme"),
    [
        *(("states", "dark"), ("planes", "light"), ("previews", "dark")),
        *(("positions", "dark"), ("links", "light"), ("residuals", "dark")),
    ],
)
def test_every_picture_of_a_project_is_drawn_and_written(project, tmp_path, what, theme):
    file = tmp_path / f"{what}.png"
    figure = project.plot(what, theme=theme, path=file)
    picture = imread(file)
    assert figure.axes
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.02  # something is on it


def test_a_picture_that_there_is_not_is_refused_with_those_that_there_are(project, tiles):
    with pytest.raises(ProjectError, match="no plot 'state' of a project; there are 'states', 'pl"):
        project.plot("state")
    with pytest.raises(ProjectError, match="does not take stages; it takes stage, title, theme"):
        project.plot("states", stages="negative")
    with pytest.raises(LatticeError, match="no plot 'links' of a lattice; there are 'planes', 'po"):
        tiles.plot("links")
    with pytest.raises(LatticeError, match=r"needs found= \(the same tiles where"):
        tiles.plot("positions")
    for what in ("previews", "positions", "links"):
        with pytest.raises(ProjectError, match=rf"{what}.*planes=\[0\]: give how many planes"):
            project.plot(what, planes=[0])
    with pytest.raises(LatticeError, match=r"expected a lattice of the same 12 tiles"):
        tiles.plot("positions", found=tiles.sel(z=0))
    other = lw.create(tempfile.mkdtemp() + "/none.lw", tiles)
    with pytest.raises(ProjectError, match=r"stitch` \(or .*makes the stage 'links' that"):
        other.plot("residuals")
    with pytest.raises(ProjectError, match="nothing in this project has found where its tiles lie"):
        other.plot("positions")
    with pytest.raises(LatticeError, match="this one lacks trusted, residual_px, correlation"):
        plot_residuals(pd.DataFrame({"axis": ["y"]}))


def test_previews_show_the_last_stage_with_pictures_plane_by_plane(project):
    figure = project.plot("previews")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["z 0", "z 1"]
    assert figure.texts[0].get_text() == "negative"
    assert figure.texts[1].get_text() == "12 tiles"
    one = plot_previews(project, "source", plane={"z": 1})
    assert len(one.axes) == 1
    grey = one.axes[0].images[0]
    assert grey.get_clim()[0] < grey.get_clim()[1]


def test_positions_tell_how_far_tiles_moved(tiles):
    moved = np.zeros_like(tiles.position_um)
    moved[:, -1] = 5.0
    moved[3, -1] = 20.0
    figure = plot_positions(tiles, tiles.replace(position_um=tiles.position_um + moved))
    assert "moved by 5 µm in the median, 20 µm at most" in figure.texts[0].get_text()
    found = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    assert sorted(set(found[0].get_array().tolist())) == [5.0, 20.0]


def test_positions_of_very_many_tiles_and_of_one():
    grid = {"y": 100, "x": 100}
    many = Lattice.from_grid(grid, tile_shape={"y": 64, "x": 64}, dtype="u2")
    shaken = many.position_um + np.random.default_rng(0).normal(0, 3, many.position_um.shape)
    figure = plot_positions(many, many.replace(position_um=shaken))
    arrows = [c for c in figure.axes[0].collections if not isinstance(c, PolyCollection)]
    assert sum(len(c.get_offsets()) for c in arrows) <= 800
    single = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 64, "x": 64}, dtype="u2")
    assert len(plot_positions(single, single).axes) == 2


def test_the_old_way_to_plot_a_lattice_still_works(tiles):
    assert len(tiles.plot(names=False, order=False).axes) == 2
