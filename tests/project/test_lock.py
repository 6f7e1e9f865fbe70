"""One coordinator at a time, also between machines, and where locks of files cannot be trusted."""

import os
import signal
import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

import latticework as lw
from latticework.errors import ProjectError, ProjectLockedError
from latticework.project import lease, lock
from latticework.project.lease import Lease, lease_at
from latticework.project.lock import CoordinatorLock
from tests.project import elsewhere
from tests.project.elsewhere import TILES, WATCH_S, build, only_own_locks, start
from tests.project.running import completions, run_here


@pytest.fixture
def impatient(monkeypatch):
    """Watches for a beat no longer than a test may take."""
    for module in (lease, lock):
        monkeypatch.setattr(module, "WATCH_S", WATCH_S)
        monkeypatch.setattr(module, "BEAT_S", 0.2)


@pytest.fixture
def unlocked(monkeypatch, request):
    """On a file system that keeps locks to each host."""
    request.getfixturevalue("impatient")
    names = ("LOCK_EX", "LOCK_NB", "LOCK_SH")
    locks = {name: getattr(lock.fcntl, name) for name in names}
    monkeypatch.setattr(lock, "fcntl", SimpleNamespace(flock=only_own_locks, **locks))


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def finished(project):
    """Tiles that are published; the journal must not be read where there are no locks."""
    return len(list(project.path.glob("stages/slowly/data.zarr/slowly/c.*")))


def leave(path, **changes):
    """A lock file that somebody left."""
    values = {"host": "node7", "pid": 77, "since": 1.0, "machine": "another", **changes}
    left = Lease(**values)
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    left.write(file)
    os.close(file)
    return left


def test_a_lease_that_was_given_back_is_taken_at_once(tmp_path):
    leave(tmp_path / "lock", ended=True)
    began = time.monotonic()
    with CoordinatorLock(tmp_path / "lock").held():
        assert time.monotonic() - began < 1
        assert lease_at(tmp_path / "lock").here
    assert lease_at(tmp_path / "lock").ended


def test_a_process_that_died_on_this_machine_is_not_waited_for(tmp_path):
    leave(tmp_path / "lock", machine=lease.this_machine())
    began = time.monotonic()
    with CoordinatorLock(tmp_path / "lock").held():
        assert time.monotonic() - began < 1


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_died_is_watched_for_a_while_and_then_taken_over(tmp_path, caplog):
    leave(tmp_path / "lock")
    began = time.monotonic()
    with caplog.at_level("WARNING"), CoordinatorLock(tmp_path / "lock").held() as mine:
        assert time.monotonic() - began > WATCH_S
        mine.check()
    assert "process 77 on node7" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"host": "a"}', b"\xff" * 600])
