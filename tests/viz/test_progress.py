"""Progress in its four forms."""

import io
import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from latticework.lattice import State
from latticework.project.summary import FailedTile, RunSummary
from latticework.viz import Progress, make_progress
from latticework.viz.progress import ShownProgress, SilentProgress, StageView
from latticework.viz.progress_lines import LineProgress
from latticework.viz.progress_notebook import NotebookProgress
from latticework.viz.progress_phases import PhasedProgress
from latticework.viz.progress_rich import RichProgress, bar, bars


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Display:
    """Stands for IPython's display."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def __call__(self, picture, display_id):
        assert display_id
        self.update(picture)
        return self

    def update(self, picture):
        self.pages.append(picture._repr_html_())


def counts(done, failed=0, total=63, running=0):
    rest = total - done - failed - running
    return {State.COMPLETE: done, State.FAILED: failed, State.RUNNING: running, State.WAITING: rest}


def test_all_forms_are_progress():
    for kind in ("none", "lines", "rich", "notebook", "auto"):
        assert isinstance(make_progress(kind, file=io.StringIO()), Progress)
    own = SilentProgress()
    assert make_progress(own) is own
    with pytest.raises(ValueError, match="rich"):
        make_progress("bars")


def test_auto_prints_lines_where_there_is_no_terminal(monkeypatch):
    monkeypatch.delenv("LATTICEWORK_PROGRESS", raising=False)
    assert isinstance(make_progress(file=io.StringIO()), LineProgress)
    monkeypatch.setenv("LATTICEWORK_PROGRESS", "none")
    assert isinstance(make_progress(file=io.StringIO()), SilentProgress)


def test_lines_come_at_most_every_ten_seconds():
    clock, file = Clock(), io.StringIO()
    progress = LineProgress(file=file, clock=clock)
    progress.start({"clean": 63, "spots": 63})
    progress.update("clean", counts(0))
    assert file.getvalue() == ""
    progress.update("spots", counts(0))
    for tick in range(300):
        progress.update("clean", counts(tick // 5, running=1))
        clock.now += 0.1
    lines = file.getvalue().splitlines()
    assert lines[0] == "latticework: 2 stages, 126 of 126 units left"
    assert len(lines) == 4
    assert lines[1].startswith("clean: 20/63 (31 %), 2.0 tiles/s, 22 s left")
    progress.update("clean", counts(63))
    progress.finish()
    assert "clean: 63 complete" in file.getvalue()


def summary(**changes):
    counts = {"clean": {State.COMPLETE: 62, State.FAILED: 1}, "sum": {State.BLOCKED: 1}}
    failures = (FailedTile("clean", "y0_x1", "ValueError: too dark", 3, id=1),)
    given = {"counts": counts, "duration_s": 75.0, "failures": failures, "n_failures": 1}
    return RunSummary("brain.lw", **{**given, **changes})


def test_the_first_line_says_what_is_left():
    for done, line in ((20, "1 stage, 43 of 63 units left"), (63, "1 stage, nothing to do")):
        file = io.StringIO()
        progress = LineProgress(file=file)
        progress.start({"clean": 63})
        progress.update("clean", counts(done))
        assert file.getvalue() == f"latticework: {line}\n"


@pytest.mark.parametrize("kind", ["lines", "rich"])
def test_the_end_is_a_closing_line_and_not_the_summary(kind):
    def shown(came_to):
        file = io.StringIO()
        progress = make_progress(kind, file=file)
        progress.start({"clean": 63})
        progress.update("clean", counts(62, failed=1))
        progress.finish(came_to)
        return " ".join(file.getvalue().split())

    text = shown(summary())
    assert "brain.lw ended after 1 min 15 s: 62 complete, 1 failed, 1 blocked" in text
    assert "project.why('clean', 1)" in text
    assert "too dark" not in text
    assert "too dark" in repr(summary())
    text = shown(summary(counts={"clean": {State.COMPLETE: 63}}, failures=(), n_failures=0))
    assert text.endswith("brain.lw ended after 1 min 15 s: 63 complete")
    text = shown(summary(interrupted=True))
    assert "interrupted after 1 min 15 s" in text
    assert "run again to go on" in text


def test_lines_give_a_sign_of_life():
    clock, file = Clock(), io.StringIO()
    progress = LineProgress(file=file, clock=clock)
    progress.start({"clean": 63})
    for _ in range(2000):
        progress.update("clean", counts(3, running=1))
        clock.now += 0.1
    assert 3 <= file.getvalue().count("clean: 3/63") <= 5


def test_lines_fit_any_encoding():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    progress = LineProgress(file=file)
    progress.start({"größe\x1b[2J": 1})
    progress.finish("ended … µm")
    assert b"ended ? ?m" in raw.getvalue()


def test_a_stage_that_is_added_later_shows():
    progress = SilentProgress()
    progress.start({"clean": 63})
    progress.update("late", counts(3))
    assert progress.stages["late"].total == 63


def test_an_error_in_the_display_does_not_reach_the_run(caplog):
    class Broken(ShownProgress):
        def _changed(self):
            raise OSError("no space left on device")

    progress = Broken()
    progress.start({"clean": 63})
    with caplog.at_level(logging.WARNING):
        progress.update("clean", counts(1))
        progress.update("clean", counts(2))
        progress.finish()
    assert caplog.text.count("the run goes on") == 1


def test_a_closed_file_does_not_reach_the_run():
    file = io.StringIO()
    progress = LineProgress(file=file, every_s=0)
    progress.start({"clean": 63})
    file.close()
    progress.update("clean", counts(1))
    progress.finish()


@pytest.mark.parametrize("kind", ["lines", "rich", "notebook"])
def test_updates_are_cheap(kind):
    progress = {
        "lines": lambda: LineProgress(file=io.StringIO()),
        "rich": lambda: RichProgress(file=io.StringIO()),
        "notebook": lambda: NotebookProgress(display=Display()),
    }[kind]()
    progress.start({f"stage {k}": 1_000_000 for k in range(10)})
    start = time.perf_counter()
    for tick in range(2000):
        progress.update(f"stage {tick % 10}", counts(tick, total=1_000_000))
    took = time.perf_counter() - start
    progress.finish()
    assert took / 2000 < 0.5e-3


def test_bars_say_what_matters():
    from rich.console import Console

    stage = StageView("clean", 361)
    stage.see(counts(200, failed=7, total=361, running=8), rate=12.0)
    console = Console(width=110, file=io.StringIO())
    console.print(bars([stage], width=110))
    text = console.file.getvalue()
    for part in ("clean", "200/361", "55 %", "12.0 tiles/s", "13 s left", "7 failed"):
        assert part in text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_bars_fit_the_terminal(width):
    from rich.console import Console

    stages = []
    for name in ("clean", "a stage with quite a long name for a stage"):
        stage = StageView(name, 361)
        stage.see(
            {**counts(200, failed=7, total=300), State.BLOCKED: 50, State.CANCELLED: 11}, rate=12
        )
        stages.append(stage)
    console = Console(width=width, file=io.StringIO())
    console.print(bars(stages, width=width))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert all("55 %" in line and "200/361" in line for line in lines)
    assert all("7 failed" in line for line in lines) or width == 40


def test_more_stages_than_lines_show_what_is_under_way():
    from rich.console import Console

    console = Console(
        width=80, height=12, file=io.StringIO(), force_terminal=True, color_system=None
    )
    progress = RichProgress(console=console)
    progress.start({f"stage{k:02d}": 10 for k in range(40)})
    for k in range(20):
        progress.update(f"stage{k:02d}", {State.COMPLETE: 10})
    progress.update("stage30", {State.COMPLETE: 1, State.RUNNING: 9})
    progress.finish()
    last = console.file.getvalue().split("\x1b[2K")[-1].replace("\x1b[?25h", "")
    screen = console.file.getvalue()
    assert "stage30" in screen
    assert "… and 32 more stages, 20 of them done" in screen
    assert len(last.splitlines()) <= 12


@pytest.mark.parametrize("done", [0, 1, 500, 999_999, 1_000_000])
def test_a_bar_is_as_long_as_it_should_be(done):
    stage = StageView("clean", 1_000_000)
    stage.see(counts(done, total=1_000_000))
    text = bar(stage, 30, ascii_only=True).plain
    assert len(text) == 30
    assert (text == "#" * 30) == (done == 1_000_000)


def test_a_stage_that_failed_looks_failed():
    from rich.console import Console

    stage = StageView("clean", 63)
    stage.see({State.FAILED: 63})
    assert bar(stage, 20, plain_colours=True).plain == bar(stage, 20, ascii_only=True).plain
    assert set(bar(stage, 20, plain_colours=True).plain) == {"x"}
    console = Console(
        width=90, file=io.StringIO(), force_terminal=True, color_system="truecolor",
        legacy_windows=False, no_color=False,
    )  # fmt: skip
    console.print(bars([stage], width=90))
    text = console.file.getvalue()
    assert "38;2;248;111;47m━━━" in text  # the colour of failed on dark
    assert "63 failed" in text
    assert "ended" not in text


def test_a_notebook_keeps_the_last_picture():
    clock, display = Clock(), Display()
    progress = NotebookProgress(display=display, clock=clock)
    progress.start({"clean": 63, "<script>": 63})
    for tick in range(100):
        progress.update("clean", counts(tick // 2, running=1))
        clock.now += 0.1
    assert 15 <= len(display.pages) <= 25
    progress.update("clean", counts(56, failed=7))
    progress.finish()
    last = display.pages[-1]
    assert "56 / 63" in last
    assert "7 failed" in last
    assert "<script" not in last


def test_a_notebook_leaves_the_summary_to_the_cell():
    class Summary:
        def _repr_html_(self):
            return "<b>all done</b>"

    display = Display()
    progress = NotebookProgress(display=display)
    progress.start({"clean": 63})
    progress.finish(Summary())
    assert "all done" not in display.pages[-1]
    assert "ended after" in display.pages[-1]


SCRIPT = """
import time
from types import SimpleNamespace
from latticework.lattice import State
from latticework.viz import make_progress
progress = make_progress("auto")
progress.start({"clean": 63})
try:
    progress.update("clean", {State.COMPLETE: 20, State.FAILED: 2, State.WAITING: 41})
    print("a line of the user's", flush=True)
    while True:
        time.sleep(0.05)
