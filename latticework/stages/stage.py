"""The stage: a named step, a callable with parameters, what it reads and what it makes."""

import functools
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np

from latticework.errors import StageError
from latticework.io.preview_layout import PROJECTIONS
from latticework.lattice.halo import Mode
from latticework.stages.budgets import Retries
from latticework.stages.callables import Reference, name_of, reference_to, takes_numpy
from latticework.stages.needs import Needs
from latticework.stages.outputs import KINDS, Output
from latticework.stages.params import describe
from latticework.stages.reads import Reads, ReadsOf, reads_to_json, same_tile

Overlap = Mapping[str, int | tuple[int, int]] | int
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
MOST_RETRIES = 100
"""Retries that a stage may have: what fails a hundred times will fail again."""
HOW = ("retries", "timeout", "needs", "preview")
"""What of a definition does not matter to what a stage makes."""
TAKEN = {"source", "zarr.json", "c"}
"""Names that mean something else: the acquisition, and files of a Zarr group."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One named step of a pipeline; still callable like the function it holds.

    A stage's callable takes one labelled tile per parent and keyword parameters, and returns an
    array, a table, a record or nothing. It knows of no project, cluster or file.

    Examples
    --------
    >>> import numpy as np
    >>> @stage(overlap={"y": 1, "x": 1})
    ... def blur(tile, *, weight=0.5):
    ...     return tile * weight
    >>> blur.name, blur.overlap
    ('blur', {'y': 1, 'x': 1})
    >>> blur(np.ones(3), weight=0.25)
    array([0.25, 0.25, 0.25])
    """

    function: Callable[..., Any]
    """What is called."""
    name: str
    """Name in the pipeline; letters, digits, ``_``, ``-`` and ``.``."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of every call."""
    reads: ReadsOf = field(default_factory=same_tile)
    """What it reads of its parents: one pattern, or one for each by name."""
    overlap: Overlap | None = None
    """Halo in pixels by axis, or one number for all spatial axes."""
    boundary: Mapping[str, Mode] | Mode = "none"
    """What fills the halo at the lattice's edge: a mode of `dask.array.map_overlap`, by axis."""
    trim: bool | None = None
    """Whether latticework cuts the halo off the result; None: if the result still has it."""
    output: Output | None = None
    """What it makes; found from the first tile if None."""
    retries: "int | Retries | Mapping[str, Any]" = 1
    """How often a unit is tried again after it failed: a number, or one for each kind."""
    timeout: float | None = None
    """Seconds that an attempt may take; it is ended then. None: as long as it needs."""
    numpy: bool | None = None
    """Whether it takes NumPy arrays; None: as its annotation or library says."""
    needs: Any = None
    """What it needs of its workers: name of a pool, or a mapping of ``memory``, ``gpus``."""
    preview: bool | str | None = None
    """Previews of its arrays: ``"max"``, ``"mean"``, ``"labels"``, False; None: as the project."""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise StageError(f"stage {self.name!r}: {self.function!r} cannot be called")
        if not NAME.fullmatch(self.name):
            raise StageError(
                f"{self.name!r} is no name for a stage: use letters, digits, '_', '-' and '.', "
                "starting with a letter or digit (name=...)"
            )
        if self.name.lower() in TAKEN:
            raise StageError(
                f"the name {self.name!r} is taken ({', '.join(sorted(TAKEN))}): call the stage "
                "something else"
            )
        try:
            retries = Retries.of(self.retries)
        except StageError as error:
            raise StageError(f"stage {self.name!r}: {error}") from error
        if not isinstance(self.retries, int):
            object.__setattr__(self, "retries", retries)
        if self.timeout is not None and not (
            isinstance(self.timeout, int | float) and 0 < self.timeout < math.inf
        ):
            raise StageError(
                f"stage {self.name!r}: timeout={self.timeout!r}: give seconds, or None"
            )
        if not (self.overlap is None or isinstance(self.overlap, int | np.integer | Mapping)):
            raise StageError(
                f"stage {self.name!r}: overlap={self.overlap!r} is no halo: give whole pixels, for "
                'all spatial axes (2) or by axis ({"y": 2, "x": (2, 0)})'
            )
        given = self.reads.values() if isinstance(self.reads, Mapping) else [self.reads]
        for pattern in given:
            if not isinstance(pattern, Reads):
                raise StageError(
                    f"stage {self.name!r}: reads={pattern!r} is no reading pattern: give "
                    "latticework.neighbours('+z'), plane('z'), all_tiles(), intersecting(lattice), "
                    "nothing() or same_tile(), or one for each parent by name"
                )
        object.__setattr__(self, "needs", Needs.of(self.needs).to_json())
        if self.preview not in (None, True, False, *PROJECTIONS):
            raise StageError(
                f"stage {self.name!r}: preview={self.preview!r}: give one of "
                f"{', '.join(map(repr, PROJECTIONS))}, False for none, or None for the project's"
            )
        if self.output is not None and not isinstance(self.output, Output):
            raise StageError(
                f"stage {self.name!r}: output={self.output!r}: give latticework.array_output(...), "
                "table_output() or record_output()"
            )
        if self.output is not None and self.output.kind not in KINDS:
            raise StageError(
                f"stage {self.name!r}: output kind {self.output.kind!r} is none of {KINDS}"
            )

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Call the function, with the stage's parameters unless others are given."""
        return self.function(*inputs, **{**self.params, **params})

    @property
    def takes_numpy(self) -> bool:
        """Whether the callable is given NumPy arrays instead of labelled ones."""
        return takes_numpy(self.function) if self.numpy is None else self.numpy

    @property
    def reference(self) -> Reference:
        """Where the callable comes from and which code it is."""
        return reference_to(self.function)

    def with_options(self, **changes: Any) -> "Stage":
        """The stage with some fields replaced."""
        return replace(self, **changes)

    def definition(self) -> dict[str, Any]:
        """Everything that decides what the stage makes, as plain values."""
        overlap = self.overlap
        if isinstance(overlap, Mapping):
            overlap = {axis: overlap[axis] for axis in sorted(overlap)}
        return {
            "function": self.reference.to_json(),
            "params": {name: describe(value) for name, value in sorted(self.params.items())},
            "reads": reads_to_json(self.reads),
            "overlap": overlap,
            "boundary": dict(self.boundary)
            if isinstance(self.boundary, Mapping)
            else self.boundary,
            "trim": self.trim,
            "output": None if self.output is None else self.output.to_json(),
            "numpy": self.takes_numpy,
        }


