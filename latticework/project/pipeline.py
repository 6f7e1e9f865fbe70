"""The pipeline: the acyclic graph of stages below the source, with the state of every unit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latticework.errors import LatticeError, ProjectError, StageError
from latticework.lattice.dependencies import Dependency
from latticework.lattice.halo import Halo, halo
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import BROKEN, State
from latticework.project.fingerprints import expected, failure_stamps, stamps
from latticework.project.units import Units
from latticework.stages.order import Input, output_lattice
from latticework.stages.outputs import Output
from latticework.stages.reads import dependency
from latticework.stages.stage import Stage

SOURCE = "source"
"""Name of the acquisition among a stage's parents."""
STEP = 2**16
"""Units whose states are derived at once, so that memory does not grow with the lattice."""


@dataclass(slots=True)
class Node:
    """One stage of a project's pipeline, or its source."""

    id: int
    """Number in the journal; 0 is the source."""
    name: str
    """Name of the stage."""
    stage: Stage | None
    """The stage, where its callable is at hand."""
    definition: Mapping[str, Any]
    """What decides what it makes."""
    fingerprint: int
    """Of the definition."""
    parents: tuple[str, ...]
    """Names of its parents, in order of the call's arguments."""
    lattice: Lattice
    """The lattice of its units: the project's, or `Lattice.unit` for a reduction."""
    units: Units
    """State of every unit."""
    output: Output | None = None
    """What its published units are, once the first tile has settled that."""
    settled_for: int | None = None
    """Fingerprint of the definition for which `output` was settled."""
    missing: str | None = None
    """Why its callable is not at hand."""
    generation: int = 0
    """Counts how often outputs were replaced."""
    dependencies: list[Dependency] = field(default_factory=list)
    """One for each parent."""
    source_stamps: np.ndarray | None = None
    """For the source: stamps of its tiles."""

    @property
    def reduction(self) -> bool:
        """Whether it has one unit that reads all tiles."""
        return self.definition.get("reads") == "all tiles"

    @property
    def settled(self) -> bool:
        """Whether it is known what the stage, as it is defined now, makes."""
        return self.output is not None and self.settled_for == self.fingerprint

    @property
    def retries(self) -> int:
        """Attempts beyond the first that its units are given."""
        return int(self.definition.get("retries", 1))

    def stamps_of(self, units: np.ndarray) -> np.ndarray:
        """Stamps of what is published of some units, uint64."""
        if self.source_stamps is not None:
            return np.asarray(self.source_stamps[units])
        return stamps(self.units.fingerprint[units], self.units.published[units])

    def made_lattice(self) -> Lattice:
        """The lattice with this stage's own output tiles."""
        return self.lattice if self.output is None else output_lattice(self.lattice, self.output)


