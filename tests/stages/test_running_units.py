"""Units that are ended while they run: cancelled, too slow, stuck, or left by their worker."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from latticework.stages import processes, running_units
from latticework.stages.command import command
from latticework.stages.failures import Cancelled, CommandError, TimedOut
from latticework.stages.paths import attempt_log
from latticework.stages.processes import run_process
from latticework.stages.running_units import RunningUnit, cancel_here, running_here
from latticework.stages.stage import as_stage
from tests.stages.benches import Place, array_tiles

# An exception that is raised in a thread may meet a finaliser; there it is lost, and raised again.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CANCELLED, TIMEOUT = 5, 6
ROOT = Path(__file__).resolve().parents[2]

FAMILY = """
import os, subprocess, sys, time
folder = sys.argv[1]
def note(what):
    open(os.path.join(folder, what + ".part"), "w").write(str(os.getpid()))
    os.rename(os.path.join(folder, what + ".part"), os.path.join(folder, what))
if len(sys.argv) > 2:
    if sys.argv[2] == "daemon":
        os.setsid()
    note(sys.argv[2])
    time.sleep(600)
for kind in ("child", "daemon"):
    subprocess.Popen([sys.executable, __file__, folder, kind])
note("parent")
time.sleep(600)
"""


COUNTS_REQUESTS = """
import os, signal, subprocess, sys, time
reading, writing = os.pipe()
os.set_blocking(writing, False)
signal.set_wakeup_fd(writing)
signal.signal(signal.SIGTERM, lambda *_: None)
role = sys.argv[1] if len(sys.argv) > 1 else "parent"
if role == "other":
    os.setsid()
family = [subprocess.Popen([sys.executable, __file__, name]) for name in ("child", "other")
          if role == "parent"]
requests = len(os.read(reading, 100))
time.sleep(0.5)
os.set_blocking(reading, False)
try:
    requests += len(os.read(reading, 100)) if requests else 0
except BlockingIOError:
    pass
os.write(1, f"{role}:{requests}\\n".encode())
for process in family:
    process.wait()