def fingerprint(definition: Mapping[str, Any]) -> int:
    """A 64-bit fingerprint of a stage's definition (with whatever else decides what it makes)."""
    where = {"file": None, "importable": None}  # whence it is had does not change what it makes
    relevant = {**definition, "function": {**definition["function"], **where}}
    for how in HOW:  # nor does how often it is tried, for how long, and where
        relevant.pop(how, None)
    text = json.dumps(relevant, sort_keys=True, default=repr)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@overload
def stage(function: Callable[..., Any], /) -> Stage: ...
@overload
def stage(**options: Any) -> Callable[[Callable[..., Any]], Stage]: ...
def stage(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a stage of a function, with its options where it is defined.

    Parameters
    ----------
    **options
        Fields of `Stage`: ``name``, ``params``, ``reads``, ``overlap``, ``boundary``, ``trim``,
        ``output``, ``retries``, ``timeout``, ``numpy``, ``needs``, ``preview``.
    """
    if function is None:
        return functools.partial(_make, options)
    return _make(options, function)


def _make(options: Mapping[str, Any], function: Callable[..., Any]) -> Stage:
    try:
        return Stage(function, **{"name": name_of(function), **options})
    except TypeError as error:
        fields = [name for name in Stage.__slots__ if name != "function"]
        raise StageError(f"@stage takes {', '.join(fields)}: {error}") from error


def as_stage(function: Callable[..., Any] | Stage, **options: Any) -> Stage:
    """A stage from a callable, or from a stage with some options replaced."""
    options = {key: value for key, value in options.items() if value is not None}
    if getattr(function, "__name__", "") == "<lambda>" and "name" not in options:
        raise StageError("a lambda has no name to call the stage by: give name=...")
    if isinstance(function, Stage):
        params = {**function.params, **options.pop("params", {})}
        return function.with_options(params=params, **options)
    if not callable(function):
        raise StageError(f"a stage is a callable, not {type(function).__name__} {function!r}")
    return _make(options, function)
