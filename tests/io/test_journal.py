"""The journal survives what happens to files: kills within commits, locks, full disks."""

import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from latticework.errors import ProjectLockedError, StoreError
from latticework.io import journal as module
from latticework.io.journal import Journal
from latticework.project.lock import CoordinatorLock

KILLED = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("pragma journal_mode=truncate")
db.execute("pragma cache_size=5")
db.execute("begin immediate")
for k in range(3000):
    row = (0, 1, "x", b"x" * 500, 0)
    db.execute("insert into changes (at, stage, what, units, after) values (?, ?, ?, ?, ?)", row)
os.kill(os.getpid(), 9)
"""


def test_a_journal_whose_writer_was_killed_within_a_commit_opens_to_look_at(tmp_path: Path):
    path = tmp_path / "journal.sqlite"
    Journal.create(path).close()
    reader = Journal(path, read_only=True)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("journal.sqlite-journal").stat().st_size > 0
    opened = Journal(path, read_only=True)
    assert opened.query("select count(*) from changes") == [(0,)]
    assert reader.query("select count(*) from changes") == [(0,)]


def test_a_reader_that_stays_delays_a_patient_commit_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    path = tmp_path / "journal.sqlite"
    journal = Journal.create(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin")
    other.execute("select * from meta").fetchall()
    journal.write("insert into sessions (started) values (1)")
    assert not journal.commit(patient=True)
    other.execute("commit")
    assert journal.commit(patient=True)
    assert Journal(path, read_only=True).query("select count(*) from sessions") == [(1,)]


def test_a_commit_that_cannot_be_made_is_undone_and_the_journal_stays_usable(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_S", 0.05)
    path = tmp_path / "journal.sqlite"
    journal = Journal.create(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin")
    other.execute("select * from meta").fetchall()
    journal.write("insert into sessions (started) values (1)")
    with pytest.raises(StoreError, match="cannot be written"):
        journal.commit()
    other.execute("commit")
    journal.write("insert into sessions (started) values (2)")
    journal.close()
    assert Journal(path, read_only=True).query("select started from sessions") == [(2.0,)]


def test_the_lock_of_a_project_is_one_thread_s(tmp_path: Path):
    lock = CoordinatorLock(tmp_path / "lock")
    errors: list[Exception] = []

    def take() -> None:
        try:
            lock.acquire()
        except ProjectLockedError as error:
            errors.append(error)

    with lock.held(), lock.held():
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    assert "another thread" in str(errors[0])
    with lock.held():
        lock.check()


def test_a_lock_file_that_was_removed_is_noticed(tmp_path: Path):
    lock = CoordinatorLock(tmp_path / "lock")
    with lock.held():
        lock.path.unlink()
        with pytest.raises(ProjectLockedError, match="removed"):
            lock.check()