finally:
    {ending}
"""


@pytest.mark.parametrize("ending", ["progress.finish()", "pass"])
def test_a_terminal_is_restored_after_ctrl_c(ending):
    main, side = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    env.pop("LATTICEWORK_PROGRESS", None)
    script = SCRIPT.replace("{ending}", ending)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=side, stderr=side, stdin=side, env=env
    )
    os.close(side)
    output = b""
    sent = False
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        output += part
        if not sent and b"20/63" in output and b"a line of" in output:
            process.send_signal(signal.SIGINT)
            sent = True
    process.wait(timeout=20)
    os.close(main)
    text = output.decode()
    assert "2 failed" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0
    assert "KeyboardInterrupt" in text


def test_a_pipe_gets_plain_lines():
    script = SCRIPT.replace("{ending}", "progress.finish()").replace("while True:", "while False:")
    env = {k: v for k, v in os.environ.items() if k != "LATTICEWORK_PROGRESS"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True
    )
    assert "\x1b" not in done.stdout
    assert "clean: 20 complete, 2 failed, 41 waiting" in done.stdout


def test_the_import_is_light():
    script = (
        "import sys, json, latticework.viz, latticework.viz.progress, latticework.viz.stage_bars\n"
        "import latticework.viz.lattice_html, latticework.viz.summary, latticework.viz.mosaic\n"
        "heavy = {'matplotlib', 'bokeh', 'IPython', 'rich', 'xarray', 'dask'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_several_runs_of_one_job_are_one_display():
    file, now = io.StringIO(), [0.0]
    shown = LineProgress(file=file, every_s=0, clock=lambda: now[0])
    with PhasedProgress(shown, clock=lambda: now[0]) as progress:
        for phase, stage in (("first", "pairs"), ("nothing to do", "pairs"), ("last", "volume")):
            progress.phase(phase)
            progress.start({stage: 2})
            if phase != "nothing to do":
                progress.update(stage, {State.RUNNING: 2})
            progress.update(stage, {State.COMPLETE: 2})
            progress.finish(RunSummary("brain.lw", {stage: {State.COMPLETE: 2}}, duration_s=1.0))
        now[0] = 60.0
    text = file.getvalue()
    assert text.count("latticework:") == 1
    assert "pairs: 2/2" in text
    assert "volume: 2/2" in text
    assert text.index("\nfirst\n") < text.index("\nlast\n")
    assert "nothing to do\n" not in text
    assert text.count("ended after") == 1
    assert "ended after 60" in text or "ended after 1 min" in text


def test_each_phase_of_a_quick_job_ends_with_its_counts_and_the_pages_are_told_once():
    file = io.StringIO()
    shown = LineProgress(file=file, clock=lambda: 0.0)  # no time passes
    with PhasedProgress(shown, clock=lambda: 0.0) as progress:
        for phase, stage in (("first", "pairs"), ("last", "volume")):
            progress.phase(phase)
            progress.start({stage: 2})
            progress.dashboard("http://127.0.0.1:8787/lattice")
            progress.update(stage, {State.RUNNING: 2})
            progress.update(stage, {State.COMPLETE: 2})
            progress.finish(RunSummary("brain.lw", {stage: {State.COMPLETE: 2}}, duration_s=1.0))
        progress.untimed()
    assert file.getvalue().splitlines() == [
        "dashboard: http://127.0.0.1:8787/lattice",
        "latticework: 1 stage, 2 of 2 units left",
        "first",
        "pairs: 2/2 (100 %), done",
        "last",
        "volume: 2/2 (100 %), done",
        "brain.lw ended: 2 complete",
    ]


def test_a_job_that_breaks_ends_its_display():
    shown = SilentProgress()

    def job():
        with PhasedProgress(shown) as progress:
            progress.start({"pairs": 2})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job()
    assert shown._state == "over"


@pytest.mark.parametrize("kind", ["rich", "notebook"])
def test_bars_show_the_phase(kind):
    if kind == "rich":
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        shown = RichProgress(console=console)
        shown.start({"pairs": 2})
        shown.phase("3 of 3: making the volume")
        shown._live.refresh()
        text = console.file.getvalue()
        shown.finish()
    else:
        pictures = []
        shown = NotebookProgress(
            display=lambda picture, **_: (
                pictures.append(picture) or SimpleNamespace(update=pictures.append)
            ),
            per_second=1e9,
        )
        shown.start({"pairs": 2})
        shown.phase("3 of 3: making the volume")
        text = pictures[-1]._repr_html_()
        shown.finish()
        assert "making the volume" not in pictures[-1]._repr_html_()
    assert "making the volume" in text
