"""A journal that is damaged or gone is made anew, from what can be read and from what is on disk.

::

    journal.sqlite  ──rows that can be read──┐
                                             ├──> new journal ──> outputs looked at ──> states
    journal.spare.sqlite ──what is missing───┘

What counts as complete is what the recovered journal says so of, if its file is there, has the size
that was published and, where rows may be lost, is not younger than what is known of it. Everything
else is made again: a result with the wrong history would be worse than one that is made twice. No
published file is touched, and the damaged journal is kept aside.
"""

import json
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.io.journal import Journal
from latticework.io.salvage import Salvage, salvage
from latticework.lattice.states import State
from latticework.project.desk import Desk
from latticework.project.facts import read_project_file
from latticework.project.ledger import save_snapshot
from latticework.project.lock import CoordinatorLock
from latticework.project.pipeline import Node
from latticework.project.project import Project
from latticework.project.spare import keep_spare, spare_file
from latticework.project.units import Units
from latticework.project.verifying import damaged, published_files
from latticework.stages import paths

CLOCKS_S = 2.0
"""Seconds by which a file may seem younger than the attempt that wrote it: clocks differ."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came of a recovery."""

    aside: Path | None
    """Folder with the damaged journal; None if there was none."""
    rows: dict[str, int]
    """Rows of the new journal, by table."""
    lost: tuple[str, ...]
    """Tables of which rows are lost."""
    complete: dict[str, int]
    """Units whose outputs count, by stage."""
    again: dict[str, int]
    """Units that had been complete and will be made again, by stage."""

    def __str__(self) -> str:
        kept = ", ".join(_rows(table, n) for table, n in self.rows.items() if n)
        lines = [f"recovered: {kept or 'nothing'}"]
        if self.lost and not self.rows.get("stages"):
            lines.append("no stage is known: add the stages again, then run")
        if self.lost:
            lines.append(f"rows are lost of: {', '.join(self.lost)}")
        for stage in sorted({*self.complete, *self.again}):
            again = self.again.get(stage, 0)
            more = f", {again:,} will be made again" if again else ""
            lines.append(f"{stage}: {self.complete.get(stage, 0):,} complete{more}")
        if self.aside is not None:
            lines.append(f"the damaged journal is kept in {self.aside}")
        return "\n".join(lines)


def _rows(table: str, n: int) -> str:
    one = "batch" if table == "batches" else table.removesuffix("s")
    return f"1 {one}" if n == 1 else f"{n:,} {table}"


def recover(path: Path | str) -> Recovered:
    """Make the journal of a project anew, from all that can still be read.

    Parameters
    ----------
    path
        The project's folder. Nothing may run it.

    Returns
    -------
    Recovered
        What was kept, what is lost, and which units will be made again.

    Raises
    ------
    ProjectNotFoundError
        If there is no project.
    ProjectLockedError
        If something runs it.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> tiles, _ = lw.simulate({"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, seed=1)
    >>> project = lw.create(Path(tempfile.mkdtemp()) / "small.lw", tiles)
    >>> (project.path / "journal.sqlite").unlink()
    >>> print(lw.recover(project.path))
    recovered: nothing
    no stage is known: add the stages again, then run
    rows are lost of: attempts, changes
    """
    path = Path(path).expanduser().resolve()
    read_project_file(path)
    with CoordinatorLock(paths.lock_file(path)).held():
        aside, found = _replace_journal(path)
    project = Project(path)
    with project.lock().held():
        again = _judge(project, uncertain=bool(found.lost))
        keep_spare(project, project.pipeline)
    complete = {
        node.name: node.units.count().get(State.COMPLETE, 0)
        for node in project.pipeline
        if not node.is_source
    }
    return Recovered(aside, found.rows, tuple(sorted(found.lost)), complete, again)


