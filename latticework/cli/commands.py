"""All commands together."""

import click

from latticework import __version__
from latticework.cli.acquiring import end, reinstate, watch, withdraw
from latticework.cli.alerts import events, nodes, patience, set_aside, take_back
from latticework.cli.dashboard import dashboard
from latticework.cli.demonstrating import demo
from latticework.cli.editing import add, change, explain, remove
from latticework.cli.frame import Commands
from latticework.cli.looking import info, status, why
from latticework.cli.mending import recover, verify
from latticework.cli.remembering import copy, history, log, provenance, replay
from latticework.cli.scope import parameters, prioritise, region, skip, unskip
from latticework.cli.steering import cancel, pause, resume, retry, stop
from latticework.cli.stitching import stitch
from latticework.cli.working import export, init, run

EPILOG = """\b
A first look:            latticework demo
What is in a folder:     latticework info acquisition/
Tiles to a volume:       latticework stitch acquisition/ brain.ome.zarr
A project of your own:   latticework init acquisition/ brain.lw --pipeline pipeline.py
                         latticework run brain.lw
How it stands:           latticework status brain.lw
While it is acquired:    latticework watch acquisition/ brain.lw --pipeline pipeline.py
Steer it, at any time:   latticework pause brain.lw, change brain.lw clean size=5, ...

Every command explains itself: latticework run --help.

\b
Exit codes:
  0    all is well
  1    something failed or is not complete
  2    what was asked cannot be done; the message says why
  130  interrupted with Ctrl-C
"""


@click.group(cls=Commands, epilog=EPILOG, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="latticework")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def commands(debug: bool) -> None:
    """Turn the tiles of a microscope acquisition into finished results, without losing a tile.

    An acquisition is a folder of images. A project is a folder that latticework makes: it remembers
    the lattice of the tiles, the pipeline, the state of every tile in every stage, and the results.
    A pipeline is a Python file.
    """
    del debug  # `Commands` reads it


commands.add_section(
    "Look", demo, info, status, dashboard, why, events, nodes, history, log, provenance
)
commands.add_section("Run", stitch, init, run, stop, export, replay, copy)
commands.add_section("Mend", verify, recover)
commands.add_section("Acquisitions that go on", watch, end, withdraw, reinstate)
commands.add_section("Steer units", pause, resume, cancel, retry, prioritise, region, skip, unskip)
commands.add_section("Failures", patience, set_aside, take_back)
commands.add_section("Steer the pipeline", explain, add, change, remove, parameters)
