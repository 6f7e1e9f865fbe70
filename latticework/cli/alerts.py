"""Commands about what happens by itself: ``events``, ``nodes``, ``set-aside``, ``take-back``."""

import json
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from latticework.cli.frame import called
from latticework.cli.looking import PROJECT
from latticework.cli.steering import go_on

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project import Project

LISTED = 50
"""Events that are shown if nothing else is said."""


@click.command()
@PROJECT
@click.option("--kind", help="Only events of this kind, as in 'node set aside'.")
@click.option("--stage", help="Only events about this stage.")
@click.option("--since", metavar="TIME", help="From this time on: '2026-03-01 14:00', or '2h' ago.")
@click.option("--last", type=click.IntRange(min=1), default=LISTED, show_default=True,
              metavar="N", help="The last N.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For programs: a list, as JSON.")
def events(
    project: Path,
    kind: str | None,
    stage: str | None,
    since: str | None,
    last: int,
    as_json: bool,
) -> None:
    """Show what has happened, with times in UTC.

    Runs, first failures, stages that paused themselves, hosts that were set aside.

    \b
    Examples:
      latticework events brain.lw
      latticework events brain.lw --kind 'stage paused itself'
      latticework events brain.lw --since 2h --json

    Exit codes: 0 shown, 2 there is no such project or kind of event.
    """
    from latticework.project import open_project

    table = open_project(project).events(kind, stage=stage, since=since, limit=last)
    if as_json:
        rows = json.loads(table.to_json(orient="records", date_format="iso"))
        click.echo(json.dumps(rows, indent=2))
        return
    times = table["time"].dt.strftime("%Y-%m-%d %H:%M:%S")
    for at, message in zip(times, table["message"], strict=True):
        click.echo(f"{at}  {_one_line(message)}")
    if not len(table):
        click.echo("No events.")


@click.command()
@PROJECT
@click.option("--json", "as_json", is_flag=True, help="For programs: a list, as JSON.")
def nodes(project: Path, as_json: bool) -> None:
    """Show the hosts and how it went there.

    \b
    Examples:
      latticework nodes brain.lw
      latticework nodes brain.lw --json

    Exit codes: 0 shown, 2 there is no such project.
    """
    from latticework.project import open_project

    table = open_project(project).nodes()
    if as_json:
        rows = table.reset_index().to_json(orient="records", date_format="iso")
        click.echo(json.dumps(json.loads(rows), indent=2))
    elif not len(table):
        click.echo("Nothing has run yet.")
    else:
        click.echo(_as_text(table))


def _as_text(table: "pd.DataFrame") -> str:
    """Hosts as lines."""
    shown = table.drop(columns=["set_aside", "why"])
    text = shown.reset_index().to_string(index=False).splitlines()
    notes = ["", *(f"set aside: {_one_line(why)}" if why else "" for why in table["why"])]
    return "\n".join(f"{line}  {note}".rstrip() for line, note in zip(text, notes, strict=True))


def _one_line(text: str) -> str:
    from latticework.viz.words import plain

    return plain(text)


@click.command("set-aside")
@PROJECT
@click.argument("host")
@click.option("--why", default="a user said so", help="A reason, for those who look later.")
def set_aside(project: Path, host: str, why: str) -> None:
    """Give a host no more work.

    A run does this by itself with a host that fails much more than the others. What had failed
    there in the run that goes on is tried again elsewhere. Where no worker is left on another
    host, the host is used all the same.

    \b
    Examples:
      latticework set-aside brain.lw node017 --why 'its disk is full'

    Exit codes: 0 done, 2 there is no such project.
    """
    from latticework.project import open_project

    opened = open_project(project)
    known = host in opened.nodes().index
    opened.set_aside(host, why)
    back = f"{called()} take-back {quote(str(project))} {quote(host)}"
    click.echo(f"Set aside: {host}. To give it work again: {back}")
    if not known:
        click.echo(f"No work was done on {host} so far: is that its name?", err=True)


@click.command("take-back")
@PROJECT
@click.argument("host")
def take_back(project: Path, host: str) -> None:
    """Give a host that was set aside work again.

    \b
    Examples:
      latticework take-back brain.lw node017

    Exit codes: 0 done, 2 there is no such project, or the host is not set aside.
    """
    from latticework.project import open_project

    opened: Project = open_project(project)
    opened.take_back(host)
    click.echo(f"Taken back: {host}. {go_on(opened, project)}")


@click.command()
@PROJECT
@click.argument("stage", nargs=-1)
@click.option("--after", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
              help="Units that must have come to an end first.")  # fmt: skip
@click.option("--share", type=click.FloatRange(0, 1, max_open=True), default=0.5,
              show_default=True, help="More than this share of them have failed.")  # fmt: skip
@click.option("--never", is_flag=True, help="These stages never pause themselves.")
def patience(project: Path, stage: tuple[str, ...], after: int, share: float, never: bool) -> None:
    """Say when a stage pauses itself.

    It does so when too many of its first units have failed.

    Without a stage all are meant. A stage that has paused itself goes on with 'latticework resume',
    'latticework retry', or when it is changed.

    \b
    Examples:
      latticework patience brain.lw --after 50
      latticework patience brain.lw spots --never

    Exit codes: 0 done, 2 there is no such project or stage.
    """
    from latticework.project import open_project

    open_project(project).set_patience(*stage, after=None if never else after, share=share)
    whose = f"{', '.join(stage)} pauses" if len(stage) == 1 else "stages pause"
    whose = f"{', '.join(stage)} pause" if len(stage) > 1 else whose
    own = "itself" if len(stage) == 1 else "themselves"
    how = f"when more than {share:.0%} of at least {after} units have failed"
    click.echo(f"From now on {whose} {own} {'never' if never else how}.")
