"""Looking at a project: states, reasons, history, results."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from latticework.project.folder import ProjectFolder

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from latticework.project.exporting import Exported
    from latticework.project.pool_facts import PoolFacts
    from latticework.project.project import Project
    from latticework.viz.dashboard.serving import PageServer


ProjectPlot = Literal["states", "planes", "previews", "positions", "links", "residuals"]
"""Pictures of a project."""


class Looking(ProjectFolder):
    """The part of `Project` that shows; nothing here changes anything."""

    @property
    def status(self) -> "xr.Dataset":
        """State, attempts, duration and end of every unit, by stage and lattice dims.

        Returns
        -------
        xarray.Dataset
            ``state``, ``attempts``, ``duration_s`` and ``ended`` of the stages on tiles
            (``stage``); ``reduction_state`` of those made once (``reduction``); and of each stage
            on planes or on a lattice of its own (listed in ``other_stage``) the states over its
            own dims, as in ``status["means.state"]`` over ``means.tile_z``. ``count`` has the
            numbers of all (``any_stage``, ``in_state``); ``present`` says where there are tiles.
            ``project["means"].status`` has everything of one stage.
        """
        from latticework.project.status import status_dataset

        return status_dataset(self)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Units in each state, by stage: ``{"clean": {"complete": 354, "failed": 7}}``."""
        return {
            node.name: {state.label: n for state, n in node.units.count().items()}
            for node in self.pipeline
        }

    @property
    def pools(self) -> "tuple[PoolFacts, ...]":
        """The pools of workers of the run that goes on, in any process; empty if none does."""
        from latticework.project.pool_facts import pools_now

        return pools_now(self)

    def why(self, stage: str, id: int | str | None = None, /, **labels: Any) -> str:
        """Why a tile, given by its id, name or labels, is in the state it is in."""
        from latticework.project.explaining import why

        return why(self, stage, id, labels)

    @property
    def waiting_for_end(self) -> dict[str, int]:
        """Units by stage that would run if no more tiles came: see `end_acquisition`."""
        from latticework.project.deriving import waiting_for_end

        pipeline = self.pipeline
        found = {node.name: len(waiting_for_end(pipeline, node)) for node in pipeline}
        return {stage: n for stage, n in found.items() if n}

    def plot(self, what: "ProjectPlot" = "states", **options: Any) -> "Figure":
        """A picture for a paper or a report, with matplotlib.

        ===============  =======================================================================
        ``"states"``     every tile in the colour of its state, by stage and plane; or of one
                         ``stage``. ``title``
        ``"planes"``     the tiles of each plane at their nominal positions. ``names``, ``order``
        ``"previews"``   what a ``stage`` has made, plane by plane. ``plane``, ``planes``,
                         ``channel``, ``positions``: see `latticework.viz.plot_previews`
        ``"positions"``  where tiles were ``found`` beside where they nominally are. ``planes``
        ``"links"``      links between tiles in the colour of what they leave unfulfilled, and how
                         tiles moved. ``placement``, ``colour``, ``planes``
        ``"residuals"``  how well links agree. ``placement``
        ===============  =======================================================================

        Parameters
        ----------
        what
            Which.
        **options
            Its options, above; and of each ``theme`` (``"light"`` or ``"dark"``) and ``path``,
            where to write it (``.png``, ``.pdf``, ``.svg``).

        Returns
        -------
        Figure
            Notebooks show it, ``figure.savefig`` writes it.

        Raises
        ------
        ProjectError
            If there is no such picture or option, or nothing to draw yet.
        """
        from latticework.viz.project_plots import plot_of_project

        return plot_of_project(cast("Project", self), what, options)

    def dashboard(self, *, port: int = 0, address: str = "127.0.0.1") -> "PageServer":
        """Serve the project's pages from this process, whether it runs or not.

        Overview, map of the lattice, tiles with their history and logs, failures, throughput, and
        control for whoever has the project's token. The same pages are on the Dask dashboard of
        every run, under ``/lattice``.

        Parameters
        ----------
        port
            Where to listen; a free port if 0.
        address
            On which of this machine's addresses: only for this machine itself unless told
            otherwise.

        Returns
        -------
        PageServer
            Its ``url`` is the address of the first page, ``control_url`` that of the one that
            steers, with the token; shown in a notebook it is a link. ``close()`` ends it.

        Raises
        ------
        LatticeworkError
            If the port is taken.
        """
        from latticework.viz.dashboard.serving import PageServer

        return PageServer(self.path, port=port, address=address)

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

        return export_stage(cast("Project", self), stage, Path(path), labels, overwrite=overwrite)
