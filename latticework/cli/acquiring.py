"""Commands for acquisitions that go on: ``watch``, ``end``, ``withdraw``, ``reinstate``."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latticework.cli.frame import called
from latticework.cli.looking import PROJECT, show_lattice
from latticework.cli.options import command_words, place_options, with_options
from latticework.cli.steering import go_on
from latticework.cli.words import TILES, note_project, selection, spoken
from latticework.cli.working import (
    PIPELINE,
    POOLS,
    PROGRESS,
    SCHEDULER,
    STAGES,
    WORKERS,
    Spoken,
    finish,
    free_folder,
    one_place,
    read_pipeline,
    several,
    where,
)
from latticework.errors import ProjectError

if TYPE_CHECKING:
    from latticework.cli.pipelines import PipelineProject
    from latticework.viz.progress import Kind

WATCHING: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--end", metavar="MARKER|N",
        help="What ends the acquisition: a file of this name in the folder, or N tiles; all tiles "
        "of --grid if not given.",
    ),
    click.option(
        "--first", type=click.IntRange(min=0), metavar="N",
        help="With --grid: number of the first tile, as in 0 or 1, where names do not show it.",
    ),
    click.option(
        "--settle", "settle_s", type=click.FloatRange(min=0), metavar="S", default=2.0,
        show_default=True, help="Seconds for which a file must not have changed before it is read.",
    ),
    click.option(
        "--done-marker", metavar="NAME",
        help="A file beside each finished one says so: '*.done', '{stem}.done', '{name}.done'.",
    ),
    click.option(
        "--removed", type=click.Choice(["keep", "withdraw"]), default="keep", show_default=True,
        help="What a file that leaves means: nothing, or that its tile leaves too.",
    ),
    click.option(
        "--interval", "interval_s", type=click.FloatRange(min=0.05), metavar="S", default=2.0,
        show_default=True, help="Seconds between two looks.",
    ),
)  # fmt: skip
"""How a folder is watched."""


def watching_options(command: Any) -> Any:
    """Give a command what says how a folder is watched."""
    return with_options(command, WATCHING)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("project", required=False, type=click.Path(path_type=Path))
@PIPELINE
@watching_options
@place_options
@WORKERS
@SCHEDULER
@POOLS
@STAGES
@PROGRESS
@click.option("--name", help="Name of the project; the folder's if not given.")
@click.pass_context
def watch(
    context: click.Context,
    /,
    *,
    folder: Path,
    project: Path | None,
    pipeline: Path | None,
    interval_s: float,
    workers: int | None,
    scheduler: str | None,
    pools: Path | None,
    stages: list[str] | None,
    progress: "Kind",
    name: str | None,
    **watching: Any,
) -> None:
    """Run while the microscope does, with tiles that arrive.

    Tiles that arrive in FOLDER join the lattice and flow through the stages. The project is made
    from the first tiles; FOLDER need not be there yet. Files that are not finished are not read;
    what is imaged again is made again. FOLDER may also be a list of tiles, such as MouseLight's
    dashboard.json. It ends when the acquisition has ended ('--end', or 'latticework end') and
    everything is done.

    Ctrl-C is safe, and so is a crash: the same command goes on from there, with all that arrived
    meanwhile. FOLDER may then be the project itself: it remembers what it watched, and how.

    \b
    Examples:
      latticework watch /microscope/brain-7 brain.lw --pipeline pipeline.py --end FINISHED
      latticework watch incoming/ brain.lw --pattern 'y{y}_x{x}.tif' --overlap 10% --end 300
      latticework watch brain.lw

    Exit codes: 0 all has arrived and is complete, 1 something failed, 2 it could not run, 130
    Ctrl-C.
    """
    from latticework.cli.pipelines import PipelineProject
    from latticework.project.summary import RunSummary
    from latticework.stages.paths import project_file

    one_place(workers, scheduler, pools)
    source: Path | None = folder
    if project is None:
        if not project_file(folder.expanduser()).is_file():
            raise click.UsageError(
                f"say which project: {called()} watch {quote(str(folder))} PROJECT"
            )
        source, project = None, folder
    options = typed_options(context, watching)
    if source is not None:
        check_list(source, options)
    note_project(context, None, project)
    said: list[str] = []
    with command_words():
        if not project_file(project.expanduser()).is_file():
            assert source is not None
            opened = begin(source, project, pipeline, name, interval_s, options, said)
        else:
            opened = PipelineProject(project)
            if pipeline is not None or len(opened):
                read_pipeline(opened, pipeline)
        if not len(opened):
            add = f"{called()} add {quote(str(project))}"
            click.echo(f"No stages yet: tiles join, and nothing is made of them. See {add} --help")
        with where(workers, scheduler, pools) as cluster:
            summary = opened.watch(
                source,
                cluster,
                interval_s=interval_s,
                stages=stages,
                progress=Spoken(progress, said),
                **options,
            )
        assert isinstance(summary, RunSummary)
    if progress == "none":
        click.echo(spoken(str(summary)))
    finish(opened, project, summary, stages, going_on=opened.settings.open)


def begin(
    folder: Path,
    project: Path,
    pipeline: Path | None,
    name: str | None,
    interval_s: float,
    options: Mapping[str, Any],
    said: list[str],
) -> "PipelineProject":
    """The project of the first tiles that arrive, with the stages of its pipeline file.

    What it prints while it waits is kept in `said`.
    """
    from latticework.cli.pipelines import PipelineProject, pipeline_function
    from latticework.project.watching import create_watched

    free_folder(project)
    if pipeline is not None:
        pipeline_function(pipeline)

    def waiting(note: str) -> None:
        said.append(note)
        click.echo(spoken(note))

    path = create_watched(
        project, folder, name=name, interval_s=interval_s, waiting=waiting, **options
    ).path
    opened = PipelineProject(path)
    show_lattice(opened.lattice)
    if pipeline is None:
        return opened
    try:
        done = read_pipeline(opened, pipeline)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)  # made a moment ago, by us
        raise
    assert done is not None
    click.echo(f"Stages: {', '.join(done.stages)}")
    return opened


def typed_options(context: click.Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `latticework.io.watch_folder` that were typed; what was not is as it was."""
    options = {
        name: value
        for name, value in given.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if "pixel_size" in options:
        options["pixel_size_um"] = options.pop("pixel_size")
    if "dims" in options:
        options["dims"] = tuple(options["dims"])
    if "end" in options and options["end"].isdigit():
        options["end"] = int(options["end"])
    return options


def check_list(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse options that say nothing of a list of tiles.

    Raises
    ------
    click.UsageError
        Naming the list.
    """
    from latticework.io.mouselight import find_input

    path = path.expanduser()
    listed = path if path.is_file() else find_input(path)
    if listed is None:
        return
    wrong = [name for name in ("done_marker", "removed", "first") if name in options]
    if isinstance(options.get("end"), str):
        wrong.append("end")
    if wrong:
        option = wrong[0].replace("_", "-")
        number = " (or give the number of its tiles)" if option == "end" else ""
        raise click.UsageError(
            f"--{option}: {listed} says itself which tiles there are and are finished: leave it "
            f"out{number}"
        )


@click.command()
@PROJECT
def end(project: Path) -> None:
    """Say that the acquisition is over.

    No more tiles will come. What waits for neighbours or planes to become whole runs without what
    is missing. A watched run looks once more, and ends when everything is done.

    \b
    Examples:
      latticework end brain.lw

    Exit codes: 0 done, 2 there is no such project.
    """
    from latticework.cli.settings import held_lines
    from latticework.project import open_project
    from latticework.project.following import read_following
    from latticework.viz.words import plural

    opened = open_project(project)
    if not opened.settings.open:
        click.echo("No more tiles were expected anyway.")
        return
    following = read_following(opened.path) if opened.is_run() else None
    if following is not None and following.n_held:
        click.echo(
            f"{plural(following.n_held, 'file')} seen but not read yet: what is whole by then "
            "joins, what cannot be read joins as a problem or is left out:",
            err=True,
        )
        for line in held_lines(following):
            click.echo(line, err=True)
    opened.end_acquisition()
    click.echo(f"The acquisition is over. {go_on(opened, project)}")


@click.command()
@PROJECT
@click.argument("tiles", nargs=-1, required=True, metavar=TILES)
def withdraw(project: Path, tiles: tuple[str, ...]) -> None:
    """Let tiles leave, as if they had not been acquired.

    What was made with them runs again without. Their files stay, and 'reinstate' brings them back.

    \b
    Examples:
      latticework withdraw brain.lw 17 18
      latticework withdraw brain.lw z=3 y=1:4

    Exit codes: 0 done, 2 there is no such project or tile.
    """
    _presence(project, tiles, "withdraw", "left", "are there to be withdrawn")


@click.command()
@PROJECT
@click.argument("tiles", nargs=-1, required=True, metavar=TILES)
def reinstate(project: Path, tiles: tuple[str, ...]) -> None:
    """Let tiles that were withdrawn come back.

    \b
    Examples:
      latticework reinstate brain.lw 17
      latticework reinstate brain.lw z=3

    Exit codes: 0 done, 2 there is no such project or tile.
    """
    _presence(project, tiles, "reinstate", "came back", "were withdrawn")


def _presence(
    project: Path, words: tuple[str, ...], command: str, happened: str, needed: str
) -> None:
    """Withdraw or reinstate tiles, and say how many."""
    from latticework.project import open_project
    from latticework.project.selecting import check_labels
    from latticework.project.settings import bounds_of

    opened = open_project(project)
    lattice = opened.lattice
    if any("=" in word for word in words) and selection(lattice, words)[0] is None:
        labels = selection(lattice, words)[1]
        asked: dict[str, Any] = {"bounds": bounds_of(lattice, labels)}
        check_labels([lattice], labels)
    else:
        ids = [selection(lattice, [word])[0] for word in words]
        asked = {"units": [lattice.tile(id).id for id in ids if id is not None]}
    n = int(opened.ask(command, asked))
    if not n:
        raise ProjectError(f"none of these tiles {needed}: {' '.join(words)}")
    click.echo(f"{several(n)} {happened}. {go_on(opened, project)}")