def test_a_lock_file_that_makes_no_sense_is_as_good_as_none(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    with CoordinatorLock(tmp_path / "lock").held() as mine:
        mine.check()
        assert lease_at(mine.path).pid == os.getpid()


@pytest.mark.usefixtures("impatient")
def test_a_lock_that_is_held_beats_and_one_that_is_given_back_does_not(tmp_path):
    mine = CoordinatorLock(tmp_path / "lock")
    with mine.held():
        wait_for(lambda: lease_at(mine.path).beat >= 2, 10)
    ended = lease_at(mine.path)
    time.sleep(0.6)
    assert lease_at(mine.path) == ended
    assert ended.ended


@pytest.mark.usefixtures("impatient")
def test_a_holder_that_was_taken_for_dead_is_told(tmp_path):
    mine = CoordinatorLock(tmp_path / "lock")
    with mine.held():
        leave(mine.path)
        assert not mine.is_mine()
        with pytest.raises(ProjectLockedError, match="process 77 on node7"):
            mine.check()
    left = lease_at(mine.path)
    assert left.pid == 77  # what the other wrote is left alone
    assert not left.ended


@pytest.mark.slow
@pytest.mark.usefixtures("unlocked")
def test_a_coordinator_on_another_machine_is_seen_though_no_lock_tells(tmp_path):
    project = build(tmp_path / "p.lw", 0.6)
    other = start(project.path, 0.6, "another", tmp_path / "log")
    try:
        wait_for(lambda: finished(project) >= 2)
        assert project.is_run()
        with pytest.raises(ProjectLockedError, match=f"process {other.pid} on"):
            run_here(project)
        assert other.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        other.kill()
    assert not project.is_run()
    assert completions(project) == {("slowly", unit): 1 for unit in range(TILES)}


@pytest.mark.parametrize("first", ["one", "-"])
def test_of_several_that_begin_at_once_one_runs_it(tmp_path, first):
    project = build(tmp_path / "p.lw", 0.1)
    leave(project.path / "coordinator.lock")  # all of them have to find out
    machines = [first, "two" if first == "one" else "-", "-"]
    others = [
        start(project.path, 0.1, machine, tmp_path / f"log{k}")
        for k, machine in enumerate(machines)
    ]
    codes = [other.wait(90) for other in others]
    said = "\n".join(log.read_text() for log in tmp_path.glob("log*"))
    assert set(codes) <= {0, 3}, said  # the others wait a moment, and give up or find it done
    assert 0 in codes
    times = project.query("select started, ended from sessions order by started")
    assert all(ended <= began for (_, ended), (began, _) in pairwise(times))
    assert completions(project) == {("slowly", unit): 1 for unit in range(TILES)}


@pytest.mark.slow
@pytest.mark.usefixtures("unlocked")
def test_a_coordinator_that_was_cut_off_comes_back_and_does_no_harm(tmp_path):
    project = build(tmp_path / "p.lw", 0.3)
    other = start(project.path, 0.3, "another", tmp_path / "log")
    try:
        wait_for(lambda: finished(project) >= 3)
        time.sleep(0.1)  # between two commits
        other.send_signal(signal.SIGSTOP)
        before = finished(project)
        assert run_here(build(project.path, 0.3))
        after = project.query("select count(*), max(id) from attempts")[0]
        other.send_signal(signal.SIGCONT)
        assert other.wait(60) == 3, (tmp_path / "log").read_text()
    finally:
        other.kill()
    said = (tmp_path / "log").read_text()
    assert "out of touch for so long" in said
    assert 3 <= before < TILES
    assert project.query("select count(*), max(id) from attempts")[0] == after
    assert project.query("pragma integrity_check") == [("ok",)]
    again = lw.open_project(project.path)
    assert again.counts == {"slowly": {"complete": TILES}}
    expected = elsewhere.numbered()[1] + 1
    assert (again["slowly"].data.to_numpy() == expected).all()


def test_the_lock_file_of_an_older_version_keeps_nobody_out(tmp_path):
    (tmp_path / "lock").write_text('{"host": "somewhere", "pid": 999999, "since": 0.0}')
    began = time.monotonic()
    with CoordinatorLock(tmp_path / "lock").held() as mine:
        assert time.monotonic() - began < 1
        mine.check()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("skew", [-3600, 3600])
def test_clocks_of_file_servers_decide_nothing(tmp_path, skew):
    """A lease of another machine, beating, on a server whose clock is an hour off."""
    path = tmp_path / "lock"
    left = leave(path)
    over = threading.Event()

    def beat():
        lease_now = left
        while not over.wait(0.2):
            lease_now = lease_now.beaten()
            file = os.open(path, os.O_RDWR)
            lease_now.write(file)
            os.close(file)
            os.utime(path, (time.time() + skew,) * 2)

    thread = threading.Thread(target=beat)
    thread.start()
    mine = CoordinatorLock(path)
    try:
        with pytest.raises(ProjectLockedError):
            mine.acquire()
        assert mine.is_taken()
    finally:
        over.set()
        thread.join()
    wait_for(lambda: not mine.is_taken(), 20)


@pytest.mark.parametrize("what", ["folder", "link", "fifo"])
def test_what_is_no_lock_file_is_refused_and_left_alone(tmp_path, what):
    path, target = tmp_path / "lock", tmp_path / "target"
    target.write_text("precious")
    {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(target),
        "fifo": lambda: os.mkfifo(path),
    }[what]()
    lock_of = CoordinatorLock(path)
    assert not lock_of.is_taken()
    if what == "fifo":
        return  # it can be opened for both ends, and holds nothing
    with pytest.raises(ProjectError, match="no file of a lock"):
        lock_of.acquire()
    assert target.read_text() == "precious"


def test_a_fork_does_not_hold_the_lock(tmp_path):
    mine = CoordinatorLock(tmp_path / "lock")
    with mine.held():
        child = os.fork()
        if not child:
            os._exit(0 if not mine.is_mine() and CoordinatorLock(mine.path).is_taken() else 1)
        assert os.waitpid(child, 0)[1] == 0
        mine.check()
        assert mine.is_mine()
