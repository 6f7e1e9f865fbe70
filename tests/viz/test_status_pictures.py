"""Status plots, bars and summaries."""

import time

import numpy as np
import pytest
import xarray as xr

from latticework.lattice import State
from latticework.project.summary import RunSummary, group_failures
from latticework.viz import Failure, plot_status, status_html, summary_html, summary_text
from latticework.viz.status_plot import _shrunk


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
    start = time.perf_counter()
    plot_status(data, tmp_path / "big.png")
    assert time.perf_counter() - start < 5
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
