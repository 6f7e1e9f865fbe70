"""The command that serves a project's pages."""

from pathlib import Path

import click

from latticework.cli.looking import PROJECT


@click.command()
@PROJECT
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8799,
    show_default=True,
    help="Where to listen; any free port if 0.",
)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="On which of this machine's addresses to listen.",
)
@click.option("--open/--no-open", "opens", default=False, help="Open it in a browser.")
@click.option(
    "--token",
    "shows_token",
    is_flag=True,
    help="Show the address for control, with the project's token, as well.",
)
def dashboard(project: Path, port: int, address: str, opens: bool, shows_token: bool) -> None:
    """Serve the pages of a project: overview, map, tiles, failures, work, control.

    They are live while something runs it, anywhere, and show how it stands where nothing does. A
    run has the same pages on its Dask dashboard, under /lattice.

    Only this machine can reach them, unless --address says otherwise. From elsewhere, tunnel:
    ssh -L 8799:127.0.0.1:8799 HOST. Whoever reaches them can look; to steer takes the token.

    \b
    Examples:
      latticework dashboard brain.lw
      latticework dashboard brain.lw --port 0 --open --token

    Exit codes: 0 ended with Ctrl-C, 2 there is no such project, or the port is taken.
    """
    from latticework.project import open_project
    from latticework.viz.dashboard.serving import PageServer

    opened = open_project(project)
    with PageServer(opened.path, port=port, address=address) as server:
        click.echo(f"Pages of {opened.name}: {server.url}")
        if shows_token:
            click.echo(f"To steer: {server.control_url}")
        click.echo("Ctrl-C ends this.")
        if opens:
            click.launch(server.url)
        try:
            server.wait()
        except KeyboardInterrupt:
            click.echo("Ended.")
