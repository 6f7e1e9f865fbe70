"""A stage as a notebook shows it: a picture of what it reads, what it calls and what it makes."""

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.stages.command import Command
from latticework.stages.needs import Needs
from latticework.viz.html import escaped, facts_table, framed, side_by_side
from latticework.viz.reads_picture import reads_svg, reads_words
from latticework.viz.words import plural, seconds, size

if TYPE_CHECKING:
    from latticework.stages.stage import Stage

_SHOWN_PARAMS = 12
_HOW = ("boundary", "retries", "timeout", "needs")


def stage_html(stage: "Stage") -> str:
    """A stage that is in no project: a picture of what it reads, and its options."""
    facts = [("calls", callable_words(stage.function)), ("", first_line(stage.function))]
    facts += list(param_facts(stage.params))
    patterns = stage.reads if isinstance(stage.reads, Mapping) else {"": stage.reads}
    for parent, reads in patterns.items():
        of = f"{parent}: " if parent else ""
        facts.append(("reads", f"{of}{reads_words(reads, stage.overlap)}"))
    if stage.output is not None:
        facts.append(("makes", made_words(stage.output)))
    facts += how_facts({name: getattr(stage, name) for name in _HOW})
    pictures = "".join(reads_svg(reads, stage.overlap) for reads in patterns.values())
    head = f'<div class="lw-h">Stage {escaped(stage.name, 60)}</div>'
    return framed(head, side_by_side(f"<div>{pictures}</div>", facts_table(facts)))


def made_words(output: Any) -> str:
    """What a stage makes of a unit, in words.

    Examples
    --------
    >>> from latticework.stages.outputs import array_output
    >>> made_words(array_output("uint16", shape={"y": 64, "x": 64}))
    'an array: uint16, y 64 × x 64'
    """
    if output.kind != "array":
        return {
            "table": "a table",
            "record": "a record",
            "files": "files",
            "nothing": "nothing that is kept",
        }[output.kind]
    dtype = "" if output.dtype is None else str(np.dtype(output.dtype))
    dims, shape = output.dims or (), output.shape or ()
    sizes = " × ".join(
        f"{dim} {shape[k]:,}" if k < len(shape) else dim for k, dim in enumerate(dims)
    )
    known = ", ".join(part for part in (dtype, sizes) if part)
    return f"an array: {known}" if known else "an array"


def how_facts(definition: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is not as usual of how it is run."""
    facts = []
    if definition.get("boundary") not in (None, "none", {}):
        facts.append(("boundary", str(definition["boundary"])))
    if definition.get("retries", 1) != 1:
        facts.append(("retries", str(definition["retries"])))
    if definition.get("timeout") is not None:
        facts.append(("timeout", seconds(float(definition["timeout"]))))
    if definition.get("needs"):
        facts.append(("needs", _needs(Needs.of(definition["needs"]))))
    return facts


def _needs(needs: Needs) -> str:
    parts = [f"pool {needs.pool}"] if needs.pool else []
    parts += [f"{size(needs.memory_bytes)} of memory"] if needs.memory_bytes else []
    parts += [plural(needs.gpus, "graphics card")] if needs.gpus else []
    return ", ".join(parts)


def param_facts(params: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Parameters as names and texts, the first dozen."""
    for number, (name, value) in enumerate(params.items()):
        if number == _SHOWN_PARAMS:
            yield "", f"and {plural(len(params) - number, 'more parameter')}"
            return
        yield "with", f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Words):
        return value
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype}, {' × '.join(map(str, value.shape))}"
    return repr(value)


class Words(str):
    """A value of which only a description is kept."""

    __slots__ = ()


def callable_words(function: Any) -> str:
    """What a stage calls: a dotted name, or the arguments of a program."""
    if isinstance(function, Command):
        return " ".join(function.argv)
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return dotted(getattr(function, "__module__", "") or "", name)


def dotted(module: str, name: str) -> str:
    """Where a callable is found; private modules, in which libraries keep theirs, are left out."""
    parts = [part for part in module.split(".") if part and not part.startswith("_")]
    return ".".join([*parts, name])


def first_line(function: Any) -> str:
    """First line of a callable's docstring, or nothing."""
    if isinstance(function, Command):
        return ""
    return (inspect.getdoc(function) or "").strip().split("\n", 1)[0]
