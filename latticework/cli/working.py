"""Commands that do something: ``init``, ``run``, ``export``."""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.frame import FAILED, INTERRUPTED, called
from latticework.cli.looking import PROJECT, show_lattice
from latticework.cli.options import Names, acquisition_options, open_acquisition
from latticework.cli.words import TILES, chosen, spoken, written
from latticework.errors import ProjectError, ProjectExistsError

if TYPE_CHECKING:
    from latticework.cli.pipelines import Applied, PipelineProject
    from latticework.project import Project
    from latticework.project.summary import RunSummary
    from latticework.viz.progress import Kind

PIPELINE = click.option(
    "--pipeline",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.py",
    help="Python file with a function 'pipeline(project)' that calls project.add.",
)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Worker processes on this machine; one per core if not given.",
)
SCHEDULER = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="A Dask scheduler that runs already, as in tcp://host:8786.",
)
POOLS = click.option(
    "--pools",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.yaml",
    help="File that describes pools of workers, such as SLURM jobs.",
)
STAGES = click.option("--stages", type=Names(), help="Only these stages, as in clean,spots.")
PROGRESS = click.option(
    "--progress",
    type=click.Choice(["auto", "rich", "lines", "none"]),
    default="auto",
    show_default=True,
    help="Bars, plain lines or nothing; 'auto': bars in a terminal, else lines.",
)


@click.command()
@click.argument("acquisition")
@PROJECT
@acquisition_options
@PIPELINE
@click.option("--name", help="Name of the project; the folder's if not given.")
def init(
    acquisition: str, project: Path, pipeline: Path | None, name: str | None, **opening: Any
) -> None:
    """Make a project folder for an acquisition.

    The acquisition stays where it is and is never written to. Its pipeline can be given now or
    with the first 'latticework run'.

    \b
    Examples:
      latticework init acquisition/ brain.lw
      latticework init acquisition/ brain.lw --grid 7x9 --snake --overlap 10% --pipeline pipeline.py

    \b
    A pipeline is a Python file:
      from scipy.ndimage import median_filter
      from latticework.stages import detect_spots
      def pipeline(project):
          clean = project.add(median_filter, size=3, overlap=1)
          project.add(detect_spots, after=clean, sigma_px=2.0)

    Exit codes: 0 made, 2 the acquisition, the folder or the pipeline cannot be used.
    """
    from latticework.cli.pipelines import PipelineProject, apply, pipeline_function, remember
    from latticework.project import create

    free_folder(project)
    if pipeline is not None:
        pipeline_function(pipeline)
    tiles = open_acquisition(acquisition, opening)
    show_lattice(tiles)
    path = create(project, tiles, name=name).path
    if pipeline is not None:
        filled = PipelineProject(path)
        try:
            done = apply(filled, pipeline)
            remember(filled, pipeline)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)  # made a moment ago, by us
            raise
        click.echo(f"Stages: {', '.join(done.stages)}")
    click.echo(f"Project: {path}")
    more = "" if pipeline is not None else " --pipeline FILE.py"
    click.echo(f"Next: {called()} run {quote(str(project))}{more}")


def free_folder(project: Path) -> None:
    """Refuse a folder that is taken, before an acquisition is read for nothing.

    Raises
    ------
    ProjectExistsError
        If something is there.
    """
    from latticework.cli.demo_folder import taken
    from latticework.stages.paths import project_file

    path = project.expanduser().resolve()
    if project_file(path).exists():
        raise ProjectExistsError(
            f"there is a project at {path} already: choose another folder, or go on with it: "
            f"{called()} run {quote(str(project))}"
        )
    if taken(path):
        raise ProjectExistsError(f"{path} exists and is not a project: choose another folder")


