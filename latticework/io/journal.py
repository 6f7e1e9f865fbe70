"""The journal: the truth about a project, in one SQLite file that only the coordinator writes.

Tables (all times are seconds since 1970, ids of tiles are the lattice's):

==============  =====================================================================
``meta``        format version (`latticework.io.journal_format`)
``stages``      name, definition and settled output of every stage, by id
``sessions``    one row for every start of a coordinator
``batches``     batches that workers have and that have not come back
``definitions`` every definition that a stage ever had, and since when
``attempts``    one row per attempt, kept for ever; outcome 1 is success
``errors``      messages and tracebacks, each kept once
``records``     records that stages made
``changes``     everything else that changed states: retries, cancellations, withdrawals
``arrivals``    tiles that arrived while the acquisition was watched
``snapshots``   states of a stage up to an attempt, so that opening is quick
``commands``    what other processes ask of the coordinator
``events``      the last things that happened; made by the first run that has some
==============  =====================================================================

SQLite's rollback journal is used, not its write-ahead log, which is unsafe on network file
systems. Commits are grouped: what is lost in a crash is at most what the last fraction of a second
brought, and every part of it is found and done again.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from latticework.errors import StoreError
from latticework.io.journal_format import FORMAT, SCHEMA, read_as_newer, upgrade
from latticework.io.versions import versions_here

LARGER = 14
"""Outcome of a unit that had too little memory and goes to a larger pool: it is not charged."""
PREEMPTED, WALLTIME, NODE_FAILURE = 15, 16, 17
"""Outcomes of units whose workers SLURM has taken away: they are not charged."""
LOST, KILLED, STOPPED, SUPERSEDED = 10, 11, 12, 13
"""Outcomes without a worker's report: the coordinator ended, the worker died, the run stopped, or
what the attempt was for had changed when it came back."""

OUTCOMES = {
    1: "complete",
    2: "exception",
    3: "memory",
    4: "unreadable input",
    5: "cancelled",
    6: "timeout",
    7: "exit code",
    8: "output check",
    9: "cannot write",
    LARGER: "memory",
    PREEMPTED: "preempted",
    WALLTIME: "walltime",
    NODE_FAILURE: "node failure",
    LOST: "coordinator ended",
    KILLED: "worker lost",
    STOPPED: "stopped",
    SUPERSEDED: "superseded",
}
"""Outcomes of attempts, in words."""

ATTEMPT_COLUMNS = (
    *("stage", "unit", "attempt", "outcome", "session", "started", "ended", "cpu_s"),
    *("peak_memory", "bytes_read", "bytes_written", "fingerprint", "worker", "error"),
    *("exit_code", "dispatched"),
)
_INSERT_ATTEMPT = "insert into attempts ({}) values ({})".format(  # noqa: S608 - names above
    ", ".join(ATTEMPT_COLUMNS), ", ".join("?" * len(ATTEMPT_COLUMNS))
)
Patience = Callable[[sqlite3.Error], bool]
CHECKED_BYTES = 200 * 2**20
"""Size of a journal up to which all of it is looked at before a run: some seconds of reading."""
BUSY_S = 30
"""Seconds to wait for another process that holds the journal."""


class Journal:
    """One connection to a project's journal.

    Parameters
    ----------
    path
        The SQLite file.
    read_only
        Whether nothing may be written (every process but the coordinator).

    Raises
    ------
    StoreError
        If it is missing, damaged or of a later format.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self.patience: Patience | None = None
        """Asked where something cannot be written: whether to try again. It may wait."""
        self._open: list[tuple[str, Any, bool]] = []
        try:
            try:
                self._db = self._connect()
            except sqlite3.OperationalError as error:
                if not read_only or "readonly" not in str(error):
                    raise
                self._undo_killed_commit()
                self._db = self._connect()
        except sqlite3.Error as error:
            raise StoreError(self.damaged(error)) from error
        try:
            self._see_format()
        except BaseException:
            self._db.close()  # whoever tries again and again must not run out of files
            raise

    def _see_format(self) -> None:
        """Refuse what is no journal, or of a later format; bring an older one to this one."""
        found = self.query("select value from meta where key='format'")
        if not found or not str(found[0][0]).isdigit():
            raise StoreError(self.damaged(ValueError("it does not say its format")))
        if int(found[0][0]) > FORMAT:
            raise StoreError(
                f"{self.path} has format {found and found[0][0]}, this latticework reads up to "
                f"{FORMAT}: use a newer latticework"
            )
        if int(found[0][0]) < FORMAT:
            self._renew()

    def damaged(self, error: BaseException) -> str:
        """What is wrong with the file, as far as one sees, and what to do."""
        folder = self.path.parent
        mend = (
            f"latticework.recover({str(folder)!r}), or 'latticework recover', makes it anew from "
            "what can be read and what is on disk; outputs are not affected"
        )
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return f"the journal {self.path} is missing: {mend}"
        except OSError as problem:
            return f"the journal {self.path} cannot be looked at: {problem.strerror}"
        if not size:
            return f"the journal {self.path} is empty: {mend}"
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            return (
                f"the journal {self.path} cannot be read: {error}. If another program holds it, "
                "close that; if the folder is read-only and a run was killed in it, open it once "
                f"where it can be written; if the file is damaged, {mend}"
            )
        return f"the journal {self.path} ({size:,} bytes) is damaged: {error}; {mend}"

    def check(self, largest: int = CHECKED_BYTES) -> None:
        """See whether the file is whole, unless it has more bytes than `largest`.

        Raises
        ------
        StoreError
            With the first things that are wrong.
        """
        if self.path.stat().st_size <= largest:
            rows = self.query("pragma quick_check(3)")
            if rows != [("ok",)]:
                found = "; ".join(str(row[0]) for row in rows)
                raise StoreError(self.damaged(ValueError(found)))

    def _renew(self) -> None:
        """An older journal: brought to this format, or read as if it were of it."""
        try:
            (read_as_newer if self._read_only else upgrade)(self._db)
        except sqlite3.Error as error:
            raise self._unwritable(error) from error

    def _connect(self, *, mode: str | None = None) -> sqlite3.Connection:
        mode = mode or ("ro" if self._read_only else "rw")
        uri = f"{self.path.resolve().as_uri()}?mode={mode}"
        db = sqlite3.connect(
            uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            if mode == "rw":
                db.execute("pragma journal_mode=truncate")
                db.execute("pragma synchronous=normal")
            db.execute(f"pragma cache_size={-16000 if mode == 'rw' else -2000}")
        except BaseException:
            db.close()
            raise
        return db

    def _undo_killed_commit(self) -> None:
        """Undo what a coordinator that was killed within a commit had written of it.

        SQLite does that when the file is read next, but not for a connection that may only read.
        """
        with contextlib.closing(self._connect(mode="rw")) as db:
            db.execute("select count(*) from meta").fetchall()

    @classmethod
    def create(cls, path: Path) -> "Journal":
        """A new, empty journal."""
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.executescript(SCHEMA)
            db.execute("insert into meta values ('format', ?)", (str(FORMAT),))
            db.commit()
        return cls(path)

    def close(self) -> None:
        """Commit and close; closed it is in any case."""
        try:
            self.commit()
        finally:
            if self._db.in_transaction:
                self._db.rollback()
            self._db.close()

    # ---------------------------------------------------------------- transactions

    def begin(self) -> None:
        """Open a transaction, if none is open."""
        if not self._db.in_transaction:
            self._open.clear()
            try:
                self._insist(self._begin)
            except sqlite3.Error as error:
                raise self._unwritable(error) from error

    def commit(self, *, patient: bool = False) -> bool:
        """Make everything since `begin` durable.

        Parameters
        ----------
        patient
            Whether to leave the transaction open, for a later commit, where another process reads
            for so long that it cannot be committed now.

        Returns
        -------
        bool
            Whether it is durable.

        Raises
        ------
        StoreError
            If it cannot be committed; then nothing of it is kept.
        """
        if not self._db.in_transaction:
            return True
        try:
            self._insist(lambda: self._db.execute("commit"))
        except sqlite3.Error as error:
            busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            if patient and busy and self._db.in_transaction:
                return False
            if self._db.in_transaction:
                self._db.rollback()
            raise self._unwritable(error) from error
        self._open.clear()
        return True

    def abandon(self) -> None:
        """Forget what has not been committed: nothing more is written."""
        self._open.clear()
        if self._db.in_transaction:
            self._db.rollback()

    def _begin(self) -> sqlite3.Cursor:
        """Open a transaction, unless `_redo` has done so."""
        return self._db.execute("select 1" if self._db.in_transaction else "begin immediate")

    def _insist(self, action: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """Do something to the database, for as long as there is patience.

        A disk that is full undoes the transaction that is open: then all of it is done again.
        """
        again = False
        while True:
            try:
                if again:
                    self._redo()
                return action()
            except sqlite3.Error as error:
                busy = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
                if busy or self.patience is None or not self.patience(error):
                    raise
                again = True

    def _redo(self) -> None:
        """Begin again, with everything that belongs to the transaction."""
        if self._db.in_transaction:
            self._db.execute("rollback")
        self._db.execute("begin immediate")
        for sql, values, many in self._open:
            (self._db.executemany if many else self._db.execute)(sql, values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is durable at the end, or nothing is."""
        self.begin()
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.rollback()
            raise
        self.commit()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Raises
        ------
        StoreError
            If the journal is damaged or stays locked.
        """
        try:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if not self._read_only or "readonly" not in str(error):
                    raise
                self._undo_killed_commit()
                return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(self.damaged(error)) from error

    def write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """One statement, in the transaction that is open or opened now; the row's id."""
        self.begin()
        return int(self._execute(sql, values).lastrowid or 0)

    def write_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """One statement for many rows."""
        self.begin()
        self._execute(sql, list(rows), many=True)

    def _execute(self, sql: str, values: Sequence[Any], *, many: bool = False) -> sqlite3.Cursor:
        do = self._db.executemany if many else self._db.execute
        try:
            cursor = self._insist(lambda: do(sql, values))
        except sqlite3.Error as error:
            raise self._unwritable(error) from error
        if self.patience is not None:
            self._open.append((sql, values, many))
        return cursor

    def _unwritable(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"the journal {self.path} cannot be written: {error}. Free some space, or close what "
            "holds it, and run again: everything recorded so far is kept"
        )

    # ---------------------------------------------------------------- subjects

    def start_session(self, host: str, pid: int, version: str) -> int:
        """A coordinator starts, with the versions of all it stands on; the session's number."""
        sql = "insert into sessions (started, host, pid, version, versions) values (?, ?, ?, ?, ?)"
        return self.write(sql, (time.time(), host, pid, version, json.dumps(versions_here())))

    def keep_definition(self, stage: int, fingerprint: str, definition: str) -> None:
        """A stage is defined like this from now on; nothing new if it was so already.

        Parameters
        ----------
        stage
            Id of the stage.
        fingerprint
            The definition's fingerprint, as 16 hexadecimal digits.
        definition
            The definition as JSON.
        """
        sql = "select fingerprint, definition from definitions where stage=? order by id desc"
        if self.query(f"{sql} limit 1", (stage,)) == [(fingerprint, definition)]:
            return
        self.write(
            "insert into definitions (stage, fingerprint, definition, since) values (?, ?, ?, ?)",
            (stage, fingerprint, definition, time.time()),
        )

    def add_arrivals(self, at: float, n: int, n_bytes: int = 0) -> None:
        """Tiles that arrived at a time (seconds since 1970), and the bytes of their files."""
        self.write("insert into arrivals (at, units, bytes) values (?, ?, ?)", (at, n, n_bytes))

    def add_attempts(self, rows: Iterable[Sequence[Any]]) -> None:
        """Attempts that ended, in the order of `ATTEMPT_COLUMNS`.

        Rows may leave out the last columns, where nothing is known of them.
        """
        n = len(ATTEMPT_COLUMNS)
        full = (row if len(row) == n else (*row, *(None,) * (n - len(row))) for row in rows)
        self.write_many(_INSERT_ATTEMPT, full)

    def error_id(self, kind: str, message: str, traceback: str) -> int:
        """Id of an error; the same one for the same text."""
        self.write(
            "insert or ignore into errors (type, message, traceback) values (?, ?, ?)",
            (kind, message, traceback),
        )
        sql = "select id from errors where type=? and message=? and traceback=?"
        return int(self.query(sql, (kind, message, traceback))[0][0])

    def worker_id(self, address: str, host: str) -> int:
        """Id of a worker; a new one for an address not seen before."""
        found = self.query("select id from workers where address=? and host=?", (address, host))
        if found:
            return int(found[0][0])
        return self.write("insert into workers (address, host) values (?, ?)", (address, host))

    def add_change(self, stage: int, what: str, units: bytes) -> None:
        """States changed by something else than an attempt."""
        after = self.query("select coalesce(max(id), 0) from attempts")[0][0]
        self.write(
            "insert into changes (at, stage, what, units, after) values (?, ?, ?, ?, ?)",
            (time.time(), stage, what, units, after),
        )

    def ask(self, command: str, arguments: dict[str, Any]) -> int:
        """Leave a command for whoever coordinates; durable at once."""
        with self.transaction():
            sql = "insert into commands (at, command, arguments) values (?, ?, ?)"
            return self.write(sql, (time.time(), command, json.dumps(arguments)))

    def asked(self) -> list[tuple[int, str, dict[str, Any]]]:
        """Commands that nobody has carried out yet."""
        rows = self.query(
            "select id, command, arguments from commands where done is null order by id"
        )
        return [(row[0], row[1], json.loads(row[2])) for row in rows]

    def answer(self, command: int, text: str) -> None:
        """A command has been carried out, or refused."""
        self.write("update commands set done=?, answer=? where id=?", (time.time(), text, command))
