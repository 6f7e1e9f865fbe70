"""One unit of a stage in the caller's own process, with exactly what a worker would give it."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError
from latticework.project.deriving import standing_of
from latticework.project.ledger import recover
from latticework.project.orders import absent_inputs, records_read, work_order
from latticework.project.pipeline import Node
from latticework.stages.bench import Bench
from latticework.stages.command import Command
from latticework.stages.command_run import run_command
from latticework.stages.computing import computing_here
from latticework.stages.failures import CommandError
from latticework.stages.inputs import Records, arguments_of
from latticework.stages.paths import attempt_log, tile_folder
from latticework.stages.produced import FACTS, Files, staged_files
from latticework.stages.running_units import RunningUnit

if TYPE_CHECKING:
    from latticework.project.project import Project

REPLAYED = 0
"""Number of the attempt that a replay is: no attempt of a run has it."""


@dataclass(frozen=True, slots=True)
class Call:
    """The call of a stage's callable for one unit, with exactly the arguments that a run gives it.

    ::

        call = project.inputs_of("spots", z=3, y=1, x=2)
        call.arguments[0]                      # the labelled tile
        pdb.runcall(call.function, *call.arguments, **call.params)
        call()                                 # what the callable returns
    """

    stage: str
    """Name of the stage."""
    tile: str
    """Name of the unit."""
    function: Callable[..., Any]
    """What is called."""
    arguments: tuple[Any, ...]
    """What it is given of its parents, in order."""
    params: Mapping[str, Any]
    """Its parameters."""

    def __call__(self) -> Any:
        """What the callable returns; Dask collections are computed in this very thread."""
        with computing_here():
            return self.function(*self.arguments, **self.params)

    def __repr__(self) -> str:
        given = [*(_shown(value) for value in self.arguments)]
        given += [f"{name}={_shown(value)}" for name, value in self.params.items()]
        return f"<call of stage {self.stage!r} for {self.tile}: {', '.join(given)}>"


def _shown(value: Any) -> str:
    """An argument, in a few words."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {value.dtype} {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 40 else type(value).__name__


@dataclass(frozen=True, slots=True)
class Ready:
    """A unit that could run now."""

    node: Node
    """Its stage."""
    unit: int
    """Its id."""
    bench: Bench
    """What is opened for it."""
    records: Records
    """Records that it reads."""
    absent: tuple[bytes, ...]
    """Units that are holes to it, by input."""


def ready_unit(
    project: "Project", stage: str, id: int | str | None, labels: Mapping[str, Any], folder: Path
) -> Ready:
    """A unit with all that a worker would have of it; `folder` is its staging folder.

    Raises
    ------
    ProjectError
        If it cannot run: what it reads is not complete, or its code is not at hand.
    """
    node = project.pipeline[stage]
    if node.is_source:
        raise ProjectError("the source was acquired, not made: see project['source'].tile(...)")
    unit = project.unit_row(node, id, labels)
    recover(node)
    if node.stage is None:
        raise ProjectError(f"stage {stage!r} cannot run here: {node.missing}")
    units = np.array([unit], dtype=np.int64)
    standing = standing_of(project.pipeline, node, units)
    if standing.waits[0] or standing.blocked[0] or standing.absent[0]:
        raise ProjectError(
            f"{stage!r} cannot run at {node.lattice.tile(unit).name} now: "
            f"{project.why(stage, unit)}"
        )
    records = records_read(project, node, units)
    return Ready(
        node,
        unit,
        Bench(work_order(project, node, folder)),
        records[0] if records else {},
        absent_inputs(project.pipeline, node, units),
    )


def call_of(
    project: "Project", stage: str, id: int | str | None, labels: Mapping[str, Any]
) -> Call:
    """See `Project.inputs_of`."""
    return _call(ready_unit(project, stage, id, labels, project.path / "staging"))


def _call(ready: Ready) -> Call:
    order = ready.bench.order
    tile = None if order.reduction else ready.bench.lattice.tile(ready.unit)
    arguments, _, _ = arguments_of(ready.bench, ready.unit, tile, ready.records, ready.absent)
    name = "(all tiles)" if tile is None else tile.name
    return Call(order.stage, name, order.function, tuple(arguments), dict(order.params))


def replay(
    project: "Project",
    stage: str,
    id: int | str | None,
    labels: Mapping[str, Any],
    *,
    folder: Path | str | None = None,
) -> Any:
    """See `Project.replay`."""
    given = project.path / "staging" if folder is None else Path(folder).absolute()
    ready = ready_unit(project, stage, id, labels, given)
    if not isinstance(ready.bench.order.function, Command):
        return _call(ready)()
    return _replay_command(ready, Path(tempfile.mkdtemp()) if folder is None else given)


def _replay_command(ready: Ready, folder: Path) -> Any:
    """What a command makes of a unit: its result, or its files, which stay in the folder.

    Raises
    ------
    ProjectError
        If there are files of an earlier replay in the folder.
    """
    order = ready.bench.order = replace(ready.bench.order, staging=folder)
    tile = ready.bench.lattice.tile(ready.unit)
    place = tile_folder(tile.id, tile.name)
    output = staged_files(folder, place)
    if output.exists():
        raise ProjectError(f"{output} has files of an earlier replay: give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    running = RunningUnit(str(folder), 0, ready.unit, REPLAYED).begin()  # take your time
    try:
        made = run_command(
            ready.bench, ready.unit, ready.records, folder, running, absent=ready.absent
        )
    except CommandError as error:
        text = str(error)
        for log, taken in _logs(order.project.absolute(), order.stage, place, folder):
            text = text.replace(str(log), str(taken))
        raise type(error)(text, error.exit_code).with_traceback(error.__traceback__) from error
    finally:
        running.leave()
        for log, taken in _logs(order.project.absolute(), order.stage, place, folder):
            with contextlib.suppress(FileNotFoundError):
                shutil.move(log, taken)
    if not made.files:
        return made.value
    return Files(output, json.loads((output / FACTS).read_text(encoding="utf-8"))["files"])


def _logs(project: Path, stage: str, place: str, folder: Path) -> list[tuple[Path, Path]]:
    """Where the program prints among the project's logs, and where that goes: next to its files."""
    return [
        (attempt_log(project, stage, place, REPLAYED, stream), folder / f"replay.{stream}")
        for stream in ("out", "err", "log")
    ]