@click.command()
@PROJECT
@PIPELINE
@WORKERS
@SCHEDULER
@POOLS
@STAGES
@PROGRESS
@click.option(
    "--wait",
    is_flag=True,
    help="Go on when all is done, for what is added or changed, until 'stop'.",
)
def run(
    *,
    project: Path,
    pipeline: Path | None,
    workers: int | None,
    scheduler: str | None,
    pools: Path | None,
    stages: list[str] | None,
    progress: "Kind",
    wait: bool,
) -> None:
    """Run everything of a project that is not done.

    Ctrl-C is safe: what is finished is kept, and the next run goes on from there. A tile that
    fails stops nothing but what reads it.

    The project remembers its pipeline file and reads it again at each run: change a parameter or a
    function in it, and exactly what depends on that is made again. Stages that commands have
    changed or removed stay so, until the file says something else of them or is given again.

    While it runs, 'latticework pause', 'change', 'cancel' and the like steer it.

    \b
    Examples:
      latticework run brain.lw --pipeline pipeline.py
      latticework run brain.lw --workers 4
      latticework run brain.lw --pools site.yaml
      latticework run brain.lw --stages clean,spots --scheduler tcp://head-node:8786

    Exit codes: 0 everything is complete, 1 something failed, 2 it could not run, 130 Ctrl-C.
    """
    from latticework.cli.pipelines import PipelineProject

    one_place(workers, scheduler, pools)
    opened = PipelineProject(project)
    known = read_pipeline(opened, pipeline)
    only = stages or (known.only if known is not None and not wait else None)
    with where(workers, scheduler, pools) as cluster:
        summary = opened.run(cluster, stages=only, progress=Spoken(progress), wait=wait)
    if progress == "none":
        click.echo(spoken(str(summary)))
    finish(opened, project, summary, only)


class Spoken:
    """Progress whose words are those of the command line; what was said already is left out.

    Parameters
    ----------
    kind
        How it is shown.
    said
        What has been printed before the run began.
    """

    def __init__(self, kind: "Kind", said: Iterable[str] = ()) -> None:
        from latticework.viz.progress import make_progress

        self._shown = make_progress(kind)
        self._said = set(said)

    def __getattr__(self, name: str) -> Any:
        """What needs no other words."""
        return getattr(self._shown, name)

    def say(self, text: str) -> None:
        """A line for whoever watches."""
        if text not in self._said:
            self._shown.say(spoken(text))
        self._said.discard(text)  # what begins anew is said anew

    def finish(self, summary: object | None = None) -> None:
        """The run is over; why units failed is told below."""
        closing = getattr(summary, "closing", None)
        self._shown.finish(summary if closing is None else spoken(str(closing[0])))


def one_place(workers: int | None, scheduler: str | None, pools: Path | None = None) -> None:
    """Refuse two places to run."""
    if sum(given is not None for given in (workers, scheduler, pools)) > 1:
        raise click.UsageError(
            "--workers are on this machine, --scheduler is elsewhere, --pools says where itself: "
            "give one of them"
        )


def read_pipeline(project: "PipelineProject", given: Path | None) -> "Applied | None":
    """Add the stages of the pipeline file that was given or that the project remembers.

    Raises
    ------
    ProjectError
        If the project has no stages, or the file it remembers has vanished.
    """
    from latticework.cli.pipelines import apply, remember, remembered

    file = given if given is not None else remembered(project.path)
    if file is None:
        if not len(project):
            raise ProjectError(
                f"{project.path} has no stages yet: give --pipeline FILE.py, with a function "
                "'pipeline(project)' in it (see latticework init --help)"
            )
        return None
    if not file.is_file():
        raise ProjectError(
            f"the pipeline file {file} is not there any more: say where it is now with --pipeline"
        )
    had = len(project)
    done = apply(project, file, anew=given is not None)
    remember(project, file)
    if had and done.new:
        click.echo(f"New in {file.name}: {', '.join(done.new)}")
    if done.changed:
        click.echo(
            f"Changed in {file.name}: {', '.join(done.changed)}; what they made is made again"
        )
    if done.left:
        click.echo(
            f"Changed by commands since {file.name} was read, so left as they are: "
            f"{', '.join(done.left)} (with --pipeline the file counts again)"
        )
    if done.others:
        click.echo(f"Not in {file.name}, so left as they are: {', '.join(done.others)}")
    return done


@contextmanager
def where(workers: int | None, scheduler: str | None, pools: Path | None = None) -> Iterator[Any]:
    """What to give to `Project.run`."""
    if pools is not None:
        from latticework.project.pools_file import read_pools_file

        yield read_pools_file(pools)
        return
    if scheduler is not None:
        if not re.fullmatch(r"(\w+://)?[^\s/]+:\d+", scheduler):
            raise ProjectError(
                f"--scheduler {scheduler}: write its address with the port, as in tcp://host:8786"
            )
        from distributed import Client

        try:
            client = Client(scheduler, timeout="15s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise ProjectError(f"no Dask scheduler answers at {scheduler!r}: {error}") from error
        with client:
            if not client.nthreads():
                click.echo(f"{scheduler} has no workers yet; waiting for the first one")
                client.wait_for_workers(1)
            yield client
    elif workers is not None:
        from distributed import Client

        from latticework.project.clusters import local_cluster

        with local_cluster(workers) as cluster, Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=120)
            yield client
    else:
        yield None


