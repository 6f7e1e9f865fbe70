"""What the placeholders of a command stand for, for one attempt of one unit."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.lattice.tile import Tile
from latticework.stages.command_inputs import CommandInputs
from latticework.stages.known import project_source
from latticework.stages.own_files import own_files, source_root
from latticework.stages.paths import project_file
from latticework.stages.placeholders import FIXED, PLACEHOLDERS

CLUSTER_VARIABLES = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID", "_CONDOR_SLOT")
"""One of these is set where a batch system started the worker."""


class Values(Mapping[str, Any]):
    """Values by placeholder; those about inputs are found when they are asked for.

    Parameters
    ----------
    plain
        Values, or functions that give one.
    inputs
        What the unit reads.
    """

    def __init__(self, plain: Mapping[str, Any], inputs: CommandInputs | None = None) -> None:
        self._plain = dict(plain)
        self._inputs = inputs

    def __getitem__(self, name: str) -> Any:
        if name in self._plain:
            value = self._plain[name]
            return value() if isinstance(value, functools.partial) else value
        if name in self:
            assert self._inputs is not None
            return self._inputs.value(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        about = self._inputs is not None and isinstance(name, str) and _is_input(name)
        return name in self._plain or about

    def __iter__(self) -> Iterator[str]:
        yield from self._plain
        if self._inputs is not None:
            yield from (name for name in PLACEHOLDERS if _is_input(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def with_values(self, **more: Any) -> "Values":
        """Further values."""
        return Values({**self._plain, **more}, self._inputs)


def _is_input(name: str) -> bool:
    return name.startswith(("input", "neighbour"))


def values_of(
    inputs: CommandInputs, tile: Tile, *, attempt: int, folders: Mapping[str, Path]
) -> Values:
    """Everything that placeholders stand for, but declared files.

    Parameters
    ----------
    inputs
        What the unit reads.
    tile
        Its address.
    attempt
        Number of the attempt.
    folders
        The attempt's ``output``, ``scratch`` and ``log``.
    """
    order = inputs.bench.order
    seed = hashlib.blake2b(f"{order.stage} {tile.id}".encode(), digest_size=4).digest()
    values: dict[str, Any] = {
        **facts_of(inputs.bench.lattice, tile),
        "stage": order.stage,
        "project": functools.partial(project_name, order.project),
        "project_root": str(order.project),
        "expected_exit_code": inputs.command.ok[0],
        "is_cluster": int(any(name in os.environ for name in CLUSTER_VARIABLES)),
        "cores": order.cores,
        "seed": int.from_bytes(seed, "little") >> 1,
    }
    for name, find in _OF_SOURCE.items():
        values[name] = functools.partial(find, inputs, tile)
    values |= dict(order.params)
    for name, value in order.parameters.items():
        if name not in FIXED:
            values[name] = value
    values |= {name: str(path) for name, path in folders.items()}
    values["attempt"] = attempt
    return Values(values, inputs)


def facts_of(lattice: Lattice, tile: Tile) -> dict[str, Any]:
    """What is known of a unit by itself.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"y": 2, "x": 3}, tile_shape={"y": 64, "x": 64}, dtype="u2", pixel_size_um={"x": 0.5},
    ... )
    >>> facts = facts_of(lattice, lattice.tile(y=1, x=2))
    >>> facts["tile"], facts["x"], facts["position_um_x"], facts["step_px_x"], facts["dtype"]
    ('y1_x2', 2, 64.0, 64, 'uint16')
    """
    facts: dict[str, Any] = {"tile": tile.name, "unit": tile.id, "dtype": str(tile.dtype)}
    for dim, place in zip(lattice.dims, tile.index, strict=True):
        axis = spatial_axis(dim)
        label = tile.labels[dim]
        facts |= {dim: label, axis or dim: label, f"index_{axis or dim}": place}
        if axis is not None and axis in lattice.step_px:
            step = lattice.step_px[axis]
            facts[f"step_px_{axis}"] = step
            if axis in tile.pixel_size_um:
                facts[f"step_um_{axis}"] = step * tile.pixel_size_um[axis]
    facts |= {f"position_um_{axis}": float(at) for axis, at in tile.position_um.items()}
    facts |= {f"pixel_size_um_{axis}": float(um) for axis, um in tile.pixel_size_um.items()}
    facts |= {f"shape_{dim}": size for dim, size in zip(tile.dims, tile.shape, strict=True)}
    return facts


@functools.lru_cache(maxsize=64)
def project_name(project: Path) -> str:
    """Name of a project, from its folder."""
    try:
        name = json.loads(project_file(project).read_text(encoding="utf-8")).get("name")
    except (OSError, ValueError, AttributeError):
        name = None
    return str(name or project.stem)


def _files(inputs: CommandInputs, tile: Tile) -> tuple[Path, ...]:
    on_tiles = inputs.bench.order.lattice == "tiles"
    return own_files(_reader(inputs), tile.id) if on_tiles else ()


def _reader(inputs: CommandInputs) -> Any:
    order = inputs.bench.order
    return project_source(order.project, order.lattice_version, order.key)


def _root(inputs: CommandInputs, tile: Tile) -> str:
    root = source_root(_reader(inputs), tile.id if inputs.bench.order.lattice == "tiles" else 0)
    return "" if root is None else str(root)


def _folder(inputs: CommandInputs, tile: Tile) -> str:
    files = _files(inputs, tile)
    return str(files[0].parent) if files else ""


def _path(inputs: CommandInputs, tile: Tile) -> str:
    """The tile's file, or the folder of its several files, relative to the acquisition's folder."""
    files = _files(inputs, tile)
    if not files:
        return tile.name
    own = files[0] if len(files) == 1 else files[0].parent
    root = source_root(_reader(inputs), tile.id)
    return own.relative_to(root).as_posix() if root and own.is_relative_to(root) else str(own)


_OF_SOURCE: Mapping[str, Callable[[CommandInputs, Tile], str]] = {
    "source_root": _root,
    "tile_folder": _folder,
    "tile_path": _path,
}
