"""Commands that steer runs and units: ``pause``, ``resume``, ``stop``, ``cancel``, ``retry``."""

import time
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.frame import called
from latticework.cli.looking import PROJECT
from latticework.cli.options import F, Names, with_options
from latticework.cli.words import TILES, chosen
from latticework.cli.working import several

if TYPE_CHECKING:
    from latticework.project import Project

RETRIED = ("failed", "cancelled", "complete", "stale")
UNITS: tuple[Callable[[Any], Any], ...] = (
    click.option("--stage", type=Names(), help="Only these stages, as in clean,spots."),
    click.option("--tile", help="Only this tile: its id or its name."),
    click.option(
        "--where", multiple=True, metavar="AXIS=LABELS",
        help="Only tiles with these labels, as in z=3, y=1:4 or x=2,5; may be repeated.",
    ),
    click.argument("tiles", nargs=-1, metavar=TILES),
)  # fmt: skip
"""Which units are meant."""


def units_options(command: F) -> F:
    """Give a command what says which units are meant."""
    return with_options(command, UNITS)


def units_meant(
    project: "Project", stage: list[str] | None, tile: str | None, words: tuple[str, ...]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of `Project.retry` and `Project.cancel`, from what was typed."""
    words = (*words, *(() if tile is None else (tile,)))
    id, labels = chosen(project, words, stage[0] if stage else None)
    return (stage, id), labels


def go_on(project: "Project", typed: Path) -> str:
    """What to do next: nothing where a run goes on."""
    if project.is_run():
        return "The run does it now."
    return f"Next: {called()} run {quote(str(typed))}"


@click.command()
@PROJECT
@click.argument("stage", nargs=-1)
def pause(project: Path, stage: tuple[str, ...]) -> None:
    """Send no more units of some stages, or of all.

    What runs is finished. A run waits for what is paused while it runs; what was paused before it
    began, it leaves out.

    \b
    Examples:
      latticework pause brain.lw
      latticework pause brain.lw spots segment

    Exit codes: 0 paused, 2 there is no such project or stage.
    """
    from latticework.project import open_project

    opened = open_project(project)
    opened.pause(*stage)
    again = f"{called()} resume {quote(str(project))}"
    what = ", ".join(stage) or "the whole project"
    click.echo(f"Paused: {what}. To go on: {' '.join((again, *map(quote, stage)))}")


@click.command()
@PROJECT
@click.argument("stage", nargs=-1)
def resume(project: Path, stage: tuple[str, ...]) -> None:
    """Go on with some stages, or with the project.

    Stages that were paused by themselves stay paused when the project is resumed.

    \b
    Examples:
      latticework resume brain.lw
      latticework resume brain.lw spots

    Exit codes: 0 done, 2 there is no such project or stage.
    """
    from latticework.project import open_project

    opened = open_project(project)
    opened.resume(*stage)
    settings = open_project(project).settings
    click.echo(f"Resumed: {', '.join(stage) or 'the project'}. {go_on(opened, project)}")
    if settings.paused:
        click.echo(f"The project itself is paused: {called()} resume {quote(str(project))}")
    elif settings.paused_stages and not stage:
        click.echo(f"Still paused by themselves: {', '.join(settings.paused_stages)}")


@click.command()
@PROJECT
@click.option("--wait", is_flag=True, help="Return when the run has ended.")
def stop(project: Path, wait: bool) -> None:
    """End the run of a project, wherever it runs.

    Nothing more is sent, and what is out is finished. The next run goes on from there.

    \b
    Examples:
      latticework stop brain.lw
      latticework stop brain.lw --wait

    Exit codes: 0 told to stop (with --wait: stopped), 2 nothing runs the project.
    """
    from latticework.project import open_project

    opened = open_project(project)
    holder = opened.lock().holder() if opened.is_run() else None
    opened.stop()
    click.echo(f"Told to stop: {holder or 'the run'}")
    while wait and opened.is_run():
        time.sleep(0.1)
    if wait:
        click.echo("Stopped.")


@click.command()
@PROJECT
@units_options
@click.option("--all", "everything", is_flag=True, help="All that is not done, in every stage.")
def cancel(
    project: Path,
    stage: list[str] | None,
    tile: str | None,
    where: tuple[str, ...],
    tiles: tuple[str, ...],
    everything: bool,
) -> None:
    """Cancel units that wait or run.

    Programs that run for them are ended. They stay cancelled until 'latticework retry'. What reads
    them is blocked.

    \b
    Examples:
      latticework cancel brain.lw --stage spots z=3 y=1 x=2
      latticework cancel brain.lw --stage spots,segment --where z=3 --where y=1:4
      latticework cancel brain.lw --tile 17
      latticework cancel brain.lw --all

    Exit codes: 0 done, 2 there is no such project, stage or tile.
    """
    from latticework.project import open_project

    words = (*tiles, *where)
    if not (stage or tile or words or everything):
        raise click.UsageError("say what to cancel: --stage, tiles as in z=3 y=1:4, or --all")
    opened = open_project(project)
    given, labels = units_meant(opened, stage, tile, words)
    n = opened.cancel(*given, **labels)
    if not n:
        click.echo("Nothing to cancel: nothing there waits or runs.")
        return
    again = [*(("--stage", ",".join(stage)) if stage else ()), *words]
    again += [] if tile is None else ["--tile", tile]
    typed = " ".join(map(quote, (str(project), *again)))
    click.echo(f"Cancelled {several(n)}. Once more: {called()} retry {typed}")


@click.command()
@PROJECT
@units_options
@click.option(
    "--state", type=Names(),
    help=f"Only units in these states: {', '.join(RETRIED)}; failed,cancelled if not given.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Complete tiles too: make them again.")
def retry(
    project: Path,
    stage: list[str] | None,
    tile: str | None,
    where: tuple[str, ...],
    tiles: tuple[str, ...],
    state: list[str] | None,
    everything: bool,
) -> None:
    """Let failed and cancelled tiles run again.

    Without a tile, all that failed or were cancelled are meant; labels choose some (y=1 alone: a
    whole row). If the project runs, they run at once, else in the next run.

    \b
    Examples:
      latticework retry brain.lw
      latticework retry brain.lw --stage spots z=3 y=1 x=2
      latticework retry brain.lw --state cancelled --where z=3 --where y=1:4
      latticework retry brain.lw --stage clean --all y=1

    Exit codes: 0 done, 2 there is no such project, stage, state or tile.
    """
    from latticework.project import open_project

    wrong = [name for name in state or () if name not in RETRIED]
    if wrong:
        raise click.UsageError(f"--state {wrong[0]}: there are {', '.join(RETRIED)}")
    opened = open_project(project)
    given, labels = units_meant(opened, stage, tile, (*tiles, *where))
    n = opened.retry(*given, failed=not everything, states=state, **labels)
    if not n:
        said = "make again" if everything else "retry: nothing there has failed"
        click.echo(f"Nothing to {said}.")
        return
    click.echo(f"{several(n)} will run again. {go_on(opened, project)}")