def _replace_journal(path: Path) -> tuple[Path | None, Salvage]:
    """Put a new journal in the place of the old one, with all that can be read."""
    journal = paths.journal_file(path)
    rollback = journal.with_name(f"{journal.name}-journal")
    work = path / f"journal-{time.time_ns()}"
    work.mkdir()
    new = work / "new.sqlite"
    Journal.create(new).close()
    found = Salvage(lost={"attempts", "changes"})
    db = sqlite3.connect(new)
    db.execute("pragma synchronous=normal")
    aside = None
    if journal.exists():
        aside, copy = work / "damaged", work / "copy"
        for folder in (aside, copy):  # the copy is worked on: opening undoes a killed commit
            folder.mkdir()
            for file in (journal, rollback):
                if file.exists():
                    shutil.copy2(file, folder / file.name)
        found = salvage(copy / journal.name, db)
        shutil.rmtree(copy)
    _drop_nonsense(db)
    if spare_file(path).exists():
        _add_spare(path, work, db, found)
    db.commit()
    db.close()
    rollback.unlink(missing_ok=True)  # it belongs to the old one
    os.replace(new, journal)  # noqa: PTH105
    if aside is None:
        shutil.rmtree(work)
    return aside, found


def _drop_nonsense(db: sqlite3.Connection) -> None:
    """Rows that can be read, but hold no stage, no settings or no states."""
    for stage, definition in db.execute("select id, definition from stages").fetchall():
        try:
            json.loads(definition)["parents"]
        except (ValueError, KeyError, TypeError):
            db.execute("delete from stages where id=?", (stage,))
    for key, value in db.execute("select key, value from meta where key='settings'").fetchall():
        try:
            json.loads(value)
        except (ValueError, TypeError):
            db.execute("delete from meta where key=?", (key,))
    for stage, states in db.execute("select stage, states from snapshots").fetchall():
        try:
            Units.from_bytes(states)
        except (ValueError, TypeError, zlib.error):
            db.execute("delete from snapshots where stage=?", (stage,))


def _add_spare(path: Path, work: Path, db: sqlite3.Connection, found: Salvage) -> None:
    """Take from the spare what the journal does not have, and later states."""
    known = dict(db.execute("select stage, attempt from snapshots").fetchall())
    shutil.copy2(spare_file(path), work / "spare.sqlite")
    spare = sqlite3.connect(work / "spare.sqlite")
    try:
        later = spare.execute("select stage, attempt from snapshots").fetchall()
    except sqlite3.Error:
        later = []
    finally:
        spare.close()
    if found.lost:  # else the journal knows it all
        for stage, attempt in later:
            if attempt > known.get(stage, -1):
                db.execute("delete from snapshots where stage=?", (stage,))
    for table, n in salvage(work / "spare.sqlite", db).rows.items():
        found.rows[table] = found.rows.get(table, 0) + n
    (work / "spare.sqlite").unlink()


def _judge(project: Project, *, uncertain: bool) -> dict[str, int]:
    """Let everything run again that does not surely have what the journal says; by stage."""
    again: dict[str, int] = {}
    desk = Desk(project)
    for node in list(project.pipeline):
        if node.is_source:
            continue
        bad = {damage.unit for damage in damaged(project, node)}
        desk.make_again(node, np.array(sorted(bad), dtype=np.int64))
        younger: set[int] = set()
        if uncertain:
            units = np.flatnonzero(node.units.state == State.COMPLETE).tolist()
            younger.update(_younger(project, node, [unit for unit in units if unit not in bad]))
            desk.change_units(node, "retry", np.array(sorted(younger), dtype=np.int64))
        if bad or younger:
            again[node.name] = len(bad) + len(younger)
    for node in project.pipeline:
        if not node.is_source:
            save_snapshot(project.writable_journal(), node)
    project.close_writer()
    project.seen_now()
    return again


def _younger(project: Project, node: Node, units: Iterable[int]) -> Iterable[int]:
    """Units whose files were written after the last attempt that the journal knows of."""
    files_of = published_files(project, node)
    for unit in units:
        known = float(node.units.ended[unit]) + CLOCKS_S
        if any(file.stat().st_mtime > known for file in files_of(unit)):
            yield unit
