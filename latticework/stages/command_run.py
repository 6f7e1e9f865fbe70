"""One attempt of a command: fill in its templates, run it, check what it made."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latticework.io.trouble import free_bytes
from latticework.lattice.halo import HaloPlan
from latticework.lattice.tile import Tile
from latticework.stages.bench import Bench, OpenInput
from latticework.stages.command import Command
from latticework.stages.command_files import check_file, read_result, size_of
from latticework.stages.command_inputs import CommandInputs
from latticework.stages.command_values import Values, values_of
from latticework.stages.failures import CommandError, OutputCheckError
from latticework.stages.inputs import Records
from latticework.stages.paths import attempt_log, tile_folder
from latticework.stages.placeholders import parse, text_of
from latticework.stages.processes import Ended, run_process
from latticework.stages.produced import remove_all_but, staged_files, write_facts
from latticework.stages.running_units import RunningUnit

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
"""What tells programs how many threads to use."""


@dataclass(frozen=True, slots=True)
class CommandMade:
    """What one attempt of a command made."""

    exit_code: int
    """Of the program."""
    value: Any
    """What the file that is the result holds; None without one."""
    files: bool
    """Whether there are files to publish."""
    bytes_read: int
    """Of what it was given."""
    bytes_written: int
    """Of its files."""
    haloed: tuple[OpenInput, HaloPlan] | None
    """What it was given with a halo."""


def run_command(
    bench: Bench,
    unit: int,
    records: Records,
    staging: Path,
    running: RunningUnit,
    *,
    absent: Sequence[bytes] = (),
) -> CommandMade:
    """Run a stage's command for one unit.

    Parameters
    ----------
    bench
        What is opened for the stage.
    unit
        Id of the unit.
    records
        Records that it reads, as JSON, by parent and unit.
    staging
        The batch's staging folder: its files are left in ``files/<tile folder>`` there.
    running
        The unit as it runs here, with the number of the attempt.
    absent
        For each input, int64 ids of its units that are holes; empty where there are none at all.

    Raises
    ------
    CommandError
        If the program cannot be started or ends with another exit code than is `Command.ok`.
    OutputCheckError
        If a declared file is not there or not as declared.
    """
    order, tile = bench.order, bench.lattice.tile(unit)
    command: Command = order.function  # type: ignore[assignment]
    folder = tile_folder(tile.id, tile.name)
    output = staged_files(staging.absolute(), folder)
    scratch = staging.absolute() / "scratch" / str(unit)
    logs = {
        stream: attempt_log(order.project.absolute(), order.stage, folder, running.attempt, stream)
        for stream in ("out", "err", "log")
    }
    try:
        for path in (output, scratch):
            path.mkdir(parents=True)
        inputs = CommandInputs(bench, unit, records, absent, scratch, command)
        folders = {"output": output, "scratch": scratch, "log": logs["log"]}
        values = values_of(inputs, tile, attempt=running.attempt, folders=folders)
        declared = {
            name: inside(output, parse(f.path).fill(values), name)
            for name, f in command.files.items()
        }
        values = values.with_values(
            **{f"file.{name}": str(output / path) for name, path in declared.items()}
        )
        for file in declared.values():  # a program does not make folders for its files
            (output / file).parent.mkdir(parents=True, exist_ok=True)
        ended = _run(command, values, output, logs, running)
        _check_code(command, ended, tile, logs)
        made = _made(command, declared, output, tile, inputs, ended.exit_code)
        if made.files:
            facts = {"stage": order.stage, "unit": unit, "attempt": running.attempt}
            write_facts(output, declared, facts)
        else:
            shutil.rmtree(output, ignore_errors=True)
    except BaseException as error:
        if isinstance(error, CommandError):  # before its files make room
            error.free_bytes = free_bytes(output)
        shutil.rmtree(output, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return made


def inside(output: Path, path: str, name: str) -> str:
    """The path of a declared file with its placeholders filled in, if it is in its folder.

    Raises
    ------
    OutputCheckError
        If it leads out of it.
    """
    parts = Path(path).parts
    if not parts or Path(path).is_absolute() or ".." in parts or "\0" in path:
        raise OutputCheckError(
            f"the declared file {name!r} would be {path!r}, which is no path in the output folder "
            f"{output.name}: its placeholders must not lead out of it"
        )
    return path


def _run(
    command: Command, values: Values, output: Path, logs: Mapping[str, Path], running: RunningUnit
) -> Ended:
    if command.shell is None:
        argv = [text for element in command.argv for text in parse(element).expand(values)]
    else:
        argv = [command.shell, "-c", parse(command.argv[0]).quoted(values)]
    if "log" in command.placeholders:
        logs["log"].parent.mkdir(parents=True, exist_ok=True)
    cwd = output if command.cwd is None else Path(parse(command.cwd).fill(values))
    return run_process(
        argv,
        cwd=cwd,
        env=environment(command, values),
        out=logs["out"],
        err=logs["err"],
        unit=running,
    )


def environment(command: Command, values: Values) -> dict[str, str]:
    """The worker's environment, facts of the unit, threads, and what the command says."""
    env = dict(os.environ)
    for name in ("project_root", "stage", "tile", "unit", "attempt", "output", "log", "cores"):
        env[f"LATTICEWORK_{name.upper()}"] = text_of(name, values[name])
    env |= dict.fromkeys(THREAD_VARIABLES, text_of("cores", values["cores"]))
    return env | {name: parse(text).fill(values) for name, text in command.env.items()}


def _check_code(command: Command, ended: Ended, tile: Tile, logs: Mapping[str, Path]) -> None:
    if ended.exit_code in command.ok:
        return
    expected = " or ".join(map(str, command.ok))
    how = (
        f"was ended by signal {-ended.exit_code}"
        if ended.exit_code < 0
        else f"exited with {ended.exit_code}"
    )
    printed = f":\n{ended.last_lines}\n" if ended.last_lines else " and printed nothing; "
    where = next((logs[name] for name in ("err", "out") if logs[name].exists()), logs["err"])
    told = f"log at {where}" if ended.last_lines else "its last words may be in a log of its own"
    raise CommandError(
        f"command {how} (expected {expected}) for tile {tile.name} {tile.address}{printed}{told}",
        ended.exit_code,
    )


def _made(
    command: Command,
    declared: Mapping[str, str],
    output: Path,
    tile: Tile,
    inputs: CommandInputs,
    exit_code: int,
) -> CommandMade:
    try:
        for name, path in declared.items():
            check_file(output / path, command.files[name], name, tile.shape)
        value = None
        if command.result is not None:
            file = output / declared[command.result]
            value = read_result(file, command.files[command.result], command.result)
    except CommandError as error:
        error.exit_code = exit_code
        error.args = (f"{error.args[0]} (tile {tile.name} {tile.address})",)
        raise
    if command.keep == "declared":
        remove_all_but(output, {output / path for path in declared.values()})
    files = command.result is None and bool(declared)
    size = size_of(output) if files else 0
    return CommandMade(exit_code, value, files, inputs.bytes_read, size, inputs.haloed)
