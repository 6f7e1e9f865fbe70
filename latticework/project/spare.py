"""A spare journal: stages, settings and states, for when the journal itself is lost.

It is a small journal of its own without attempts, errors and records, written when a run ends,
every few minutes while one goes on, and when stages are added; each time whole, by rename.
"""

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from latticework.errors import LatticeworkError
from latticework.io.journal import Journal

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder
    from latticework.project.pipeline import Pipeline

KEPT = ("meta", "stages", "definitions", "sessions")
"""Tables that are copied whole."""
MANY = 200_000
"""Units of which a spare takes so long that it is not written at every small change."""
SPARE_S = 300.0
"""Seconds between two spares while a run goes on."""


def spare_file(project: Path) -> Path:
    """Where it lies.

    Examples
    --------
    >>> spare_file(Path("brain.lw")).name
    'journal.spare.sqlite'
    """
    return project / "journal.spare.sqlite"


def keep_spare(project: "ProjectFolder", pipeline: "Pipeline", *, quick: bool = False) -> None:
    """Write the spare journal as things are now; where that cannot be, the old one stays.

    Parameters
    ----------
    project
        The project.
    pipeline
        Its pipeline, as it is in memory.
    quick
        Whether to leave it where there are so many units that it would take a while.
    """
    if quick and sum(len(node.units) for node in pipeline) > MANY:
        return
    target = spare_file(project.path)
    partial = target.with_suffix(".partial")
    with contextlib.suppress(OSError, LatticeworkError, sqlite3.Error):
        partial.unlink(missing_ok=True)
        spare = Journal.create(partial)
        try:
            spare.write("delete from meta")
            for table in KEPT:
                rows = project.query(f"select * from {table}")  # noqa: S608 - names above
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    spare.write_many(f"insert into {table} values ({marks})", rows)  # noqa: S608
            [(attempt, change)] = project.query(
                "select (select coalesce(max(id), 0) from attempts), "
                "(select coalesce(max(id), 0) from changes)"
            )
            spare.write_many(
                "insert into snapshots (stage, attempt, change, states) values (?, ?, ?, ?)",
                [
                    (node.id, attempt, change, node.units.to_bytes())
                    for node in pipeline
                    if not node.is_source
                ],
            )
        finally:
            spare.close()
            partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)  # SQLite's own
        partial.replace(target)
