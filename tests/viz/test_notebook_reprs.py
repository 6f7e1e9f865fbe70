"""What lattice, project, stage, tile and run show of themselves in a notebook."""

import base64
import io
import pickle
import re
import time

import numpy as np
import pytest
from PIL import Image

import latticework as lw
from latticework.lattice import Lattice, State
from latticework.project.background import Run
from latticework.viz.html import linked
from latticework.viz.pictures import png_bytes
from latticework.viz.project_html import MOST_BYTES
from latticework.viz.reads_picture import reads_svg, reads_words
from latticework.viz.stage_html import stage_html
from latticework.viz.state_maps import StateMap, maps_html
from latticework.viz.tile_picture import MOST_PX, tile_picture
from tests.viz.test_lattice_reprs import hovers, parsed

EVIL = "<script>alert(1)</script>"
HARMLESS = {
    *("style", "div", "svg", "g", "path", "title", "table", "tr", "th", "td", "span", "b"),
    *("small", "img", "rect", "a"),
}


def harmless(page: str) -> None:
    """Well-formed, and neither scripts nor anything that is fetched."""
    assert parsed(page).seen <= HARMLESS
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:image/png|http://)', page)
    assert "url(" not in page


def rest(tile):
    """Nothing is done."""
    return tile


def bubble(tile):
    """One tile has a bubble."""
    if (tile.tile_y, tile.tile_x) == (1, 2):
        raise ValueError(f"a bubble {EVIL}")
    return tile


def brightest(tile):
    return {"counts": float(tile.max())}


def lamp(tiles):
    return np.ones((32, 32), "f4") * float(tiles.shape[0])


