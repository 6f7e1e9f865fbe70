"""Writes that fail because of the disk are told from all other errors."""

import errno
import itertools
import sqlite3
from pathlib import Path

import pytest

from latticework.errors import StoreError
from latticework.io.journal import Journal
from latticework.io.trouble import free_bytes, mount_point, trouble_of, trouble_within
from tests.project.disks import fill, small_disk

TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Error writing local file "/data/a/c.0": Failed writing: "/data/a/c.0": '
    "Failed to write 9 bytes: No space left on device [os_error_code='28']"
)


def raised_from(*errors):
    """The first of some errors, each raised from the next."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "no"), True),
        (OSError(errno.EDQUOT, "no"), True),
        (OSError(errno.EROFS, "no", "/data"), False),
        (PermissionError(errno.EACCES, "no", "/data"), False),
        (raised_from(StoreError("cannot write"), OSError(errno.ENOSPC, "no")), True),
        (raised_from(StoreError("cannot write"), ValueError(TENSORSTORE)), True),
        (RuntimeError("HDF5: errno = 28, error message = 'No space left on device'"), True),
        (ExceptionGroup("two", [ValueError("a"), OSError(errno.ENOSPC, "no")]), True),
    ],
)
def test_what_the_disk_is_to_blame_for_is_recognised(error, full):
    assert trouble_of(error).full == full


@pytest.mark.parametrize(
    "error",
    [None, ValueError("out of focus"), FileNotFoundError(errno.ENOENT, "no"), StoreError("full")],
)
def test_other_errors_are_no_trouble_with_the_disk(error):
    assert trouble_of(error) is None


def test_a_file_of_the_users_that_may_not_be_read_is_the_stages_own_affair(tmp_path):
    error = PermissionError(errno.EACCES, "no", "/models/model.bin")
    assert trouble_within(error, (tmp_path,)) is None
    error = PermissionError(errno.EACCES, "no", str(tmp_path / "a"))
    assert trouble_within(error, (tmp_path,)).path == str(tmp_path / "a")
    assert trouble_within(OSError(errno.ENOSPC, "no", "/tmp/a"), (tmp_path,)).full


def test_the_file_is_named_where_tensorstore_knows_it():
    assert trouble_of(ValueError(TENSORSTORE)).path == "/data/a/c.0"


def test_room_is_told_also_for_files_that_are_not_there(tmp_path):
    assert free_bytes(tmp_path / "no" / "such" / "file") > 0
    assert mount_point(tmp_path / "no") in (tmp_path, *tmp_path.parents)


def test_a_transaction_that_the_disk_undid_is_done_again_whole_and_once(tmp_path):
    with small_disk(tmp_path, 4) as disk:
        journal = Journal.create(Path(disk) / "journal.sqlite")
        journal.add_change(1, "before", b"")
        journal.commit()
        errors = []

        def make_room(error):
            errors.append(error)
            filler.unlink()
            return True

        journal.patience = make_room
        journal.add_change(1, "first", bytes(200_000))
        filler = fill(disk)
        ids = [journal.write("insert into sessions (started) values (?)", (k,)) for k in range(3)]
        journal.write_many(
            "insert into records values (1, ?, ?)", ((k, "x" * 3000) for k in range(100))
        )
        assert journal.commit()
        [error] = errors
        assert error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
        journal.close()
        journal = Journal(Path(disk) / "journal.sqlite", read_only=True)
        assert journal.query("select what from changes") == [("before",), ("first",)]
        assert [row[0] for row in journal.query("select id from sessions")] == ids
        assert journal.query("select count(*) from records") == [(100,)]
        journal.close()


def test_without_patience_a_full_disk_is_an_error_and_the_journal_is_as_before(tmp_path):
    with small_disk(tmp_path, 4) as disk:
        journal = Journal.create(Path(disk) / "journal.sqlite")
        journal.add_change(1, "before", b"")
        journal.commit()
        journal.add_change(1, "after", bytes(200_000))
        fill(disk)
        with pytest.raises(StoreError, match="Free some space"):
            journal.commit()
        assert journal.query("select what from changes") == [("before",)]
        journal.close()
