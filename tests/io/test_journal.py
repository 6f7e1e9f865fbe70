"""The journal survives what happens to files: kills within commits, locks, full disks."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from latticework.errors import ProjectLockedError, StoreError
from latticework.io import journal as module
from latticework.io.journal import Journal
from latticework.io.journal_format import FORMAT
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


# ------------------------------------------------------------------ older journals


def old_journal(path):
    """A journal as format 1 had it, with a stage, a session and an attempt."""
    from latticework.io.journal_format import TABLES

    script = TABLES
    for new in (", exit_code integer, dispatched real", ",\n    versions text"):
        assert new in script
        script = script.replace(new, "")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(script)
        db.execute("insert into meta values ('format', '1')")
        db.execute(
            "insert into stages (name, definition, fingerprint, created) "
            "values ('clean', '{\"retries\": 1}', '00ff', 5.0)"
        )
        db.execute("insert into sessions (started, host, pid, version) values (6.0, 'a', 1, '0.1')")
        db.execute(
            "insert into attempts (stage, unit, attempt, outcome, session, started, ended) "
            "values (1, 7, 1, 1, 1, 10.0, 11.0)"
        )
        db.commit()
    return path


OLD_DEFINITION = [(1, "00ff", '{"retries": 1}', 5.0)]
EVERYTHING_NEW = (
    ("select unit, exit_code, dispatched from attempts", [(7, None, None)]),
    ("select host, versions from sessions", [("a", None)]),
    ("select stage, fingerprint, definition, since from definitions", OLD_DEFINITION),
    ("select * from arrivals", []),
)


def test_an_older_journal_is_read_as_if_it_were_new_and_stays_as_it_is(tmp_path):
    path = old_journal(tmp_path / "j.sqlite")
    before = path.read_bytes()
    journal = Journal(path, read_only=True)
    for sql, rows in EVERYTHING_NEW:
        assert journal.query(sql) == rows
    assert journal.query("select outcome from attempts where stage=1 and unit=7") == [(1,)]
    plan = journal.query("explain query plan select * from attempts where stage=1 and unit=7")
    assert "attempts_of" in str(plan)
    journal.close()
    assert path.read_bytes() == before


def test_an_older_journal_is_upgraded_when_it_is_opened_for_writing(tmp_path):
    path = old_journal(tmp_path / "j.sqlite")
    reader = Journal(path, read_only=True)  # opened before, goes on reading
    with_codes = (1, 8, 1, 7, 1, 12.0, 13.0, *(None,) * 7, 3, 11.5)
    writer = Journal(path)
    for sql, rows in EVERYTHING_NEW:
        assert writer.query(sql) == rows
    writer.add_attempts([with_codes])
    writer.close()
    assert reader.query("select unit, exit_code, dispatched from attempts") == [
        (7, None, None),
        (8, 3, 11.5),
    ]
    reader.close()
    again = Journal(path)
    assert again.query("select value from meta where key='format'") == [(str(FORMAT),)]
    assert len(again.query("select * from definitions")) == 1
    again.close()


def test_an_upgrade_that_fails_leaves_the_journal_as_it_was(tmp_path):
    path = old_journal(tmp_path / "j.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("create table arrivals (mine)")  # in the way of the last steps
        db.commit()
    with pytest.raises(StoreError, match="arrivals"):
        Journal(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        columns = [row[1] for row in db.execute("pragma table_info(attempts)")]
        assert "exit_code" not in columns
        assert db.execute("select value from meta").fetchall() == [("1",)]


def test_definitions_are_kept_each_time_that_they_change(tmp_path):
    journal = Journal.create(tmp_path / "j.sqlite")
    for fingerprint in ("aa", "aa", "bb", "aa"):
        journal.keep_definition(1, fingerprint, f'"{fingerprint}"')
    journal.keep_definition(2, "bb", '"bb"')
    journal.commit()
    sql = "select stage, fingerprint from definitions order by id"
    assert journal.query(sql) == [(1, "aa"), (1, "bb"), (1, "aa"), (2, "bb")]
    journal.close()


def test_a_session_knows_the_versions_that_made_its_results(tmp_path):
    journal = Journal.create(tmp_path / "j.sqlite")
    journal.start_session("host", 1, "0.1")
    versions = json.loads(journal.query("select versions from sessions")[0][0])
    assert versions["numpy"] == np.__version__
    assert {"latticework", "python", "zarr", "dask", "platform"} <= set(versions)
    journal.close()


def test_arrivals_and_short_rows_of_attempts(tmp_path):
    journal = Journal.create(tmp_path / "j.sqlite")
    journal.add_arrivals(5.0, 3, 1000)
    journal.add_attempts([(1, 0, 1, 1, 1, 0.0, 1.0, *(None,) * 7)])
    journal.commit()
    assert journal.query("select * from arrivals") == [(5.0, 3, 1000)]
    assert journal.query("select exit_code, dispatched from attempts") == [(None, None)]
    journal.close()
