"""A stage of a project as a notebook shows it: its bar and map, what it is, what it makes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import StageError
from latticework.lattice.states import State
from latticework.stages.params import restore
from latticework.viz.html import escaped, facts_table, framed, side_by_side
from latticework.viz.project_html import what_is_wrong
from latticework.viz.reads_picture import reads_svg, reads_words
from latticework.viz.stage_bars import StageBar, bars_html
from latticework.viz.stage_html import (
    Words,
    callable_words,
    dotted,
    first_line,
    how_facts,
    made_words,
    param_facts,
)
from latticework.viz.state_maps import StateMap, maps_html
from latticework.viz.words import seconds

if TYPE_CHECKING:
    from latticework.project.outputs import StageOutputs
    from latticework.project.pipeline import Node
    from latticework.stages.reads import Reads

_CELLS = 3000
_PLANES = 24


def outputs_html(stage: "StageOutputs") -> str:
    """A stage of a project, with the states of its units."""
    project = stage.project
    node = project.pipeline[stage.name]
    if node.is_source:
        return _source_html(stage, node)
    maps = {}
    if len(node.units) > 1:
        one = StateMap.of(node.lattice, node.units.state, cells=_CELLS, planes=_PLANES)
        maps = {"": one}
    note = "paused" if project.settings.holds(stage.name) else ""
    bar = StageBar(stage.name, node.units.count(), note=note)
    left = maps_html(maps, room=200, hover_cells=600) + _pictures(node)
    body = side_by_side(f"<div>{left}</div>", facts_table(_facts(stage, node)))
    return bars_html(
        [bar],
        title=f"Stage {escaped(stage.name, 60)} <small>of {escaped(project.name, 60)}</small>",
        after=body + what_is_wrong(project, [node]),
    )


def _source_html(stage: "StageOutputs", node: "Node") -> str:
    title = (
        f'<div class="lw-h">The source <small>of {escaped(stage.project.name, 60)}</small></div>'
    )
    return framed(title) + node.lattice._repr_html_()


def _facts(stage: "StageOutputs", node: "Node") -> list[tuple[str, str]]:
    definition = node.definition
    if node.stage is not None:
        facts = [("calls", callable_words(node.stage.function))]
        facts += [("", first_line(node.stage.function)), *param_facts(node.stage.params)]
    else:
        facts = [("calls", _callable_kept(definition["function"]))]
        facts += param_facts({name: _kept(v) for name, v in definition["params"].items()})
    for edge in node.edges:
        words = reads_words(edge.reads, definition.get("overlap"))
        facts.append(("reads", f"{edge.parent}: {words}"))
    made = "nothing yet" if node.output is None else made_words(node.output)
    facts += [("makes", made), *how_facts(definition), ("takes", _durations(node))]
    if node.output is not None and node.output.kind != "nothing":
        facts.append(("in", str(stage.path)))
    facts += [("", node.missing)] if node.missing else []
    return [(name, text) for name, text in facts if text]


def _pictures(node: "Node") -> str:
    overlap = node.definition.get("overlap")
    seen: dict[str, Reads] = {edge.reads.pattern: edge.reads for edge in node.edges}
    return "".join(reads_svg(reads, overlap) for reads in seen.values())


def _durations(node: "Node") -> str:
    """How long its attempts took."""
    took = node.units.duration_s[node.units.state == State.COMPLETE]
    took = took[took > 0]
    if not len(took):
        return ""
    if len(took) == 1:
        return seconds(float(took[0]))
    low, middle, high = (float(v) for v in np.percentile(took, (0, 50, 100)))
    return f"{seconds(middle)} a unit (the median; {seconds(low)} to {seconds(high)})"


def _kept(value: Any) -> Any:
    """A parameter as the project keeps it: the value itself, or words for it."""
    try:
        return restore("", value)
    except StageError:
        tag, about = next(iter(value.items())) if isinstance(value, dict) else ("", "")
        if tag == "array":
            return Words(f"array of {np.dtype(about[0])}, {' × '.join(map(str, about[1]))}")
        return Words(f"{tag} {about[-2]}" if isinstance(about, list) else "data")


def _callable_kept(function: Mapping[str, Any]) -> str:
    """The callable of a stage that is not at hand."""
    if function.get("command"):
        return " ".join(function["command"]["argv"])
    return dotted(function["module"], function["qualname"])
