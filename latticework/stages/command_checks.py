"""Commands checked against the pipeline that they are added to, before anything runs."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any

from latticework.errors import StageError
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.stages.collections import offset_names
from latticework.stages.command import AXIS, Command
from latticework.stages.placeholders import FIXED, PLACEHOLDERS, unknown
from latticework.stages.reads import reads_of
from latticework.stages.stage import Stage


def check_command(
    stage: Stage,
    lattice: Lattice,
    parents: Mapping[str, Mapping[str, Any] | None],
    parameters: Mapping[str, Any],
) -> None:
    """Refuse a command whose placeholders will have no value; other stages pass.

    Parameters
    ----------
    stage
        The stage.
    lattice
        The lattice of its units.
    parents
        For each parent, the ``function`` of its stored definition; None for the acquisition.
    parameters
        Parameters of the project.

    Raises
    ------
    StageError
        Naming one, with those that there are.
    """
    if not isinstance(stage.function, Command):
        return
    patterns = [reads_of(stage.reads, name) for name in parents]
    offsets = [
        name
        for pattern in patterns
        if pattern.pattern == "neighbours"
        for name in offset_names(pattern.resolved_offsets(lattice.dims), lattice.dims)
    ]
    check_placeholders(
        stage.function,
        lattice=lattice,
        params=stage.params,
        project=parameters,
        parents={name: declared_files(function or {}) for name, function in parents.items()},
        offsets=tuple(dict.fromkeys(offsets)),
    )


def parameters_used(function: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those parameters of a project that a command uses: they decide what it makes.

    Parameters
    ----------
    function
        The ``function`` of the stage's stored definition; one that is no command uses none.
    parameters
        Parameters of the project.
    """
    values = function.get("command")
    if values is None or not parameters:
        return {}
    names = {name for name in Command.from_json(values).placeholders if name not in FIXED}
    return {name: parameters[name] for name in sorted(names) if name in parameters}


def check_placeholders(
    command: Command,
    *,
    lattice: Lattice,
    params: Mapping[str, Any],
    project: Mapping[str, Any],
    parents: Mapping[str, Collection[str]],
    offsets: Collection[str] = (),
) -> None:
    """Refuse placeholders that will have no value, and parameters without a placeholder.

    Parameters
    ----------
    command
        The command.
    lattice
        The lattice of its units.
    params, project
        Parameters of its stage, and of the project.
    parents
        Its parents, each with the names of the files that it declares (`declared_files`).
    offsets
        Names of the neighbours that it reads, such as ``"+z"``.

    Raises
    ------
    StageError
        Naming one, with those that there are.
    """
    valid = {*valid_names(lattice), *params, *project, *(f"file.{name}" for name in command.files)}
    for name in ("input", "inputs", "neighbour", "neighbours", "neighbour_name", "neighbour_names"):
        ours = name in ("input", "inputs")
        if not ours and not offsets:
            continue
        several = ours or name.endswith("s")
        owners = [name, *(f"{name}.{parent}" for parent in parents)]
        owners += [f"{name}.{parent}.{file}" for parent in parents for file in parents[parent]]
        if several or len(offsets) == 1:
            valid |= set(owners)
        if not several:
            valid |= {f"{owner}[{offset}]" for owner in owners for offset in offsets}
    for name in sorted(valid_names(lattice) & set(params)):
        raise StageError(
            f"{{{name}}} already stands for something of the tile: call the parameter something "
            "else (a parameter of the project may replace it)"
        )
    for name in sorted(command.placeholders):
        if name not in valid:
            raise unknown(name, valid)
    for name in params:
        if name not in command.placeholders:
            raise _unused(name, command.placeholders)
    for parent in command.inputs:
        if parent not in parents:
            raise StageError(
                f"inputs={{{parent!r}: ...}} names no parent; there are {', '.join(parents)}"
            )


def _unused(name: str, placeholders: Collection[str]) -> StageError:
    """The error for a parameter that no placeholder stands for: a typo would change nothing."""
    near = difflib.get_close_matches(name, placeholders, n=1)
    meant = f": did you mean {near[0]}? I" if near else ". I"
    there = ", ".join(f"{{{known}}}" for known in sorted(placeholders)) or "none"
    return StageError(
        f"the command has no placeholder {{{name}}} for the parameter {name!r}{meant}ts "
        f"placeholders are {there}"
    )


def declared_files(function: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the files that a stage declares, from the ``function`` of its definition."""
    return tuple((function.get("command") or {}).get("files", ()))


def valid_names(lattice: Lattice) -> set[str]:
    """Placeholders that every unit of a lattice has a value for, without parents and files."""
    names = {
        name
        for name in PLACEHOLDERS
        if not re.search(r"[.\[]", name)
        and not AXIS.fullmatch(name)
        and name not in ("z", "neighbour", "neighbours", "neighbour_name", "neighbour_names")
    }
    for dim in lattice.dims:
        axis = spatial_axis(dim) or dim
        names |= {dim, axis, f"index_{axis}"}
        if spatial_axis(dim):
            names |= {f"step_px_{axis}", f"step_um_{axis}"}
    for axis in lattice.spatial_dims:
        names |= {f"position_um_{axis}"}
    names |= {f"pixel_size_um_{axis}" for axis in lattice.pixel_size_um}
    names |= {f"shape_{dim}" for dim in lattice.tile_dims}
    return names