"""


@pytest.fixture
def family(tmp_path):
    """A script that starts a child, and another one in a session of its own."""
    script = tmp_path / "family.py"
    script.write_text(FAMILY)
    (tmp_path / "pids").mkdir()
    return script, tmp_path / "pids"


def pids(folder, n=3, seconds=20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = [path for path in folder.iterdir() if not path.name.endswith(".part")]
        if len(found) == n:
            return {path.name: int(path.read_text()) for path in found}
        time.sleep(0.02)
    raise AssertionError(f"only {[p.name for p in folder.iterdir()]} started")


def runs(pid):
    """Whether a process runs (one that ended and was not waited for yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(processes, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(map(runs, processes)):
            return True
        time.sleep(0.02)
    return False


def background(work):
    """A thread that runs something and keeps what came of it."""
    kept = []
    thread = threading.Thread(target=lambda: kept.append(work()), daemon=True)
    thread.start()
    return thread, kept


def began(n=1, seconds=20.0):
    until = time.monotonic() + seconds
    while len(running_here()) < n and time.monotonic() < until:
        time.sleep(0.01)
    return running_here()


# -------------------------------------------------------------------- commands


def test_cancelling_ends_a_command_with_all_its_children_and_leaves_the_rest_of_its_batch(
    tmp_path, family
):
    script, folder = family
    place = Place(tmp_path / "p", array_tiles())
    text = "if [ {unit} = 0 ]; then exec {python} {script} {pids}; fi"
    stage = command(
        text,
        shell=True,
        name="slow",
        params={"python": sys.executable, "script": str(script), "pids": str(folder)},
    )
    order = place.order(stage)
    thread, kept = background(lambda: place.run(order, [0, 1, 2, 3]))
    started = pids(folder)
    assert cancel_here(str(order.staging), 1, [0, 2]) == [0]
    thread.join(20)
    rows, report = kept[0]
    assert rows["outcome"].tolist() == [CANCELLED, 1, CANCELLED, 1]
    assert gone(started.values(), 1)
    assert "cancelled after" in report.failures[0].message
    assert running_here() == []


def test_a_command_that_takes_too_long_is_ended(tmp_path, family):
    script, folder = family
    place = Place(tmp_path / "p", array_tiles())
    stage = command([sys.executable, script, str(folder)], name="slow", timeout=1.5)
    rows, report = place.run(stage)
    assert rows["outcome"].tolist() == [TIMEOUT]
    assert "timeout=1.5" in report.failures[0].message
    assert gone(pids(folder).values(), 1)


def test_a_command_that_ignores_being_asked_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    place = Place(tmp_path / "p", array_tiles())
    stage = command(
        "trap '' TERM; echo $$ > {pid}; while :; do sleep 0.1; done",
        shell=True,
        name="stubborn",
        timeout=0.5,
        params={"pid": str(tmp_path / "pid")},
    )
    before = time.monotonic()
    rows, _ = place.run(stage)
    assert rows["outcome"].tolist() == [TIMEOUT]
    assert 0.9 < time.monotonic() - before < 8
    assert not runs(int((tmp_path / "pid").read_text()))


def test_a_command_has_time_to_tidy_up_and_what_it_printed_is_kept(tmp_path):
    place = Place(tmp_path / "p", array_tiles(["a", "b", "c", "d", "e", "f"]))
    text = "trap 'echo tidied; exit 0' TERM; echo began; while :; do sleep 0.05; done"
    rows, _ = place.run(command(text, shell=True, name="tidy", timeout=0.5))
    assert rows["outcome"].tolist() == [TIMEOUT]
    log = attempt_log(place.folder, "tidy", "0/0-a", 1, "out")
    assert log.read_text() == "began\ntidied\n"


def test_each_process_of_a_command_is_asked_to_end_once(tmp_path, monkeypatch):
    asked = os.killpg

    def ask_slowly(group, number):
        asked(group, number)
        time.sleep(0.1)  # a second request right after the first would melt into it

    monkeypatch.setattr(os, "killpg", ask_slowly)
    place = Place(tmp_path / "p", array_tiles())
    script = tmp_path / "counts.py"
    script.write_text(COUNTS_REQUESTS)
    stage = command([sys.executable, str(script)], name="counts", timeout=2)
    rows, _ = place.run(stage)
    assert rows["outcome"].tolist() == [TIMEOUT]
    log = attempt_log(place.folder, "counts", "0/0-plain", 1, "out")
    assert sorted(log.read_text().split()) == ["child:1", "other:1", "parent:1"]


def test_background_processes_end_with_their_command(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    stage = command(
        "sleep 600 & echo $! > {pid}",
        shell=True,
        name="rest",
        params={"pid": str(tmp_path / "pid")},
    )
    before = time.monotonic()
    rows, _ = place.run(stage)
    assert rows["outcome"].tolist() == [1]
    assert time.monotonic() - before < 5
    assert gone([int((tmp_path / "pid").read_text())], 1)


def test_nothing_outlives_a_worker_that_is_killed(family):
    script, folder = family
    code = """
        import sys
        from pathlib import Path
        from latticework.stages.processes import run_process
        from latticework.stages.running_units import RunningUnit
        import os
        script, folder = sys.argv[1:]
        run_process([sys.executable, script, folder], cwd=folder, env=dict(os.environ),
                    out=Path(folder).parent / "o", err=Path(folder).parent / "e",
                    unit=RunningUnit("s", 1, 0))
    """
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(script), str(folder)], cwd=ROOT
    )
    started = pids(folder)
    assert all(map(runs, started.values()))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert gone(started.values(), 10)


def test_a_program_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(CommandError, match=r"'no-such-program' could not be started .* Install it"):
        run_process(
            ["no-such-program"], cwd=tmp_path, env={}, out=tmp_path / "o", err=tmp_path / "e",
            unit=RunningUnit("s", 1, 0),
        )  # fmt: skip
    with pytest.raises(CommandError, match="its working folder"):
        run_process(
            ["true"], cwd=tmp_path / "gone", env=dict(os.environ), out=tmp_path / "o",
            err=tmp_path / "e", unit=RunningUnit("s", 1, 0),
        )  # fmt: skip


def test_much_output_is_cut_and_its_end_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "LOG_BYTES", 1000)
    monkeypatch.setattr(processes.Log.__init__, "__defaults__", (1000,))
    ended = run_process(
        [sys.executable, "-c", "for k in range(20000): print(k)"],
        cwd=tmp_path, env=dict(os.environ), out=tmp_path / "o", err=tmp_path / "e",
        unit=RunningUnit("s", 1, 0),
    )  # fmt: skip
    text = (tmp_path / "o").read_text()
    assert text.startswith("0\n1\n")
    assert text.endswith("19998\n19999\n")
    assert "latticework left" in text
    assert len(text) < 20_000
    assert ended.last_lines.endswith("19999")
    assert not (tmp_path / "e").exists()


