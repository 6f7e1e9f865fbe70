"""The project: a folder with the lattice, the pipeline, the states, the journal and the outputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticework.project.alerting import Alerting
from latticework.project.controls import Controls
from latticework.project.looking import Looking
from latticework.project.pipeline import SOURCE
from latticework.project.remembering import Remembering
from latticework.stages.stage import Stage

if TYPE_CHECKING:
    from latticework.project.background import Run
    from latticework.project.outputs import StageOutputs
    from latticework.project.summary import RunSummary
    from latticework.stages.budgets import Retries


class Project(Controls, Alerting, Remembering, Looking):
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
        before: Any = (),
        name: str | None = None,
        params: Mapping[str, Any] | None = None,
        reads: Any = None,
        overlap: Any = None,
        boundary: Any = None,
        trim: bool | None = None,
        output: Any = None,
        retries: "int | Retries | Mapping[str, Any] | None" = None,
        timeout: float | None = None,
        needs: Any = None,
        numpy: bool | None = None,
        preview: bool | str | None = None,
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
        before
            Stages that are to read this one instead of what it reads: it is put between.
        name
            Name of the stage; the callable's if not given.
        params, **more_params
            Parameters of the callable. Use ``params`` for one that has the name of an option.
        reads
            What it reads: `same_tile` (default), `neighbours`, `plane`, `all_tiles`,
            `intersecting`, `nothing`; or one of these for each parent by name.
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
            How often a unit is tried again after it failed (default 1): a number, or by kind of
            failure, as in ``{"timeout": 0, "exit_code": lw.Again(3, wait_s=60)}``. See
            `latticework.stages.budgets`.
        timeout
            Seconds after which an attempt is ended and counts as failed.
        needs
            What it needs of the workers that run it: the name of a pool, or a mapping such as
            ``{"memory": "24 GB", "gpus": 1}``. It runs in the smallest pool that has that.
        numpy
            Whether the callable takes NumPy arrays; decided by its annotation or library if not
            given.
        preview
            How its workers make small pictures of its arrays (`previews`): what lies along z by
            its ``"max"`` or ``"mean"``; ``"labels"`` for images of ids; False: not at all. As
            `set_previews` says if not given.

        Raises
        ------
        StageError
            If the stage cannot work: its parameters, halo, parents, name.
        ProjectError
            If another process runs the project and cannot take it on.

        Notes
        -----
        Also while the project runs, in this process or in another one: then the run takes the
        stage on at once. Another process can do so only if it can import the callable.
        """
        from latticework.project.adding import add_stage
        from latticework.project.changing import put_between

        options = {"name": name, "reads": reads, "overlap": overlap, "boundary": boundary}
        options |= {"trim": trim, "output": output, "retries": retries, "numpy": numpy}
        options |= {"timeout": timeout, "needs": needs, "preview": preview}
        name = add_stage(self, function, after, {**(params or {}), **more_params}, options)
        put_between(self, name, before)
        return self[name]

    # ---------------------------------------------------------------- running

    def run(
        self,
        where: Any = None,
        *,
        stages: Iterable[str] | None = None,
        progress: Any = "auto",
        wait: bool = False,
    ) -> "RunSummary":
        """Run everything that is not done.

        Parameters
        ----------
        where
            A pool (`local`, `slurm`), a Dask client or cluster, or the address of a scheduler;
            several of these in a list, or by name in a mapping; the current client or a cluster
            on this machine if not given.
        stages
            Names of the stages to run; all if not given, also those added meanwhile.
        progress
            ``"auto"``, ``"none"``, ``"lines"``, ``"rich"``, ``"notebook"`` or a
            `latticework.viz.progress.Progress`.
        wait
            Whether to go on when everything is done, for what users add or change, until `stop`.

        Returns
        -------
        RunSummary
            Counts, failures and time; truthy if everything is complete.

        Notes
        -----
        Ctrl-C ends the run cleanly: what is out is given a few seconds to come back, everything
        finished is kept, and the next run goes on from there. A second Ctrl-C does not wait.

        What is paused while it runs holds the run until it is resumed; what was paused before is
        left out.
        """
        from latticework.project.running import Going, run_project

        going = Going(stay=wait)
        return run_project(self, where, stages=stages, progress=progress, going=going)

    def start(
        self,
        where: Any = None,
        *,
        stages: Iterable[str] | None = None,
        progress: Any = "none",
        wait: bool = False,
    ) -> "Run":
        """Run in the background, in a thread of this process; parameters as for `run`.

        Returns
        -------
        Run
            With ``wait()``, ``stop()`` and ``running``. Steer it with this project's methods.
        """
        from latticework.project.background import Run

        return Run(self, where, stages=stages, progress=progress, stay=wait, feed=None)

    def watch(
        self,
        folder: Path | str | None = None,
        where: Any = None,
        *,
        interval_s: float = 2.0,
        stages: Iterable[str] | None = None,
        progress: Any = "auto",
        background: bool = False,
        **options: Any,
    ) -> "RunSummary | Run":
        """Run while the microscope does: tiles that arrive join and flow through the stages.

        Ends when the acquisition has ended (a marker or a number of tiles, see ``end``; or
        `end_acquisition`) and everything is done.

        Parameters
        ----------
        folder
            Where the tiles arrive, or the file that lists them; the same as last time if not
            given.
        where, stages, progress
            As for `run`.
        interval_s
            Seconds between looks.
        background
            Whether to run in a thread of this process, as `start` does.
        **options
            Options of `latticework.io.watch_folder`: ``settle_s``, ``done_marker``, ``end``,
            ``removed``, and those of `open_tiles` that say where tiles are.

        Returns
        -------
        RunSummary or Run
            A summary when it has ended, or the run in the background.
        """
        from latticework.project.watching import watch_project

        return watch_project(
            self,
            folder,
            where,
            interval_s=interval_s,
            stages=stages,
            progress=progress,
            background=background,
            options=options,
        )

    def __repr__(self) -> str:
        from latticework.viz.summary import summary_text

        counts = {node.name: node.units.count() for node in self.pipeline}
        return summary_text(counts, title=f"Project {self.name} at {self.path}")

    def _repr_html_(self) -> str:
        from latticework.viz.summary import summary_html

        counts = {node.name: node.units.count() for node in self.pipeline}
        return summary_html(counts, title=f"Project {self.name}") + self._lattice._repr_html_()