class Pipeline:
    """All nodes of a project, parents before children.

    Parameters
    ----------
    lattice
        The project's lattice.
    """

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.nodes: dict[str, Node] = {SOURCE: source_node(lattice)}

    def __iter__(self) -> Iterator[Node]:
        """The stages, parents first, without the source."""
        return (node for name, node in self.nodes.items() if name != SOURCE)

    def __getitem__(self, name: str) -> Node:
        try:
            return self.nodes[name]
        except KeyError:
            names = ", ".join(self.nodes)
            raise ProjectError(f"there is no stage {name!r}; there are {names}") from None

    def add(self, node: Node) -> None:
        """Add a node below parents that are there already, or put a new version in its place."""
        self.nodes[node.name] = node
        order = parents_first({name: known.parents for name, known in self.nodes.items()})
        self.nodes = {name: self.nodes[name] for name in order}
        self.relink(node)
        for child, _ in self.children(node.name):
            self.relink(child)

    def children(self, name: str) -> Iterator[tuple[Node, int]]:
        """Nodes that read `name`, and which of their inputs it is."""
        for node in self:
            for number, parent in enumerate(node.parents):
                if parent == name:
                    yield node, number

    # ---------------------------------------------------------------- edges

    def relink(self, node: Node) -> None:
        """Work out again which units of its parents each unit reads."""
        node.dependencies = [
            dependency(node.lattice, self[parent].lattice, None)
            if (margins := self.halo_on(node, parent)) is None or margins.empty
            else dependency(node.lattice, self[parent].made_lattice(), margins)
            for parent in node.parents
        ]

    def halo_on(self, node: Node, parent: str) -> Halo | None:
        """The halo that a node reads around tiles of a parent; None where there is none.

        Raises
        ------
        StageError
            If the parent's tiles cannot have that halo.
        """
        overlap, made = node.definition["overlap"], self[parent]
        if not overlap or node.definition["reads"] != "same tile" or not made.lattice.dims:
            return None
        if made.output is not None and made.output.kind != "array":
            return None
        if made.output is None and parent != SOURCE:
            return None  # not known yet: nothing of the parent is complete, so nothing can be ready
        lattice = made.made_lattice()
        given = (
            {a: tuple(v) if isinstance(v, list) else v for a, v in overlap.items()}
            if isinstance(overlap, dict)
            else overlap
        )
        try:
            return halo(lattice, given, node.definition["boundary"])
        except LatticeError as error:
            raise StageError(
                f"stage {node.name!r} cannot read {parent!r} with a halo: {error}"
            ) from error

    def inputs_of(self, node: Node) -> tuple[Input, ...]:
        """How a worker reads each parent."""
        inputs = []
        for parent in node.parents:
            made = self[parent]
            output = made.output or Output("nothing")
            how = {"all tiles": "all", "nothing": "nothing"}.get(node.definition["reads"], "tile")
            if how == "tile" and not made.lattice.dims:
                how = "only"
            inputs.append(Input(parent, how, output, self.halo_on(node, parent), made.generation))
        return tuple(inputs)

    def expected(self, node: Node, units: np.ndarray) -> np.ndarray:
        """Fingerprints that units of a node would get now."""
        edges = [
            (edge, self[parent].stamps_of)
            for edge, parent in zip(node.dependencies, node.parents, strict=True)
        ]
        return expected(node.fingerprint, units, edges)

    # ---------------------------------------------------------------- states that follow

    def derive(self) -> None:
        """Work out every state that follows from the durable ones: stale and blocked.

        A unit is stale if its code, parameters or an attempt that it read changed, or if an input
        of it is not complete any more and will be made again.
        """
        for node in self:
            for start in range(0, len(node.units), STEP):
                self._derive(node, slice(start, start + STEP))

    def _derive(self, node: Node, some: slice) -> None:
        """The states that follow for some units of one node; its parents' are known."""
        units = node.units
        state = units.state[some]
        self.forgive(node, some.start + np.flatnonzero(state == State.FAILED))
        kept = (state == State.FAILED) | (state == State.CANCELLED) | (state == State.ABSENT)
        published = units.published[some] > 0
        state[~kept] = np.where(published, State.COMPLETE, State.WAITING)[~kept]
        done = some.start + np.flatnonzero(state == State.COMPLETE)
        if len(done):
            changed = self.expected(node, done) != units.fingerprint[done]
            units.state[done[changed | self.unready(node, done)]] = State.STALE
        waiting = some.start + np.flatnonzero((state == State.WAITING) | (state == State.STALE))
        if len(waiting):
            units.state[waiting[self.blocked(node, waiting)]] = State.BLOCKED

    def forgive(self, node: Node, failed: np.ndarray) -> None:
        """Let failed units wait again whose code, parameters or inputs are others than those."""
        if not len(failed):
            return
        changed = failure_stamps(self.expected(node, failed)) != node.units.fingerprint[failed]
        node.units.state[failed[changed]] = State.WAITING
        node.units.tries[failed[changed]] = 0

    def blocked(self, node: Node, units: np.ndarray) -> np.ndarray:
        """For each unit, whether something that it reads is failed, cancelled or blocked."""
        return self._any_input(node, units, BROKEN)

    def unready(self, node: Node, units: np.ndarray) -> np.ndarray:
        """For each unit, whether something that it reads is not complete."""
        others = [state for state in State if state != State.COMPLETE]
        return self._any_input(node, units, others)

    def _any_input(self, node: Node, units: np.ndarray, states: Any) -> np.ndarray:
        found = np.zeros(len(units), dtype=bool)
        wanted = np.zeros(256, dtype=bool)
        wanted[[int(state) for state in states]] = True
        for edge, parent in zip(node.dependencies, node.parents, strict=True):
            which, read = edge.inputs(units)
            found[which[wanted[self[parent].units.state[read]]]] = True
        return found


def parents_first(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Names in an order in which each comes after its parents, else as they are given.

    Examples
    --------
    >>> parents_first({"source": (), "spots": ("clean",), "clean": ("source",)})
    ['source', 'clean', 'spots']
    """
    left, order = dict(parents), []
    while left:
        found = [name for name, above in left.items() if not any(p in left for p in above)]
        assert found  # adding refuses circles
        order += found
        for name in found:
            del left[name]
    return order


def source_node(lattice: Lattice) -> Node:
    """The source as a node: tiles are complete, or failed where they cannot be read."""
    units = Units.waiting(len(lattice))
    units.state[:] = State.COMPLETE
    for tile in lattice.problems:
        units.state[tile] = State.FAILED
    fingerprints = None if lattice.source is None else lattice.source.fingerprints()
    values = (
        np.zeros(len(lattice), "u8") if fingerprints is None else np.asarray(fingerprints, "u8")
    )
    shape = tuple(lattice.tile_shape.values())
    output = Output("array", lattice.dtype.newbyteorder("<").str, lattice.tile_dims, shape)
    return Node(0, SOURCE, None, {}, 0, (), lattice, units, output, source_stamps=values)