def test_what_is_printed_can_be_read_while_it_runs(tmp_path):
    unit = RunningUnit("s", 1, 0).begin()

    def work():
        unit.thread = threading.get_ident()
        with pytest.raises(Cancelled):
            run_process(
                ["sh", "-c", "echo here; sleep 600"], cwd=tmp_path, env=dict(os.environ),
                out=tmp_path / "o", err=tmp_path / "e", unit=unit,
            )  # fmt: skip
        return True

    thread, kept = background(work)
    until = time.monotonic() + 10
    while time.monotonic() < until and not (tmp_path / "o").exists():
        time.sleep(0.02)
    assert (tmp_path / "o").read_text() == "here\n"
    unit.end(Cancelled)
    thread.join(10)
    unit.leave()
    assert kept == [True]


# -------------------------------------------------------------------- Python callables


def count_one(tile):
    return {"n": tile.ndim}


def wait_in_python(tile):
    del tile
    while True:
        time.sleep(0.01)


def swallow(tile):
    del tile
    try:
        while True:
            time.sleep(0.01)
    except BaseException:
        return {"swallowed": True}


@pytest.mark.parametrize("function", [wait_in_python, swallow])
def test_cancelling_python_ends_its_unit_alone(tmp_path, function):
    place = Place(tmp_path / "p", array_tiles())
    order = place.order(as_stage(function))
    thread, kept = background(lambda: place.run(order, [0, 1]))
    began()
    assert cancel_here(str(order.staging), 1, 0) == [0]
    while not running_here() or running_here()[0][2] != 1:
        time.sleep(0.01)
    assert cancel_here(str(order.staging), 1, 1) == [1]
    thread.join(20)
    assert kept[0][0]["outcome"].tolist() == [CANCELLED, CANCELLED]


@pytest.mark.parametrize("function", [wait_in_python, swallow])
def test_python_that_takes_too_long_is_ended(tmp_path, function):
    place = Place(tmp_path / "p", array_tiles())
    rows, report = place.run(as_stage(function, timeout=0.3), [0, 1])
    assert rows["outcome"].tolist() == [TIMEOUT, TIMEOUT]
    assert "timeout=0.3" in report.failures[0].message


def test_units_that_end_in_time_are_never_interrupted_later(tmp_path):
    place = Place(tmp_path / "p", array_tiles())
    place.run(as_stage(count_one, name="quick"))  # what is imported is imported
    order = place.order(as_stage(count_one, name="quick", timeout=0.3))
    for _ in range(30):
        rows, _ = place.run(order, range(6))
        late = rows["ended"] - rows["started"] >= 0.29  # on a busy machine
        assert ((rows["outcome"] == 1) | late).all()
    time.sleep(0.5)
    assert cancel_here(str(order.staging), 99, 0) == []


def test_ending_a_unit_just_as_it_ends_raises_nothing_elsewhere():
    for k in range(300):
        unit = RunningUnit("s", 1, k).begin()
        other = threading.Thread(target=unit.end, args=(TimedOut,))
        try:
            other.start()
            unit.leave()
        except TimedOut:
            unit.leave()
        other.join()
    assert running_here() == []


def keep_swallowing(tile, *, until):
    del tile
    for _ in range(until):
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            continue
    time.sleep(0.01)
    return {"swallowed": until}


def test_what_is_caught_is_raised_again(tmp_path, monkeypatch):
    monkeypatch.setattr(running_units, "GRACE_S", 0.3)
    place = Place(tmp_path / "p", array_tiles())
    rows, _ = place.run(as_stage(keep_swallowing, params={"until": 4}, timeout=0.3))
    assert rows["outcome"].tolist() == [TIMEOUT]


def test_code_that_is_stuck_takes_its_worker_process_with_it(tmp_path):
    code = """
        import sys, threading, time
        from pathlib import Path
        from latticework.stages import running_units
        from latticework.stages.failures import TimedOut
        running_units.GRACE_S = 0.3
        unit = running_units.RunningUnit("s", 1, 7, attempt=2, timeout=0.2, mark=Path(sys.argv[1]),
                                         expendable=True).begin()
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    facts = json.loads((tmp_path / running_units.ENDED).read_text())
    assert ran.returncode == 70
    assert (facts["unit"], facts["attempt"], facts["outcome"]) == (7, 2, TIMEOUT)
    assert "did not react" in facts["message"]
