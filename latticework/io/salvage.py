"""Rows of a damaged journal that can still be read, put into a new one.

SQLite reads what it can reach: a page that makes no sense ends a query. So rows are asked for in
ranges of their keys, and a range that cannot be read is halved until only the rows of the damaged
pages are left out.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROWED = (
    *("stages", "sessions", "batches", "definitions", "attempts", "workers", "errors"),
    *("changes", "arrivals", "snapshots", "commands"),
)
"""Tables whose rows have numbers."""
STEP = 1024
"""Rows that are asked for at once."""
SMALLEST = 8
"""Bytes of a row, at least: so many rows a file may have at most."""
PATIENCE = 200
"""Steps in a row that cannot be read before the rest is given up."""
COMPARED = ("attempts", "changes")
"""Tables whose numbers have no gaps, unless rows were lost."""

Row = tuple[Any, ...]


@dataclass(slots=True)
class Salvage:
    """What could be read of a damaged journal."""

    rows: dict[str, int] = field(default_factory=dict)
    """Rows kept, by table."""
    lost: set[str] = field(default_factory=set)
    """Tables of which rows are known to be lost."""


def salvage(damaged: Path, into: sqlite3.Connection) -> Salvage:
    """Copy every row that can be read into a new journal; rows that are there already stay.

    Parameters
    ----------
    damaged
        A copy of the journal, with its rollback journal beside it: both may be changed.
    into
        The new journal, with all its tables.
    """
    found = Salvage()
    try:
        db = sqlite3.connect(damaged)
        db.execute("pragma cell_size_check=on")
    except sqlite3.Error:
        found.lost.update((*ROWED, "meta", "records"))
        return found
    try:
        most = damaged.stat().st_size // SMALLEST
        for table in ROWED:
            _copy(db, into, table, "rowid", "", found, most)
        _copy_meta(db, into, found)
        [(unit,)] = into.execute("select coalesce(max(unit), 0) from attempts")
        for (stage,) in into.execute("select id from stages").fetchall():
            _copy(db, into, "records", "unit", f"stage = {int(stage)} and", found, unit)
    finally:
        db.close()
    for table in COMPARED:
        count, last = into.execute(f"select count(*), coalesce(max(id), 0) from {table}").fetchone()  # noqa: S608 - names above
        if count != last:
            found.lost.add(table)
    return found


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"pragma table_info({table})")]


def _copy(
    db: sqlite3.Connection,
    into: sqlite3.Connection,
    table: str,
    key: str,
    where: str,
    found: Salvage,
    last: int,
) -> None:
    """Copy a table by ranges of a key, which is at most `last` where that matters."""
    try:
        shared = [name for name in _columns(into, table) if name in _columns(db, table)]
        assert shared
    except (sqlite3.Error, AssertionError):
        found.lost.add(table)
        return
    names = ", ".join(shared)
    own = "rowid, " if key == "rowid" and "id" not in shared else ""
    select = f"select {own}{names} from {table} not indexed where {where} {key}"  # noqa: S608 - ours
    marks = ", ".join("?" * (len(shared) + bool(own)))
    insert = f"insert or ignore into {table} ({own}{names}) values ({marks})"  # noqa: S608 - ours

    def read(low: int, high: int) -> list[Row]:
        if low == high:  # does not look at the next row, which may be on a damaged page
            return db.execute(f"{select} = ?", (low,)).fetchall()
        return db.execute(f"{select} between ? and ?", (low, high)).fetchall()

    def following(low: int) -> int | None:
        sql = f"select min({key}) from {table} not indexed where {where} {key} >= ?"  # noqa: S608
        found: int | None = db.execute(sql, (low,)).fetchone()[0]
        return found

    def lose() -> None:
        found.lost.add(table)

    for rows in _ranges(read, following, lose, last):
        before = into.total_changes
        try:
            into.executemany(insert, rows)
        except sqlite3.Error:  # one of them makes no sense
            for row in rows:
                _insert_one(into, insert, row, lose)
        found.rows[table] = found.rows.get(table, 0) + into.total_changes - before


def _insert_one(into: sqlite3.Connection, insert: str, row: Row, lose: Callable[[], None]) -> None:
    try:
        into.execute(insert, row)
    except sqlite3.Error:
        lose()


def _ranges(
    read: Callable[[int, int], list[Row]],
    following: Callable[[int], int | None],
    lose: Callable[[], None],
    last: int,
) -> Iterator[list[Row]]:
    """Rows by ranges, around what cannot be read."""
    low, failed = 0, 0
    while not failed or (failed < PATIENCE and low <= last):
        try:
            rows = read(low, low + STEP - 1)
            if not rows:
                after = following(low)
                if after is None:
                    return
                low = after
                continue
        except sqlite3.Error:
            lose()
            rows = list(_halves(read, low, low + STEP - 1))
            failed = 0 if rows else failed + 1
        else:
            failed = 0
        yield rows
        low += STEP


def _halves(read: Callable[[int, int], list[Row]], low: int, high: int) -> Iterator[Row]:
    """What can be read of a range that cannot be read whole."""
    try:
        yield from read(low, high)
    except sqlite3.Error:
        if low < high:
            middle = (low + high) // 2
            yield from _halves(read, low, middle)
            yield from _halves(read, middle + 1, high)


def _copy_meta(db: sqlite3.Connection, into: sqlite3.Connection, found: Salvage) -> None:
    """Settings; the format is the new journal's."""
    for order in ("asc", "desc"):
        try:
            cursor = db.execute(f"select key, value from meta order by key {order}")  # noqa: S608
            _take(cursor, into, found)
        except sqlite3.Error:
            found.lost.add("meta")
        else:
            return


def _take(cursor: sqlite3.Cursor, into: sqlite3.Connection, found: Salvage) -> None:
    for row in cursor:
        values: Sequence[Any] = row
        into.execute("insert or ignore into meta values (?, ?)", values)
        found.rows["meta"] = found.rows.get("meta", 0) + 1
