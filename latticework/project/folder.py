"""The project's folder: its lattice, settings, pipeline and journal, read and kept."""

import contextlib
import json
import os
import shutil
import socket
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import (
    LatticeworkError,
    ProjectError,
    ProjectLockedError,
    StoreError,
    TileNotFoundError,
)
from latticework.io.growth_store import load_grown
from latticework.io.journal import LOST, Journal
from latticework.io.lattice_store import load_lattice, save_lattice
from latticework.io.mailbox import Mailbox
from latticework.lattice.lattice import Lattice
from latticework.project import ledger
from latticework.project.desk import Desk
from latticework.project.facts import output_text, read_project_file, write_project_file
from latticework.project.hooks import Hooks
from latticework.project.lock import CoordinatorLock
from latticework.project.outage import read_outage
from latticework.project.pipeline import Node, Pipeline
from latticework.project.settings import KEY, Settings, scope_of
from latticework.project.spare import keep_spare
from latticework.stages import paths

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator
    from latticework.project.page_links import PageLinks


class ProjectFolder:
    """What is on disk of a project, and in memory of that; `Project` is what users have of it.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = CoordinatorLock(paths.lock_file(path))
        facts = read_project_file(path)
        self.name: str = facts["name"]
        self.key: str = facts["key"]
        self.lattice_version: int = facts["lattice_version"]
        self._lattice = load_grown(path, self.lattice_version)
        self._journal = Journal(paths.journal_file(path), read_only=True)
        self._writer: Journal | None = None
        self._seen: tuple[Any, ...] = ()
        self._pipeline: Pipeline | None = None
        self._settings: Settings | None = None
        self.mailbox = Mailbox(paths.commands_folder(path))
        self.coordinator: Coordinator | None = None
        self.previews_open: dict[str, Any] = {}
        """What was opened of stages' previews, to be used again."""
        self.page_links: PageLinks | None = None
        """Where the pages of the run are, while it goes on or after."""
        self.hooks = Hooks()
        """Functions that are told what happens."""

    # ---------------------------------------------------------------- facts

    @property
    def lattice(self) -> Lattice:
        """The lattice of the acquisition, with its source."""
        return self._lattice

    @property
    def pipeline(self) -> Pipeline:
        """Stages and the states of their units, as of now."""
        if self.running and self._pipeline is not None:
            return self._pipeline
        seen = self._newest()
        if self._pipeline is None or seen != self._seen:
            self._see_lattice()
            known = {} if self._pipeline is None else {n.name: n for n in self._pipeline}
            settings = self._settings = self._load_settings()
            pipeline = Pipeline(self._lattice, self._load_own_lattice)
            pipeline.follow(settings, scope_of(self._lattice, settings))
            try:
                ledger.load_nodes(self._journal, pipeline, known)
            except LatticeworkError:
                raise
            except (ValueError, LookupError, TypeError, zlib.error) as error:
                raise StoreError(self._journal.damaged(error)) from error
            pipeline.derive()
            self._pipeline, self._seen = pipeline, seen
        return self._pipeline

    @property
    def running(self) -> bool:
        """Whether this very object runs the project now."""
        return self.coordinator is not None

    @property
    def settings(self) -> Settings:
        """What users have set: pauses, skipped planes, a region, priorities."""
        if self._settings is None or not self.running:
            self._settings = self._load_settings()
        return self._settings

    def _load_settings(self) -> Settings:
        found = self.query("select value from meta where key=?", (KEY,))
        return Settings.from_json(found[0][0] if found else None)

    def _load_own_lattice(self, key: str) -> Lattice:
        return load_lattice(paths.own_lattice_folder(self.path, key))

    def _see_lattice(self) -> None:
        """Take over what another process has added to the lattice."""
        version = read_project_file(self.path)["lattice_version"]
        if version != self.lattice_version:
            known = (self.lattice_version, self._lattice)
            self._lattice = load_grown(self.path, version, known=known)
            self.lattice_version = version

    def forget(self) -> None:
        """Read everything again from the folder when it is asked for next."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(StoreError):
                writer.close()
        self.lattice_version = read_project_file(self.path)["lattice_version"]
        self._lattice = load_grown(self.path, self.lattice_version)
        self._pipeline = self._settings = None

    def seen_now(self) -> None:
        """What is in memory is what the journal says: this process wrote it."""
        self._seen = self._newest()

    def _newest(self) -> tuple[Any, ...]:
        """What tells whether another process has written since we looked."""
        sql = (
            "select (select max(id) from attempts), (select max(id) from changes), "
            "(select count(*) || group_concat(fingerprint || coalesce(output, '') || "
            "coalesce(removed, '')) from stages), (select value from meta where key='settings')"
        )
        version = read_project_file(self.path)["lattice_version"]
        return (*self._journal.query(sql)[0], version)

    def keep_settings(self, settings: Settings) -> None:
        """Have other settings from now on."""
        sql = "insert or replace into meta (key, value) values (?, ?)"
        self.writable_journal().write(sql, (KEY, settings.to_json()))
        self._settings = settings

    def keep_lattice(self, lattice: Lattice, version: int) -> None:
        """The lattice has grown: what is on disk of it counts from now on."""
        facts = read_project_file(self.path)
        write_project_file(self.path, {**facts, "lattice_version": version})
        self._lattice, self.lattice_version = lattice, version

    def keep_own_lattice(self, key: str, lattice: Lattice) -> None:
        """Keep the lattice of a stage's own units."""
        folder = paths.own_lattice_folder(self.path, key)
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            save_lattice(lattice, folder)
        self.pipeline.lattices.keep(key, lattice)

    # ---------------------------------------------------------------- changing it

    def ask(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Have something done by whoever runs the project, or here and now if nobody does.

        See `latticework.project.steering` for what can be asked.
        """
        from latticework.project.requests import NOBODY, PATIENCE_S, ask_elsewhere
        from latticework.project.steering import carry_out

        until = time.monotonic() + PATIENCE_S
        while True:
            coordinator = self.coordinator
            if coordinator is not None:
                return coordinator.requests.ask(command, arguments)
            try:
                self._lock.acquire()
            except ProjectLockedError:
                plain = (
                    {key: value for key, value in arguments.items() if key != "stage"}
                    if (command == "add")
                    else arguments
                )
                answer = ask_elsewhere(self, command, plain)
                if answer is NOBODY:
                    if time.monotonic() > until:
                        raise
                    continue
                return answer
            try:
                desk = Desk(self)
                answer = carry_out(desk, command, arguments)
                self.close_writer()
                if command in ("add", "remove"):
                    self.seen_now()
                    keep_spare(self, desk.pipeline, quick=True)
            finally:
                if self._writer is not None:
                    self.forget()  # what is in memory may not be what was recorded
                self._lock.release()
            self.seen_now()
            return answer

    def note_command(self, command: str, arguments: Mapping[str, Any], answer: Any) -> None:
        """Keep in the journal what was asked and done."""
        plain = {key: value for key, value in arguments.items() if key != "stage"}
        now = time.time()
        self.writable_journal().write(
            "insert into commands (at, command, arguments, done, answer) values (?, ?, ?, ?, ?)",
            (now, command, json.dumps(plain, default=str), now, json.dumps(answer, default=str)),
        )

    # ---------------------------------------------------------------- units

    def unit_row(self, node: Node, id: int | str | None, labels: Mapping[str, Any]) -> int:
        """Unit of a node at an id, a tile's name or labels; the only one of a reduction."""
        if node.reduction:
            return 0
        return node.lattice.id_at(**labels) if id is None else self._tile_id(id, node.lattice)

    def _tile_id(self, id: int | str, lattice: Lattice) -> int:
        if not isinstance(id, str):
            return lattice.tile(id).id
        found = np.flatnonzero(lattice.names == id)
        if len(found) != 1:
            raise TileNotFoundError(
                f"{len(found) or 'no'} tile(s) are called {id!r}: give its id, or labels as in z=3"
            )
        return int(lattice.ids[found[0]])

    # ---------------------------------------------------------------- the journal

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query to the journal, with what this process has not committed yet."""
        return (self._writer or self._journal).query(sql, values)

    def attempts_made(self) -> int:
        """Attempts that have ended, ever."""
        return int(self.query("select coalesce(max(id), 0) from attempts")[0][0])

    def last_error(self, node: Node, unit: int) -> str:
        """Type and message of the last error of a unit."""
        rows = self.query(
            "select e.type, e.message from attempts a join errors e on e.id = a.error "
            "where a.stage = ? and a.unit = ? order by a.id desc limit 1",
            (node.id, unit),
        )
        return f"{rows[0][0]}: {rows[0][1]}" if rows else "no error was recorded"

    def is_run(self) -> bool:
        """Whether a coordinator runs this project now, here or in another process."""
        return self.running or self._lock.is_taken()

    @property
    def outage(self) -> str:
        """Why a run of this project cannot write now, and what it waits for; empty if it can."""
        if self.coordinator is not None:
            return self.coordinator.outage.text
        return read_outage(self.path) if self._lock.is_taken() else ""

    def let_go(self) -> None:
        """Close the files of a project that is only looked at; it is of no use any more."""
        self._pipeline = self._settings = None
        self.previews_open.clear()
        self._journal.close()

    # ---------------------------------------------------------------- for the coordinator

    def lock(self) -> CoordinatorLock:
        """The lock that whoever writes holds."""
        return self._lock

    def writable_journal(self) -> Journal:
        """The journal, to write to; only while the lock is held."""
        if self._writer is None:
            self._writer = Journal(paths.journal_file(self.path))
        return self._writer

    def close_writer(self) -> None:
        """Commit and let go of the writable journal."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def start_session(self) -> int:
        """A coordinator starts: note it, and clear away what an earlier one left."""
        from latticework import __version__

        journal = self.writable_journal()
        journal.check()
        with journal.transaction():
            for row in journal.query(
                "select rowid, session, stage, units, attempts, dispatched from batches"
            ):
                self._lose(journal, row)
            session = journal.start_session(socket.gethostname(), os.getpid(), __version__)
        staging = paths.staging_folder(self.path, session)
        shutil.rmtree(staging.parent, ignore_errors=True)
        try:
            staging.mkdir(parents=True)
        except OSError as error:
            raise ProjectError(
                f"{staging} cannot be made ({error.strerror}): free some space, make "
                f"{self.path} writable, or remove the file that is in its way, and run again"
            ) from error
        return session

    def _lose(self, journal: Journal, row: tuple[Any, ...]) -> None:
        """A batch that was out when an earlier coordinator ended."""
        rowid, session, stage, units, attempts, dispatched = row
        ids, numbers = np.frombuffer(units, "<i8").tolist(), np.frombuffer(attempts, "<u2").tolist()
        blank = (None,) * 7
        journal.add_attempts(
            (stage, unit, attempt, LOST, session, dispatched, *blank, None)
            for unit, attempt in zip(ids, numbers, strict=True)
        )
        journal.write("delete from batches where rowid=?", (rowid,))
        for node in self.pipeline:
            if node.id == stage:
                lost = np.array(numbers, dtype=np.uint16)
                node.units.attempts[ids] = np.maximum(node.units.attempts[ids], lost)
                node.units.fingerprint[ids] = 0  # whether it was replaced is not known

    def keep_output(self, node: Node) -> None:
        """What a stage makes has been settled, or is open again."""
        text = output_text(node)
        self.writable_journal().write("update stages set output=? where id=?", (text, node.id))

    def records(self, node: Node, units: np.ndarray) -> dict[int, str]:
        """Records of some units of a node, as JSON."""
        journal = self._writer or self._journal
        if len(units) > 500:
            rows = journal.query("select unit, value from records where stage=?", (node.id,))
        else:
            marks = ",".join("?" * len(units))
            sql = f"select unit, value from records where stage=? and unit in ({marks})"  # noqa: S608 - only question marks
            rows = journal.query(sql, (node.id, *units.tolist()))
        return dict(rows)

    def add_node(self, node: Node, definition: str) -> Node:
        """Keep a new stage, or a new definition of one, in the journal and the pipeline."""
        journal = self.writable_journal()
        fingerprint = f"{node.fingerprint:016x}"
        journal.begin()
        with contextlib.nullcontext():
            if node.id:
                sql = "update stages set definition=?, fingerprint=?, output=? where id=?"
                journal.write(sql, (definition, fingerprint, output_text(node), node.id))
            else:
                sql = "update stages set removed=? where name=? and removed is null"
                journal.write(sql, (time.time(), node.name))
                sql = "insert into stages (name, definition, fingerprint, created) values (?,?,?,?)"
                node.id = journal.write(sql, (node.name, definition, fingerprint, time.time()))
        journal.keep_definition(node.id, fingerprint, definition)
        self.pipeline.add(node)
        node.units.judge(node.budgets)
        return node