def of_plane(tiles):
    return {"n": tiles.sizes["tile"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory, cluster_of_two):
    """A project with stages of several kinds, of which one has failed in one tile."""
    tiles, _ = lw.simulate(
        {"z": 2, "y": 3, "x": 4},
        tile_shape={"z": 4, "y": 32, "x": 32},
        pixel_size_um={"z": 2.0, "y": 0.5, "x": 0.5},
        seed=1,
    )
    project = lw.create(tmp_path_factory.mktemp("reprs") / "brain.lw", tiles)
    project.add(lamp, reads=lw.all_tiles())
    project.add(bubble, retries=0)
    project.add(rest, after="bubble", overlap={"y": 1, "x": 1}, boundary="reflect")
    project.add(brightest, after="rest")
    project.add(of_plane, reads=lw.plane("z"))
    summary = project.run(cluster_of_two, progress="none")
    return project, summary


@pytest.fixture(scope="module")
def cluster_of_two():
    from distributed import Client

    with Client(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
    ) as client:
        yield client


# -------------------------------------------------------------------- maps


def test_a_map_shows_the_most_urgent_state_of_each_square():
    lattice = Lattice.from_grid({"y": 40, "x": 40}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    states = np.full(1600, State.COMPLETE, "u1")
    states[1599] = State.FAILED
    one = StateMap.of(lattice, states, cells=16)
    assert one.worst.shape == (1, 4, 4)
    assert one.worst[0, 3, 3] == State.FAILED
    assert (one.worst == State.COMPLETE).sum() == 15
    page = maps_html({"clean": one})
    assert "y 30–39, x 30–39: some failed" in hovers(page)
    assert "a square is 10 × 10 units" in page


def test_holes_are_absent_on_a_map():
    lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    one = StateMap.of(lattice.take([0, 1, 3]), np.full(3, State.COMPLETE, "u1"))
    assert one.worst[0].tolist() == [[4, 4], [State.ABSENT, 4]]
    assert one.uniform


# -------------------------------------------------------------------- project and run


def test_a_project_shows_bars_maps_and_what_failed(run):
    project, _ = run
    page = project._repr_html_()
    harmless(page)
    assert len(page.encode()) < MOST_BYTES
    assert "22 / 24" in page
    assert "2 failures" in page
    assert "a bubble &lt;script&gt;" in page
    assert "z 1, y 1, x 2: failed" in hovers(page)
    assert "z 1, y 1, x 3: blocked" in hovers(page)
    assert page.count("<svg") == 2 * 3 + 1  # two planes of three stages, and the planes
    assert "2 failures" in repr(project)
    assert "bubble 2 tiles, first" in repr(project)


def test_a_project_without_stages_shows_its_lattice(tmp_path):
    tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    project = lw.create(tmp_path / "tiny.lw", tiles)
    assert "Lattice of 4 tiles" in project._repr_html_()
    project.add(np.negative)
    page = project._repr_html_()
    assert "0 / 4" in page
    assert "<svg" not in page  # nothing has happened yet: maps would be blank


def test_a_summary_shows_maps_of_what_is_not_complete(run):
    _, summary = run
    page = summary._repr_html_()
    harmless(page)
    assert set(summary.maps) == {"bubble", "rest", "brightest"}
    assert "22 / 24" in page
    assert "z 0, y 1, x 2: failed" in hovers(page)
    assert pickle.loads(pickle.dumps(summary)) == summary


def test_a_run_in_the_background_shows_itself_and_its_link(tmp_path, cluster_of_two):
    tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    project = lw.create(tmp_path / "tiny.lw", tiles)
    project.add(np.negative)
    going = project.start(cluster_of_two, wait=True)
    try:
        until = time.monotonic() + 30
        while not (going.dashboard_link and project.counts["negative"] == {"complete": 4}):
            assert time.monotonic() < until
            time.sleep(0.02)
        for page in (going._repr_html_(), project._repr_html_()):
            harmless(page)
            assert f'href="{going.dashboard_link}"' in page
            assert "4 / 4" in page
    finally:
        going.stop()
    assert isinstance(going, Run)
    assert going.wait()._repr_html_() == going._repr_html_()
    assert "dashboard" not in project._repr_html_()


def test_only_addresses_of_the_web_are_links():
    assert "href" not in linked("javascript:alert(1)")
    assert linked('http://127.0.0.1/"><b>').count("<") == 2


# -------------------------------------------------------------------- stage


def test_a_stage_of_a_project_says_what_it_is(run):
    project, _ = run
    page = project["rest"]._repr_html_()
    harmless(page)
    for part in ("Nothing is done.", "halo of y 1, x 1 pixels", "reflect", "uint16, z 4 × y 32"):
        assert part in page
    assert "of brain" in page
    assert "the median" in page
    page = project["bubble"]._repr_html_()
    harmless(page)
    assert "2 failures" in page
    for name in ("lamp", "of_plane", "brightest", "source"):
        harmless(project[name]._repr_html_())


def test_a_stage_opened_elsewhere_shows_what_is_kept_of_it(run):
    project, _ = run
    project.add(rest, name="kept", params={}, after="lamp", reads=lw.all_tiles())
    try:
        again = lw.open_project(project.path)
        assert "test_notebook_reprs.rest" in again["kept"]._repr_html_()
    finally:
        project.remove("kept")


def test_a_stage_in_no_project_shows_what_it_reads():
    blur = lw.stage(overlap={"y": 2, "x": (2, 0)}, timeout=90, needs={"memory": "4 GB"})(rest)
    page = blur.with_options(params={"size": 3, "name": EVIL})._repr_html_()
    harmless(page)
    for part in ("y 2, x 2 and 0", "1 min 30 s", "4 GB of memory", "size = 3", "&lt;script"):
        assert part in page
    for reads in (lw.plane("z"), lw.all_tiles(), lw.intersecting(), lw.nothing()):
        harmless(stage_html(lw.stage(reads=reads)(rest)))
    harmless(stage_html(lw.stage(reads={"a": lw.neighbours("faces"), "b": lw.nothing()})(rest)))


def test_pictures_of_what_is_read_count_the_tiles():
    blue = 'fill="#4f87b8"'
    assert reads_svg(lw.plane("z")).count(blue) == 9
    assert reads_svg(lw.nothing()).count(blue) == 0
    assert reads_svg(lw.neighbours("+x", "-y", "+z")).count(blue) == 4
    assert reads_svg(lw.neighbours({"round": 1})).count(blue) == 1
    assert "dash" in reads_svg(lw.same_tile(), 2)
    assert "dash" not in reads_svg(lw.same_tile(), 0)
    assert reads_words(lw.neighbours({"z": 1, "y": -1})).endswith("neighbours z +1, y -1")


# -------------------------------------------------------------------- tile


def picture_in(page: str) -> np.ndarray:
    data = re.search(r"data:image/png;base64,([^\"]+)", page)[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_png_holds_the_pixels():
    grey = np.random.default_rng(0).integers(0, 255, (7, 5)).astype("u1")
    assert (np.asarray(Image.open(io.BytesIO(png_bytes(grey)))) == grey).all()


def test_a_tile_shows_its_middle_plane():
    volume = np.zeros((8, 40, 60), "u2")
    volume[4, 10:20, 30:50] = 900  # only seen in the middle plane
    lattice = Lattice.from_array(volume, block={"z": 8, "y": 40, "x": 60})
    page = lattice.tile(0)._repr_html_()
    harmless(page)
    grey = picture_in(page)
    assert grey.shape == (40, 60)
    assert (grey[10:20, 30:50] == 255).all()
    assert grey[0, 0] == 0
    assert "z 4 of 0…7" in page


def test_of_a_huge_tile_only_the_middle_is_read():
    lattice = Lattice.from_grid(
        {"y": 1, "x": 2}, tile_shape={"z": 9, "y": 3 * MOST_PX, "x": 100}, dtype="u2"
    )
    asked = []

    def read(box):
        asked.append(box)
        return np.zeros(box.shape, "u2")

    picture = tile_picture(lattice.tile(0), read, side_px=160)
    assert asked[0].shape == (1, MOST_PX, 100)
    assert max(picture.grey.shape) <= 160
    assert "y 4096…8191" in picture.shown


def test_a_tile_that_cannot_be_read_says_so():
    lattice = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    broken = lattice.replace(problems={0: EVIL})
    page = broken.tile(0)._repr_html_()
    harmless(page)
    assert "cannot be read" in page
    assert "<img" not in page

    class Gone:
        def read(self, _tile, _box):
            raise FileNotFoundError(f"no file {EVIL}")

        def fingerprints(self):
            return np.zeros(4, "u8")

    page = lattice.with_source(Gone()).tile(1)._repr_html_()
    harmless(page)
    assert "FileNotFoundError" in page


def test_a_tile_travels_without_its_source():
    lattice = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    tile = lattice.tile(2)
    assert tile.source is lattice.source
    there = pickle.loads(pickle.dumps(tile))
    assert there == tile
    assert there.source is None
    harmless(there._repr_html_())


def test_a_tile_of_a_project_shows_all_its_stages(run):
    project, _ = run
    tile = project.tile(z=1, y=1, x=2)
    assert tile.states == {
        "lamp": State.COMPLETE,
        "bubble": State.FAILED,
        "rest": State.BLOCKED,
        "brightest": State.BLOCKED,
        "of_plane": State.COMPLETE,
    }
    assert "bubble" in tile.why("bubble")
    assert set(tile.attempts().outcome) == {"exception"}
    page = tile._repr_html_()
    harmless(page)
    assert page.count("<img") == 1  # the source alone
    assert "a bubble &lt;script" in page
    whole = project.tile(0)._repr_html_()
    harmless(whole)
    assert whole.count("<img") == 3  # the source, bubble and rest
    assert len(whole.encode()) < MOST_BYTES
    assert repr(project.tile("z0_y0_x0")).startswith("<tile z0_y0_x0 (tile_z=0")


# -------------------------------------------------------------------- a million


@pytest.mark.slow
def test_a_project_of_a_million_tiles_stays_small_and_quick(tmp_path):
    volume = np.zeros((100, 100, 100), "u1")
    lattice = Lattice.from_array(volume, block={"z": 1, "y": 1, "x": 1})
    project = lw.create(tmp_path / "huge.lw", lattice)
    for k in range(5):
        project.add(rest, name=f"stage{k}", after=f"stage{k - 1}" if k else None)
    rng = np.random.default_rng(0)
    for node in project.pipeline:  # any states at all: the worst case for runs of equal ones
        node.units.put(np.arange(1_000_000), rng.integers(0, 9, 1_000_000).astype("u1"))
    start = time.perf_counter()
    page = project._repr_html_()
    took = time.perf_counter() - start
    harmless(page)
    assert len(page.encode()) < 100_000
    assert took < 3.0
    assert len(project["stage0"]._repr_html_().encode()) < 100_000
