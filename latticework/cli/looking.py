"""Commands that look and change nothing: ``info``, ``status``, ``why``."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.frame import FAILED, called
from latticework.cli.options import acquisition_options, open_acquisition
from latticework.cli.words import TILE, note_project, one_unit, spoken, written

if TYPE_CHECKING:
    from latticework.lattice import Lattice
    from latticework.project import Project

LISTED = 10
"""Problems and failures that are listed at most."""
PROJECT = click.argument("project", type=click.Path(path_type=Path), callback=note_project)


def show_lattice(lattice: "Lattice") -> None:
    """Print what a lattice is, and the tiles that cannot be read."""
    click.echo(repr(lattice))
    for number, (tile, problem) in enumerate(lattice.problems.items()):
        if number == LISTED:
            click.echo(f"  and {len(lattice.problems) - LISTED} more")
            break
        click.secho(f"  cannot be read: {lattice.tile(tile).name}: {problem}", fg="red")


@click.command()
@click.argument("path")
@acquisition_options
@click.option(
    "--map",
    "picture",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw the lattice into a picture (.png, .pdf, .svg).",
)
def info(path: str, picture: Path | None, **opening: Any) -> None:
    """Tell what is in an acquisition or a project.

    Only metadata are read. Where files do not say where their tiles lie, options do; the same
    options go to 'latticework init'.

    \b
    Examples:
      latticework info acquisition/
      latticework info acquisition/ --grid 7x9 --snake --overlap 10% --map map.png
      latticework info plate/ --pattern '{well}_s{site:d}_w{c:d}.tif' --positions stage.csv
      latticework info brain.lw

    Exit codes: 0 all tiles can be read, 1 some cannot (--errors mark), 2 not understood.
    """
    from latticework.stages.paths import project_file

    if project_file(Path(path).expanduser()).is_file():
        lattice = show_project(Path(path))
    else:
        lattice = open_acquisition(path, opening)
        show_lattice(lattice)
        kind = getattr(lattice.source, "kind", None)
        if kind:
            click.echo(f"  {'read as':<11} {kind}")
    if picture is not None:
        from latticework.viz import plot_lattice

        plot_lattice(lattice, path=picture)
        click.echo(f"Map: {picture}")
    if lattice.problems:
        sys.exit(FAILED)


def show_project(path: Path) -> "Lattice":
    """Print what a project holds; its lattice."""
    from latticework.cli.pipelines import remembered
    from latticework.project import open_project

    project = open_project(path)
    click.echo(f"Project {project.name} at {project.path}")
    show_lattice(project.lattice)
    file = remembered(project.path)
    click.echo(f"Pipeline{f' of {file}' if file else ''}:" if len(project) else "No stages yet.")
    for stage in project:
        click.echo(f"  {project[stage]!r}")
    return project.lattice


@click.command()
@PROJECT
@click.option("--stage", help="Only this stage.")
@click.option("--json", "as_json", is_flag=True, help="For programs: counts and failures as JSON.")
@click.option(
    "--png",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw every tile in the colour of its state, stage by stage.",
)
@click.option("--watch", is_flag=True, help="Keep looking until nothing runs the project.")
def status(project: Path, stage: str | None, as_json: bool, png: Path | None, watch: bool) -> None:
    """Show how far each stage is, and what failed.

    It may be looked at while another process runs it.

    \b
    Examples:
      latticework status brain.lw
      latticework status brain.lw --watch
      latticework status brain.lw --png status.png
      latticework status brain.lw --json | jq .stages.clean.counts

    Exit codes: 0 everything is complete, 1 not everything is, 2 there is no such project or stage.
    """
    from latticework.cli import standing
    from latticework.project import open_project

    opened = open_project(project)
    now = standing.look(opened, stage)
    if watch:
        now = standing.watch(opened, stage, now)
    if as_json:
        click.echo(json.dumps(now.to_json(), indent=2))
    elif not watch:
        standing.show(now)
    if png is not None:
        from latticework.viz import plot_status

        plot_status(standing.picture_data(opened, stage), png, title=opened.name)
        click.echo(f"Picture: {png}", err=as_json)
    if not now.complete:
        sys.exit(FAILED)


@click.command()
@PROJECT
@click.argument("stage")
@click.argument("tile", nargs=-1, metavar=TILE)
def why(project: Path, stage: str, tile: tuple[str, ...]) -> None:
    """Explain the state of a tile, with its traceback.

    Without a tile, the first few that are not complete are explained.

    \b
    Examples:
      latticework why brain.lw spots z=3 y=1 x=2
      latticework why brain.lw spots 17
      latticework why brain.lw spots

    Exit codes: 0 explained, 2 there is no such project, stage or tile.
    """
    from latticework.project import open_project

    opened = open_project(project)
    node = opened.pipeline[stage]
    if tile or node.reduction:
        unit, _ = one_unit(opened, stage, tile)
        click.echo(reason(opened, stage, unit))
        text = last_traceback(opened, stage, unit)
        if text:
            click.echo(f"\n{text}")
        return
    explain_some(opened, stage)


def reason(project: "Project", stage: str, unit: int) -> str:
    """`Project.why` in words of the command line."""
    from shlex import quote

    from latticework.lattice.states import State

    text = project.why(stage, unit)
    if project.pipeline[stage].units.state[unit] == State.FAILED:
        again = f"{called()} retry {quote(str(project.path))} --stage {stage}"
        return f"{text.partition('. See project.')[0]}\nTo let it run again: {again}"
    tile = project.pipeline[stage].lattice.tile(unit)
    return spoken(text, written(tile.labels))


def last_traceback(project: "Project", stage: str, unit: int) -> str:
    """The traceback of the last attempt, where that failed; empty if it did not."""
    from latticework.lattice.states import State

    node = project.pipeline[stage]
    if node.id == 0 or node.units.state[unit] == State.COMPLETE:
        return ""
    attempts = project.attempts(stage, None if node.reduction else unit)
    if not len(attempts):
        return ""
    last = attempts.iloc[-1]
    text = last["traceback"]
    return f"Attempt {last['attempt']}: {text.strip()}" if isinstance(text, str) else ""


def explain_some(project: "Project", stage: str) -> None:
    """Explain the first few tiles of each state that is not complete."""
    import numpy as np

    from latticework.lattice.states import State

    node = project.pipeline[stage]
    some = False
    for state in (State.FAILED, State.CANCELLED, State.BLOCKED, State.STALE, State.WAITING):
        units = np.flatnonzero(node.units.state == state)
        if not len(units):
            continue
        some = True
        click.secho(f"{len(units):,} {state.label}", bold=True)
        for unit in units[:3].tolist():
            tile = node.lattice.tile(unit)
            explained = project.why(stage, unit).partition(". See project.")[0]
            click.echo(f"  {tile.name} {tile.address}: {spoken(explained, written(tile.labels))}")
        if len(units) > 3:
            click.echo(f"  and {len(units) - 3:,} more")
    if not some:
        click.echo(f"complete: all {len(node.units):,} tiles")
