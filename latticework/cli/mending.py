"""Commands that find what is damaged and mend it: ``verify`` and ``recover``."""

import json
import sys
from pathlib import Path

import click

from latticework.cli.frame import FAILED, called
from latticework.cli.looking import PROJECT
from latticework.cli.words import typed_project
from latticework.viz.words import plural

LISTED = 20
"""Damaged files that are listed at most."""


@click.command()
@PROJECT
@click.argument("stage", nargs=-1)
@click.option("--thorough", is_flag=True, help="Read and decode everything, not only look at it.")
@click.option("--only-tell", is_flag=True, help="Change nothing: what is damaged stays complete.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it for programs.")
def verify(
    *, project: Path, stage: tuple[str, ...], thorough: bool, only_tell: bool, as_json: bool
) -> None:
    """See whether all that was made is still there, and whole.

    What is damaged is stale from then on: the next run makes it again, and then what read it.
    Until then it counts as damaged here.

    \b
    Examples:
      latticework verify brain.lw
      latticework verify brain.lw clean --thorough

    Exit codes: 0 all is whole, 1 something is damaged, 2 there is no such project or stage.
    """
    from latticework.project import open_project

    table = open_project(project).verify(stage or None, thorough=thorough, mark=not only_tell)
    if as_json:
        click.echo(json.dumps(table.to_dict("records"), indent=1))
    elif not len(table):
        click.echo("Everything that was made is there and whole.")
    else:
        for row in table[:LISTED].to_dict("records"):
            click.echo(f"{row['stage']} {row['tile']}: {row['file']}: {row['problem']}")
        if len(table) > LISTED:
            click.echo(f"and {len(table) - LISTED:,} more")
        wait = int(table["waits"].sum())
        made = f"'{called()} run {typed_project()}' makes"
        if len(table) > wait:
            then = "" if only_tell else f"; {made} {'it' if len(table) == 1 else 'them'} again"
            click.echo(f"{plural(len(table) - wait, 'unit')} damaged{then}")
        if wait:
            waits = f"{plural(wait, 'damaged unit')} {'waits' if wait == 1 else 'wait'}"
            then = "" if len(table) > wait else f"; {made} {'it' if wait == 1 else 'them'}"
            click.echo(f"{waits} to be made again{then}")
    if len(table):
        sys.exit(FAILED)


@click.command()
@PROJECT
def recover(project: Path) -> None:
    """Make a journal anew that is damaged or gone.

    From what can be read of it, its spare, and what is on disk. No result is touched; the damaged
    journal is kept aside. What is not surely what the journal says is made again by the next run.

    \b
    Examples:
      latticework recover brain.lw

    Exit codes: 0 there is a journal again, 2 there is no such project, or something runs it.
    """
    from latticework.project import recover as recover_project

    click.echo(str(recover_project(project)))
