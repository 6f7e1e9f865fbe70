"""The project: a folder with the lattice, the pipeline, the states, the journal and the outputs."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StoreError, TileNotFoundError
from latticework.io.journal import LOST, Journal
from latticework.io.lattice_store import load_lattice
from latticework.io.sources import load_source
from latticework.lattice.lattice import Lattice
from latticework.project import ledger
from latticework.project.facts import output_text, read_project_file
from latticework.project.lock import CoordinatorLock
from latticework.project.pipeline import SOURCE, Node, Pipeline
from latticework.stages import paths
from latticework.stages.stage import Stage

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from latticework.project.exporting import Exported
    from latticework.project.outputs import StageOutputs
    from latticework.project.summary import RunSummary


class Project:
    """A folder on disk in which tiles go through stages; everything that a user does starts here.

    Made by `create`, opened by `open_project`. Opening is quick and changes nothing; any number
    of processes may look, one at a time runs.

    ::

        project = lw.create("brain.lw", lw.open_tiles("acquisition/"))
        clean = project.add(median_filter, size=3, overlap=1)
        project.run()
        project["clean"].data

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from latticework import Lattice, create
    >>> tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    >>> project = create(tempfile.mkdtemp() + "/tiny.lw", tiles)
    >>> print(project.add(np.negative))
    negative
    >>> project.why("negative", y=0, x=1)
    'ready to run: nothing runs this project now'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = CoordinatorLock(paths.lock_file(path))
        facts = read_project_file(path)
        self.name: str = facts["name"]
        self.key: str = facts["key"]
        self.lattice_version: int = facts["lattice_version"]
        source = load_source(paths.source_folder(path), base=path)
        self._lattice = load_lattice(paths.lattice_folder(path)).replace(source=source)
        self._journal = Journal(paths.journal_file(path), read_only=True)
        self._writer: Journal | None = None
        self._seen: tuple[Any, ...] = ()
        self._pipeline: Pipeline | None = None
        self.running = False

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
            known = {} if self._pipeline is None else {n.name: n for n in self._pipeline}
            pipeline = Pipeline(self._lattice)
            ledger.load_nodes(self._journal, pipeline, known)
            pipeline.derive()
            self._pipeline, self._seen = pipeline, seen
        return self._pipeline

    def forget(self) -> None:
        """Read everything again from the folder when it is asked for next."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(StoreError):
                writer.close()
        facts = read_project_file(self.path)
        if facts["lattice_version"] != self.lattice_version:
            self.lattice_version = facts["lattice_version"]
            source = load_source(paths.source_folder(self.path), base=self.path)
            self._lattice = self._lattice.replace(source=source)
        self._pipeline = None

    def seen_now(self) -> None:
        """What is in memory is what the journal says: this process wrote it."""
        self._seen = self._newest()

    def _newest(self) -> tuple[Any, ...]:
        """What tells whether another process has written since we looked."""
        sql = (
            "select (select max(id) from attempts), (select max(id) from changes), "
            "(select count(*) || group_concat(fingerprint || coalesce(output, '')) from stages)"
        )
        return self._journal.query(sql)[0]

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, parents before children."""
        return tuple(node.name for node in self.pipeline)

    @property
    def source(self) -> "StageOutputs":
        """The acquisition as a parent of stages, with its pixels."""
        return self[SOURCE]

    def __getitem__(self, stage: str) -> "StageOutputs":
        from latticework.project.outputs import StageOutputs

        self.pipeline[stage]
        return StageOutputs(self, stage)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    # ---------------------------------------------------------------- adding stages

    def add(
        self,
        function: Callable[..., Any] | Stage,
        /,
        *,
        after: Any = None,
        name: str | None = None,
        params: Mapping[str, Any] | None = None,
        reads: Any = None,
        overlap: Any = None,
        boundary: Any = None,
        trim: bool | None = None,
        output: Any = None,
        retries: int | None = None,
        numpy: bool | None = None,
        **more_params: Any,
    ) -> "StageOutputs":
        """Add a stage, or give a stage of the same name its callable and parameters again.

        Adding the same again changes nothing, so a script or notebook can be run again from the
        top. Adding something else under a name that exists changes that stage: what it had made
        is stale and runs again.

        Parameters
        ----------
        function
            The callable, or a `Stage`. It gets one labelled tile per parent and the parameters.
        after
            Its parent or parents: what `add` returned, names of stages, `project.source`;
            the source if not given.
        name
            Name of the stage; the callable's if not given.
        params, **more_params
            Parameters of the callable. Use ``params`` for one that has the name of an option.
        reads
            What it reads: `same_tile` (default), `all_tiles`, `nothing`.
        overlap
            Halo in pixels by axis (``{"y": 2, "x": 2}`` or ``{"y": (2, 0)}``), or one number for
            every spatial axis. The halo is cut off the result.
        boundary
            What fills the halo at the lattice's edge: ``"none"`` (default), ``"reflect"``,
            ``"nearest"``, ``"periodic"`` or a number, for all axes or by axis.
        trim
            False if the callable cuts the halo off itself.
        output
            `array_output`, `table_output` or `record_output`; found from the first tile if not
            given.
        retries
            How often a unit is tried again after an exception (default 1).
        numpy
            Whether the callable takes NumPy arrays; decided by its annotation or library if not
            given.

        Raises
        ------
        StageError
            If the stage cannot work: its parameters, halo, parents, name.
        ProjectLockedError
            If another process runs the project.
        """
        from latticework.project.adding import add_stage

        options = {"name": name, "reads": reads, "overlap": overlap, "boundary": boundary}
        options |= {"trim": trim, "output": output, "retries": retries, "numpy": numpy}
        return self[add_stage(self, function, after, {**(params or {}), **more_params}, options)]

    # ---------------------------------------------------------------- running

    def run(
        self,
        where: Any = None,
        *,
        stages: Iterable[str] | None = None,
        progress: Any = "auto",
    ) -> "RunSummary":
        """Run everything that is not done.

        Parameters
        ----------
        where
            A Dask client or cluster, or the address of a scheduler; the current client or a
            cluster on this machine if not given.
        stages
            Names of the stages to run; all if not given.
        progress
            ``"auto"``, ``"none"``, ``"lines"``, ``"rich"``, ``"notebook"`` or a
            `latticework.viz.progress.Progress`.

        Returns
        -------
        RunSummary
            Counts, failures and time; truthy if everything is complete.

        Notes
        -----
        Ctrl-C ends the run cleanly: what is out is given a few seconds to come back, everything
        finished is kept, and the next run goes on from there. A second Ctrl-C does not wait.
        """
        from latticework.project.running import run_project

        return run_project(self, where, stages=stages, progress=progress)

    def retry(
        self,
        stage: str | None = None,
        id: int | str | None = None,
        /,
        *,
        failed: bool = True,
        **labels: Any,
    ) -> int:
        """Let failed units run again, in the next run.

        Parameters
        ----------
        stage
            Name of the stage; all stages if not given.
        failed
            Whether only failed units are meant. False: complete ones too, which makes them run
            again, and then everything that read them.
        id, **labels
            Only this tile (its id or name), or only the tiles with these labels.

        Returns
        -------
        int
            Units that will run again.
        """
        from latticework.project.retrying import retry_units

        if id is not None:
            labels = dict(self._lattice.tile(self._tile_id(id)).labels)
        return retry_units(self, stage, failed=failed, labels=labels)

    # ---------------------------------------------------------------- looking

    @property
    def status(self) -> "xr.Dataset":
        """State, attempts, duration and end of every unit, by stage and lattice dims."""
        from latticework.project.status import status_dataset

        return status_dataset(self)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Units in each state, by stage: ``{"clean": {"complete": 354, "failed": 7}}``."""
        return {
            node.name: {state.label: n for state, n in node.units.count().items()}
            for node in self.pipeline
        }

    def why(self, stage: str, id: int | str | None = None, /, **labels: Any) -> str:
        """Why a tile, given by its id, name or labels, is in the state it is in."""
        from latticework.project.explaining import why

        return why(self, stage, id, labels)

    def attempts(
        self, stage: str | None = None, id: int | str | None = None, /, **labels: Any
    ) -> "pd.DataFrame":
        """Every attempt, as a table: when, where, how long, at what cost, with which error.

        Parameters
        ----------
        stage
            Name of the stage; all if not given.
        id, **labels
            One tile, by id or labels; all tiles if not given.
        """
        from latticework.project.history import attempts_table

        return attempts_table(self, stage, id, labels)

    def export(
        self, stage: str, path: Path | str, *, overwrite: bool = False, **labels: Any
    ) -> "Exported":
        """Copy a stage's results to files that other programs read.

        Arrays become OME-TIFF files, a tile each, with pixel sizes and positions, or one TIFF for
        a path that ends in ``.tif`` (a single tile, a reduction, or a whole volume of blocks);
        tables and records become one ``.csv`` or ``.parquet`` file.

        Parameters
        ----------
        stage
            Name of the stage, or ``"source"``.
        path
            Folder to make, or file to write.
        overwrite
            Whether files that are there are replaced.
        **labels
            Selection of tiles, as for `Lattice.sel`.

        Returns
        -------
        Exported
            The files written, as a list; its `left_out` names tiles that have no result.
        """
        from latticework.project.exporting import export_stage

        return export_stage(self, stage, Path(path), labels, overwrite=overwrite)

    def unit_row(self, node: Node, id: int | str | None, labels: Mapping[str, Any]) -> int:
        """Unit of a node at an id, a tile's name or labels; the only one of a reduction."""
        if node.reduction:
            return 0
        return self._lattice.id_at(**labels) if id is None else self._tile_id(id)

    def _tile_id(self, id: int | str) -> int:
        if not isinstance(id, str):
            return self._lattice.tile(id).id
        found = np.flatnonzero(self._lattice.names == id)
        if len(found) != 1:
            raise TileNotFoundError(
                f"{len(found) or 'no'} tile(s) are called {id!r}: give its id, or labels as in z=3"
            )
        return int(self._lattice.ids[found[0]])

    def __repr__(self) -> str:
        from latticework.viz.summary import summary_text

        counts = {node.name: node.units.count() for node in self.pipeline}
        return summary_text(counts, title=f"Project {self.name} at {self.path}")

    def _repr_html_(self) -> str:
        from latticework.viz.summary import summary_html

        counts = {node.name: node.units.count() for node in self.pipeline}
        return summary_html(counts, title=f"Project {self.name}") + self._lattice._repr_html_()

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
        with journal.transaction():
            for row in journal.query(
                "select rowid, session, stage, units, attempts, dispatched from batches"
            ):
                self._lose(journal, row)
            session = journal.start_session(socket.gethostname(), os.getpid(), __version__)
        shutil.rmtree(paths.staging_folder(self.path, session).parent, ignore_errors=True)
        paths.staging_folder(self.path, session).mkdir(parents=True)
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
        with journal.transaction():
            if node.id:
                sql = "update stages set definition=?, fingerprint=?, output=? where id=?"
                journal.write(sql, (definition, fingerprint, output_text(node), node.id))
            else:
                sql = "update stages set removed=? where name=? and removed is null"
                journal.write(sql, (time.time(), node.name))
                sql = "insert into stages (name, definition, fingerprint, created) values (?,?,?,?)"
                node.id = journal.write(sql, (node.name, definition, fingerprint, time.time()))
        self.pipeline.add(node)
        return node
