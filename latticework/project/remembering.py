"""What a project remembers: attempts, throughput, where results come from; and trying again."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from latticework.project.folder import ProjectFolder

if TYPE_CHECKING:
    import pandas as pd

    from latticework.lattice.lattice import Lattice
    from latticework.project.keeping_up import KeepingUp
    from latticework.project.moments import Moment
    from latticework.project.project import Project
    from latticework.project.replaying import Call


class Remembering(ProjectFolder):
    """The part of `Project` that tells of the past, and repeats it."""

    def _me(self) -> "Project":
        return cast("Project", self)

    def attempts(
        self,
        stage: str | None = None,
        id: int | str | None = None,
        /,
        *,
        worker: str | None = None,
        host: str | None = None,
        outcome: str | Sequence[str] | None = None,
        since: "Moment | None" = None,
        until: "Moment | None" = None,
        session: int | None = None,
        limit: int | None = None,
        **labels: Any,
    ) -> "pd.DataFrame":
        """Every attempt, as a table: when, where, how long, at what cost, with which error.

        Parameters
        ----------
        stage
            Name of the stage; all if not given. ``"clean (removed)"`` for those that were removed.
        id, **labels
            One tile, by its id or name, or all tiles with these labels: ``z=3`` is a plane, lists
            and slices of labels work too.
        worker, host
            Attempts of a worker (its address), or of those on a host.
        outcome
            ``"complete"``, ``"exception"``, ``"memory"``, ``"timeout"``, ``"exit code"``,
            ``"worker lost"`` ..., several of these, or ``"failed"`` for all that are failures.
        since, until
            Attempts that ended in this span: a `datetime`, a text (``"2026-03-01 14:00"``), or how
            long ago (``"10min"``, seconds).
        session
            Attempts of one start of a coordinator.
        limit
            The last so many.

        Returns
        -------
        pandas.DataFrame
            A row for each attempt, in the order in which they were recorded: ``stage``, ``tile``,
            the lattice labels, ``attempt``, ``outcome``, ``queued``, ``started`` and ``ended``
            (UTC), ``duration_s``, ``cpu_s``, ``peak_memory_bytes``, ``bytes_read``,
            ``bytes_written``, ``exit_code``, ``worker``, ``host``, ``session``, ``error``,
            ``message``, ``traceback``, ``stdout`` and ``stderr`` (paths of logs).
        """
        from latticework.project.history import attempts_table

        return attempts_table(
            *(self._me(), stage, id, labels),
            worker=worker,
            host=host,
            outcome=outcome,
            since=since,
            until=until,
            session=session,
            limit=limit,
        )

    def throughput(
        self,
        stage: str | None = None,
        *,
        every: Any = "1min",
        since: "Moment | None" = None,
        until: "Moment | None" = None,
    ) -> "pd.DataFrame":
        """How much each stage completed over time.

        Parameters
        ----------
        stage
            Name of the stage; all if not given.
        every
            Length of an interval: seconds, or a text such as ``"10s"`` or ``"1h"``.
        since, until
            As for `attempts`.

        Returns
        -------
        pandas.DataFrame
            A row for each interval and stage in which attempts ended: ``stage``, ``time`` (its
            begin, UTC), ``completed`` (units), ``per_minute``, ``failed`` (attempts),
            ``bytes_read``, ``bytes_written`` and ``mean_duration_s`` of the completed units, and
            ``cpu_s`` of all attempts.
        """
        from latticework.project.throughput import throughput_table

        return throughput_table(self._me(), stage, every=every, since=since, until=until)

    def keeping_up(self, *, window: Any = "10min") -> "KeepingUp":
        """The keep-up gauge: what arrives, whether each stage keeps up, when all is done.

        Parameters
        ----------
        window
            The recent past over which rates are taken: seconds, or a text such as ``"1h"``.

        Returns
        -------
        KeepingUp
            Prints as lines of text and shows as a table in a notebook.
        """
        from latticework.project.gauging import gauge

        return gauge(self._me(), window=window)

    # ---------------------------------------------------------------- where results come from

    def provenance(
        self,
        stage: str,
        id: int | str | None = None,
        /,
        *,
        depth: int | None = None,
        most: int = 100,
        full: bool = False,
        **labels: Any,
    ) -> dict[str, Any]:
        """Where an output comes from, back to the source, as plain values for JSON.

        Parameters
        ----------
        stage
            Name of the stage.
        id, **labels
            The tile, by its id, name or labels.
        depth
            How many stages to go back; to the source if not given.
        most
            Inputs from one parent that are told one by one; of more there is a summary, with
            their number and a digest.
        full
            Whether summaries list every unit that was read.

        Returns
        -------
        dict
            ``output`` is the key of the attempt that made it, in ``made``: there is every attempt
            with when and where it ran, at what cost, and the keys of what it read. ``source`` has
            the tiles with their files, ``definitions`` the code and parameters as they were when
            each was made, ``sessions`` the versions of everything that ran. ``current`` says
            whether the output is what would be made now.

        Raises
        ------
        ProjectError
            If nothing was made yet.
        """
        from latticework.project.provenance import provenance

        return provenance(self._me(), stage, id, labels, depth=depth, most=most, full=full)

    def save_provenance(
        self, path: Path | str, stage: str, id: int | str | None = None, /, **options: Any
    ) -> Path:
        """Write the `provenance` of an output to a JSON file; its path.

        Parameters
        ----------
        path
            The file.
        stage, id, **options
            As for `provenance`.
        """
        from latticework.project.provenance import save_provenance

        return save_provenance(self.provenance(stage, id, **options), path)

    # ---------------------------------------------------------------- again

    def inputs_of(self, stage: str, id: int | str | None = None, /, **labels: Any) -> "Call":
        """The call of a stage's callable for one tile, with the very arguments of a run.

        ::

            call = project.inputs_of("spots", z=3, y=1, x=2)
            call.arguments[0]              # the labelled tile, with its halo
            pdb.runcall(call.function, *call.arguments, **call.params)

        Parameters
        ----------
        stage
            Name of the stage.
        id, **labels
            The tile, by its id, name or labels.

        Returns
        -------
        Call
            With ``function``, ``arguments`` and ``params``; calling it gives what the callable
            returns.

        Raises
        ------
        ProjectError
            If what it reads is not complete, or its code is not at hand.
        """
        from latticework.project.replaying import call_of

        return call_of(self._me(), stage, id, labels)

    def replay(
        self,
        stage: str,
        id: int | str | None = None,
        /,
        *,
        folder: Path | str | None = None,
        **labels: Any,
    ) -> Any:
        """Run one tile of a stage in this process, with the very inputs of a run.

        Nothing is recorded or published, and an exception of the callable is raised as it is, so
        that a debugger stops where it happened. It may take as long as it likes: the stage's
        ``timeout`` does not hold.

        Parameters
        ----------
        stage
            Name of the stage.
        id, **labels
            The tile, by its id, name or labels.
        folder
            Where a command leaves its files, and what it printed (``replay.out``,
            ``replay.err``); a new temporary folder if not given.

        Returns
        -------
        object
            What the callable returned, before its halo is cut off; for a command its `Files`, or
            what its result file holds.

        Raises
        ------
        ProjectError
            If what it reads is not complete, or its code is not at hand.
        """
        from latticework.project.replaying import replay

        return replay(self._me(), stage, id, labels, folder=folder)

    def copy(
        self,
        path: Path | str,
        *,
        region: "Mapping[str, Any] | Lattice | None" = None,
        stages: Iterable[str] | None = None,
        outputs: bool = False,
        name: str | None = None,
    ) -> "Project":
        """Make another project with the same stages, of all tiles or some: to try something.

        The copy reads the same pixels where they are (also those that this project keeps itself).
        It has made nothing yet (see `outputs`), and nothing runs in it. Stages that are paused
        here are paused there; parameters and skipped planes go along, the region and priorities do
        not.

        Parameters
        ----------
        path
            Folder to make.
        region
            Which tiles: labels by axis (``{"z": slice(3, 5)}``), or a selection of the project's
            lattice; all if not given. They get new ids, and keep labels, names and positions.
        stages
            Names of the stages to copy, with all that they read; all if not given.
        outputs
            Whether results are copied: those of units that read in the copy just what they read
            here, so not of tiles at its border whose neighbours are left out.
        name
            Name of the project; the folder's if not given.

        Raises
        ------
        ProjectExistsError
            If there is something at `path`.
        """
        from latticework.project.copying import copy_project

        return copy_project(
            self._me(), path, region=region, stages=stages, outputs=outputs, name=name
        )
