"""Status plots, bars and summaries."""

import time

import numpy as np
import pytest
import xarray as xr

import latticework as lw
from latticework.lattice import Lattice, State
from latticework.project.summary import RunSummary, group_failures
from latticework.stages.reads import intersecting, plane
from latticework.viz import Failure, plot_status, status_html, summary_html, summary_text
from latticework.viz.status_plot import _shrunk
from tests.project.running import numbered, run_here


def status(shape, stages=("clean", "spots")):
    dims = ("tile_z", "tile_y", "tile_x")[-len(shape) :]
    states = np.full((len(stages), *shape), State.COMPLETE, dtype="u1")
    states[0].flat[min(1, states[0].size - 1)] = State.FAILED
    return xr.Dataset({"state": (("stage", *dims), states)}, {"stage": list(stages)})


def texts(figure):
    return " | ".join(text.get_text() for text in figure.texts)


def test_every_stage_has_a_panel_with_its_counts(tmp_path):
    path = tmp_path / "status.png"
    figure = plot_status(status((7, 9)), path, title="brain.lw")
    assert len(figure.axes) == 2
    for part in ("brain.lw", "clean", "spots", "62 complete, 1 failed", "63 complete", "failed 1"):
        assert part in texts(figure)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "shape", [(7, 9), (10, 20, 20), (2, 2, 2), (1, 40), (60, 3), (1, 1), (40, 50, 50)]
)
@pytest.mark.parametrize("n", [1, 3, 7])
def test_any_shape_is_drawn(shape, n):
    figure = plot_status(status(shape, [f"stage $ {k}" for k in range(n)]), theme="dark")
    figure.canvas.draw()
    assert len(figure.axes) == n


def test_a_lattice_without_dims_is_one_square():
    data = xr.Dataset({"state": (("stage",), np.array([4], "u1"))}, {"stage": ["flat"]})
    assert "1 complete" in texts(plot_status(data))


def status_with_reductions():
    data = status((7, 9))
    made = np.array([State.COMPLETE, State.BLOCKED], "u1")
    data["reduction_state"] = ("reduction", made)
    return data.assign_coords(
        reduction=["lamp", "sum"], any_stage=["lamp", "clean", "spots", "sum"]
    )


def test_reductions_are_squares_below():
    figure = plot_status(status_with_reductions())
    figure.canvas.draw()
    assert [axes.get_xlabel() for axes in figure.axes] == ["x", "x", "all tiles", "all tiles"]
    names = [t for text in figure.texts if (t := text.get_text()) in {"lamp", "clean", "sum"}]
    assert names == ["clean", "lamp", "sum"]
    assert "complete 126" in texts(figure)  # 62 + 63 + 1
    assert "blocked 1" in texts(figure)


def one(tile):
    return int(tile[0, 0, 0])


def failing(tiles, *, bad):
    if tiles.unit.id in bad:
        raise ValueError("dark")
    return len(tiles)


def dark_plane(tiles, *, bad):
    if int(tiles.tile_z[0]) == bad:
        raise ValueError("dark")
    return float(tiles.mean())


@pytest.fixture
def mixed(tmp_path):
    project = lw.create(tmp_path / "p.lw", numbered((3, 2, 4), (4, 5, 6))[0])
    blocks = Lattice.from_grid({"y": 2, "x": 5}, tile_shape={"y": 5, "x": 5}, dtype="u2")
    project.add(one)
    project.add(dark_plane, name="means", bad=1, reads=plane("z"), retries=0)
    project.add(failing, name="fuse", bad=[4], reads=intersecting(blocks), retries=0)
    run_here(project)
    return project


def test_planes_and_blocks_have_panels_too(mixed):
    figure = plot_status(mixed)
    figure.canvas.draw()
    assert len(figure.axes) == 3
    shown = texts(figure)
    for part in ("means (one unit per plane)", "2 complete, 1 failed", "9 complete, 1 failed"):
        assert part in shown
    assert "complete 35" in shown  # 24 tiles, 2 planes, 9 blocks
    assert "failed 2" in shown
    marks = [sum(len(line.get_xdata()) for line in axes.lines) for axes in figure.axes]
    assert marks == [0, 8, 1]
    assert len(plot_status(mixed["fuse"]).axes) == len(plot_status(mixed["means"]).axes) == 1


def test_status_has_the_states_of_planes_and_blocks(mixed):
    status = mixed.status
    assert status.other_stage.values.tolist() == ["means", "fuse"]
    assert status["means.state"].sel({"means.tile_z": 1}) == State.FAILED
    assert status["means.state"].attrs["unit"] == "plane"
    failed = status["fuse.state"] == State.FAILED
    assert failed.values.tolist() == [[False] * 4 + [True], [False] * 5]
    assert mixed["means"].status.state.values.tolist() == status["means.state"].values.tolist()


def test_an_incomplete_grid_shows_planes_only_where_there_are_tiles(tmp_path):
    lattice = numbered((3, 2, 4), (4, 5, 6))[0]
    project = lw.create(tmp_path / "p.lw", lattice.take(range(23)))
    project.add(dark_plane, name="means", bad=2, reads=plane("z"), retries=0)
    run_here(project)
    figure = plot_status(project)
    (marks,) = [line for axes in figure.axes for line in axes.lines]
    assert len(marks.get_xdata()) == 7


def test_a_project_of_blocks_alone_is_drawn(tmp_path):
    project = lw.create(tmp_path / "p.lw", numbered((3, 2, 4), (4, 5, 6))[0])
    blocks = Lattice.from_grid({"y": 30, "x": 2}, tile_shape={"y": 5, "x": 5}, dtype="u2")
    project.add(failing, name="fuse", bad=[4], reads=intersecting(blocks), retries=0)
    figure = plot_status(project)
    figure.canvas.draw()
    assert len(figure.axes) == 1