def finish(
    project: "Project",
    typed: Path,
    summary: "RunSummary",
    only: list[str] | None,
    *,
    going_on: bool = False,
) -> None:
    """Say what to do about what failed, and end with the exit code of a run."""
    from latticework.cli.standing import open_lines
    from latticework.lattice.states import State

    name = quote(str(typed))
    if summary.interrupted:
        verb = "watch" if going_on else "run"
        click.echo(f"Interrupted; what is finished is kept. To go on: {called()} {verb} {name}")
        sys.exit(INTERRUPTED)
    counts = [summary.counts[stage] for stage in only or summary.counts]
    for node in project.pipeline:
        failed = (node.units.state == State.FAILED).nonzero()[0]
        if len(failed):
            words = written(node.lattice.tile(int(failed[0])).labels)
            click.echo(f"To see why: {called()} why {name} {node.name} {words}".rstrip())
            click.echo(f"When the cause is gone: {called()} retry {name}, and run again")
            break
    for note in summary.notes:
        click.echo(spoken(note))
    done = (State.COMPLETE, State.ABSENT)
    if going_on:
        click.echo(f"The acquisition has not ended. To go on: {called()} watch {name}")
    elif project.settings.open:
        for line in open_lines(project, name):
            click.echo(line)
        click.echo(f"To go on with tiles that arrive: {called()} watch {name}")
    if any(n and state not in done for of in counts for state, n in of.items()):
        sys.exit(FAILED)


@click.command()
@PROJECT
@click.argument("stage")
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("tile", nargs=-1, metavar=TILES)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
def export(project: Path, stage: str, out: Path, tile: tuple[str, ...], overwrite: bool) -> None:
    """Copy results to files that other programs read.

    Images become OME-TIFF files in the folder OUT, a tile each, with positions and pixel sizes:
    'latticework info OUT' finds the same lattice. One result (of one tile, or of all tiles
    together), or a volume that is divided into blocks, or was stitched, also becomes one file,
    OUT.tif: name that file, since a folder gets the table of a volume's blocks, without pixels.
    Tables and records become one table, OUT.csv or OUT.parquet.
    STAGE may be 'source': the acquisition itself.

    \b
    Examples:
      latticework export brain.lw clean cleaned/ z=3
      latticework export brain.lw clean one.tif z=3 y=1 x=2
      latticework export brain.lw spots spots.csv
      latticework export brain.lw volume brain.ome.tif

    Exit codes: 0 written, 1 written, but tiles without a result are left out, 2 nothing is written.
    """
    from latticework.project import open_project
    from latticework.project.exporting import export_stage

    opened = open_project(project)
    labels = labels_of(opened, stage, tile)
    files = export_stage(opened, stage, out.expanduser(), labels, overwrite=overwrite)
    said = f"Wrote {files[0]}" if len(files) == 1 else f"Wrote {len(files):,} files"
    if files.left_out:
        said += f"; {several(len(files.left_out))} left out: {some(files.left_out)}"
    click.echo(said if len(files) == 1 else f"{said}\nThey are in {files[0].parent}")
    if files.stale:
        click.echo(
            f"Of {several(len(files.stale))} the result is out of date: {some(files.stale)}. "
            f"To make it again: {called()} run {quote(str(project))}"
        )
    if files.left_out:
        sys.exit(FAILED)


def several(n: int) -> str:
    """A number of tiles."""
    return "1 tile" if n == 1 else f"{n:,} tiles"


def some(tiles: Sequence[object], most: int = 5) -> str:
    """The first few of many, and how many more there are."""
    more = f" and {len(tiles) - most:,} more" if len(tiles) > most else ""
    return ", ".join(str(tile) for tile in tiles[:most]) + more


def labels_of(project: "Project", stage: str, words: Sequence[str]) -> dict[str, Any]:
    """Labels from words; an id is turned into the labels of its tile."""
    id, labels = chosen(project, words, stage)
    return labels if id is None else dict(project.pipeline[stage].lattice.tile(id).labels)