def test_what_has_a_status_is_drawn():
    class Project:
        status = status_with_reductions()

    assert len(plot_status(Project()).axes) == 4
    one = xr.Dataset({"state": (("tile_y", "tile_x"), np.full((2, 3), 4, "u1"))})
    assert "6 complete" in texts(plot_status(one.assign_attrs(stage="clean")))
    assert "clean" in texts(plot_status(one.assign_attrs(stage="clean")))
    only = status_with_reductions().isel(stage=[])
    assert len(plot_status(only).axes) == 2


def test_nothing_shows_beyond_the_rim_of_a_panel():
    from matplotlib.colors import to_rgb

    for n in range(3, 12):  # which panels have a sliver depends on how their width rounds
        figure = plot_status(status((n, n + 2), ("a", "b", "c")))
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255
        for axes in figure.axes:
            box = axes.get_window_extent()
            rows = slice(int(len(pixels) - box.y1) + 3, int(len(pixels) - box.y0) - 3)
            rim = pixels[rows, round(box.x1) - 1 : round(box.x1) + 3].reshape(-1, 3)
            green = np.array(to_rgb("#33927e"))
            assert np.abs(rim - green).sum(axis=1).min() > 0.3, (n, axes)


def test_further_dims_make_planes():
    states = np.full((1, 2, 3, 4, 5), 1, dtype="u1")
    dims = ("stage", "round", "tile_z", "tile_y", "tile_x")
    figure = plot_status(
        xr.Dataset({"state": (dims, states)}, {"stage": ["a"], "round": ["r1", "r2"]})
    )
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert "round r2, z 2" in shown
    assert len(shown) == 6


def test_one_failed_tile_of_a_million_shows():
    planes = np.full((100, 100, 100), State.COMPLETE, dtype="u1")
    planes[37, 41, 59] = State.FAILED
    small, factor = _shrunk(planes)
    assert factor > 1
    assert np.count_nonzero(small == State.FAILED) == 1


def test_a_million_tiles_are_drawn_quickly(tmp_path):
    data = status((100, 100, 100), ("a", "b", "c", "d"))
    start = time.process_time()
    plot_status(data, tmp_path / "big.png")
    assert time.process_time() - start < 5
    assert (tmp_path / "big.png").stat().st_size < 2_000_000


COUNTS = {
    "clean": {State.COMPLETE: 354, State.FAILED: 7},
    "<script>": {State.BLOCKED: 7, State.WAITING: 354},
}


def test_bars_have_numbers_and_escape_names():
    page = status_html(
        COUNTS,
        title="<b>brain",
        rates={"clean": 12.3},
        eta_s={"clean": 130},
        notes={"clean": "<i>"},
    )
    for part in ("354 / 361", "98 %", "7 failed", "12.3 tiles/s", "2 min 10 s left", "7 blocked"):
        assert part in page
    for evil in ("<script", "<b>brain", "<i>"):
        assert evil not in page


def test_names_of_the_package_are_never_modules():
    import importlib
    import inspect
    import pkgutil

    from latticework import viz

    for module in pkgutil.iter_modules(viz.__path__):
        importlib.import_module(f"latticework.viz.{module.name}")
    assert not any(inspect.ismodule(getattr(viz, name)) for name in viz.__all__)


def test_no_stages_is_said():
    assert "no stages yet" in status_html({})


def test_a_summary_lists_failures():
    failures = (
        Failure("clean", f"y{k}_x0", "ValueError: <b>\ntoo dark\x1b[0m", attempts=3)
        for k in range(7)
    )
    text = summary_text(COUNTS, duration_s=75, failures=failures, limit=2)
    assert "clean y0_x0: ValueError: <b> too dark [0m (3 attempts)" in text
    assert "and 5 more" in text
    assert "7 failures" in text
    assert "run, 1 min 15 s" in text


def test_failures_of_one_message_are_one_line():
    rows = [("clean", f"y0_x{k}", "ValueError: too dark", 1, k) for k in range(63)]
    rows += [("clean", f"y9_x{k}", f"OSError: {k}", 2, 70 + k) for k in range(4)]
    summary = RunSummary("brain.lw", COUNTS, 75.0, failures=group_failures(rows), n_failures=67 + 9)
    assert [f.tiles for f in summary.failures] == [63, 1, 1, 1, 1]
    assert [f.id for f in summary.failures[:2]] == [0, 70]
    text, page = repr(summary), summary._repr_html_()
    assert "clean 63 tiles, first y0_x0: ValueError: too dark" in text
    assert "clean y9_x3: OSError: 3 (2 attempts)" in text
    for part in ("76 failures", "and 9 more", "project.retry()", "first y0_x0"):
        assert part in text
        assert part in page
    assert text.splitlines()[-1].endswith("project.retry(), then project.run()")
    assert "retry" not in repr(RunSummary("brain.lw", {"a": {State.COMPLETE: 1}}, 1.0))


def test_a_summary_page_escapes_messages():
    page = summary_html(
        COUNTS, failures=[Failure("clean", "<script>", "<img src=x>")], n_failures=7
    )
    assert "<img" not in page
    assert "<script" not in page
    assert "and 6 more" in page


def test_a_million_failures_stay_small():
    failures = [Failure("clean", f"tile {k}", "x" * 1000) for k in range(10_000)]
    assert len(summary_html(COUNTS, failures=failures, n_failures=1_000_000)) < 20_000
