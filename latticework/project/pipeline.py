"""The pipeline: the acyclic graph of stages below the source, with the state of every unit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latticework.errors import LatticeError, ProjectError, StageError
from latticework.lattice.dependencies import (
    Dependency,
    GroupUnit,
    NearbyUnits,
    OffsetUnits,
    SameUnit,
)
from latticework.lattice.halo import Halo, halo
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.deriving import fingerprints, settle
from latticework.project.fingerprints import salt_of, stamps
from latticework.project.settings import Settings
from latticework.project.units import Units
from latticework.stages.budgets import Retries
from latticework.stages.command_checks import parameters_used
from latticework.stages.lattices import TILES, UNIT, Lattices
from latticework.stages.needs import Needs
from latticework.stages.order import Input, output_lattice
from latticework.stages.outputs import Output
from latticework.stages.reads import Ends, Reads, dependency, reads_from_json, reads_of, units_key
from latticework.stages.stage import Stage

SOURCE = "source"
"""Name of the acquisition among a stage's parents."""
STEP = 2**16
"""Units whose states are derived at once, so that memory does not grow with the lattice."""
GATHERING = ("plane", "all tiles", "intersecting")
"""Patterns that read any number of units, together."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What a stage reads of one parent."""

    parent: str
    """Name of the parent."""
    reads: Reads
    """The pattern."""
    dependency: Dependency
    """Which units that means."""
    declared: int | None
    """Units that each one reads where nothing is missing; None where any number will do."""

    @property
    def one_each(self) -> bool:
        """Whether each unit reads exactly one."""
        return isinstance(self.dependency, SameUnit | GroupUnit)

    @property
    def has_own(self) -> bool:
        """Whether the unit with its own id is among those that each unit reads."""
        return isinstance(self.dependency, NearbyUnits | OffsetUnits)

    @property
    def gathers(self) -> bool:
        """Whether any number of units are read together."""
        return self.reads.pattern in GATHERING

    @property
    def reach(self) -> tuple[tuple[int, ...], ...]:
        """The lattice offsets at which units are read; halos reach no further than the lattice."""
        offsets = getattr(self.dependency, "offsets", None)
        return () if offsets is None else tuple(map(tuple, offsets.tolist()))

    @property
    def optional(self) -> bool:
        """Whether the stage runs without what is missing or failed."""
        return self.reads.missing == "run"


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
    key: str
    """Key of the lattice of its units (`latticework.stages.lattices`)."""
    lattice: Lattice
    """The lattice of its units."""
    units: Units
    """Facts and state of every unit."""
    output: Output | None = None
    """What its published units are, once the first tile has settled that."""
    settled_for: int | None = None
    """Fingerprint of the definition for which `output` was settled."""
    missing: str | None = None
    """Why its callable is not at hand."""
    salt: int = 0
    """Of the project's parameters that it uses: they decide what it makes, too."""
    generation: int = 0
    """Counts how often outputs were replaced."""
    edges: list[Edge] = field(default_factory=list)
    """One for each parent."""
    source_stamps: np.ndarray | None = None
    """For the source: stamps of its tiles."""
    presence: np.ndarray | None = None
    """For the source: uint8, whether each tile is there, awaited or withdrawn (`State`)."""

    @property
    def needs(self) -> Needs:
        """What it needs of the workers that run it."""
        return Needs.of(self.definition.get("needs"))

    @property
    def is_source(self) -> bool:
        """Whether it is the acquisition, not a stage."""
        return self.name == SOURCE

    @property
    def reduction(self) -> bool:
        """Whether it has one unit that reads all tiles."""
        return self.key == UNIT

    @property
    def settled(self) -> bool:
        """Whether it is known what the stage, as it is defined now, makes."""
        return self.output is not None and self.settled_for == self.fingerprint

    @property
    def budgets(self) -> Retries:
        """How often its units are tried again after failures of each kind."""
        return Retries.of(self.definition.get("retries", 1))

    @property
    def retries(self) -> int:
        """Attempts beyond the first that its units are given at most."""
        return self.budgets.most

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
    load
        Gives a lattice of a stage's own by its key.
    """

    def __init__(self, lattice: Lattice, load: Callable[[str], Lattice] | None = None) -> None:
        self.lattices = Lattices(lattice, load or _no_lattice)
        self.nodes: dict[str, Node] = {SOURCE: source_node(lattice)}
        self.scope: np.ndarray | None = None
        """For each tile, whether it takes part: not in a skipped plane, nor outside the region."""
        self.skipped: Mapping[str, tuple[Any, ...]] = {}
        """Labels of planes that are stepped over, by lattice dim."""
        self.open = False
        """Whether more tiles may come."""
        self.extents: Mapping[str, tuple[int, int]] = {}
        """First and last label along lattice dims, where it is known how far tiles will go."""
        self.over = False
        """Whether tiles came for a while, and no more will."""
        self.parameters: Mapping[str, Any] = {}
        """The project's own parameters, which commands can use."""

    @property
    def lattice(self) -> Lattice:
        """The lattice of the acquisition."""
        return self.nodes[SOURCE].lattice

    def __iter__(self) -> Iterator[Node]:
        """The stages, parents first, without the source."""
        return (node for name, node in self.nodes.items() if name != SOURCE)

    def __getitem__(self, name: str) -> Node:
        try:
            return self.nodes[name]
        except KeyError:
            names = ", ".join(self.nodes)
            raise ProjectError(f"there is no stage {name!r}; there are {names}") from None

    def follow(self, settings: Settings, scope: np.ndarray | None) -> None:
        """Take over what users have set, and whatever depends on it in the edges.

        Parameters
        ----------
        settings
            The settings.
        scope
            What `latticework.project.settings.scope_of` makes of them and the lattice.
        """
        self.scope, self.skipped, self.extents = scope, settings.skipped, settings.extents
        self.open, self.over = settings.open, settings.over
        self.parameters = settings.parameters
        for node in self:
            self.relink(node)

    def add(self, node: Node) -> None:
        """Add a node below parents that are there already, or put a new version in its place."""
        self._sort({**self.nodes, node.name: node})
        self.relink(node)
        for child, _ in self.children(node.name):
            self.relink(child)

    def remove(self, name: str) -> None:
        """Take a node out that no other reads."""
        assert not any(True for _ in self.children(name))
        self.nodes = {other: node for other, node in self.nodes.items() if other != name}

    def _sort(self, nodes: Mapping[str, Node]) -> None:
        """Have these nodes: a new dict, since other threads may be looking at the old one."""
        order = parents_first({name: known.parents for name, known in nodes.items()})
        self.nodes = {name: nodes[name] for name in order}

    def children(self, name: str) -> Iterator[tuple[Node, Edge]]:
        """Nodes that read `name`, and the edges by which they do."""
        for node in self:
            for edge in node.edges:
                if edge.parent == name:
                    yield node, edge

    def below(self, name: str) -> list[str]:
        """Names of all stages made from this one, directly or not; parents first."""
        found = {name}
        for node in self:
            if found & set(node.parents):
                found.add(node.name)
        return [node.name for node in self if node.name in found and node.name != name]

    def key_of(self, stage: str, definition: Mapping[str, Any]) -> str:
        """Key of the lattice on which a stage of this definition has its units."""
        parents = {name: self[name].key for name in definition["parents"]}
        return units_key(stage, reads_from_json(definition["reads"]), parents)

    # ---------------------------------------------------------------- edges

    def relink(self, node: Node) -> None:
        """Work out again which units of its parents each unit reads."""
        reads = reads_from_json(node.definition["reads"])
        used = parameters_used(node.definition["function"], self.parameters)
        node.salt = salt_of(used) if used else 0
        node.edges = [self._edge(node, name, reads_of(reads, name)) for name in node.parents]

    def _edge(self, node: Node, name: str, reads: Reads) -> Edge:
        parent = self[name]
        margins = self.halo_on(node, name)
        if margins is not None and margins.empty:
            margins = None
        pixels = margins is not None or reads.pattern == "intersecting"
        made = parent.made_lattice() if pixels and parent.lattice.dims else parent.lattice
        ends = Ends(node.key, node.lattice, parent.key, made)
        depends = dependency(ends, reads, margins, self.skipped, grows=self.open)
        declared = None
        if isinstance(depends, NearbyUnits | OffsetUnits):
            declared = len(depends.offsets) + 1
        return Edge(name, reads, depends, declared)

    def halo_on(self, node: Node, parent: str) -> Halo | None:
        """The halo that a node reads around tiles of a parent; None where there is none.

        For tiles that intersect a unit it is a margin around that unit, in its own pixels.

        Raises
        ------
        StageError
            If the parent's tiles cannot have that halo.
        """
        overlap, made = node.definition["overlap"], self[parent]
        pattern = reads_of(reads_from_json(node.definition["reads"]), parent).pattern
        if not overlap or pattern not in ("same tile", "intersecting") or not made.lattice.dims:
            return None
        lattice = node.lattice
        if pattern == "same tile":
            if made.key != node.key or (made.output is not None and made.output.kind != "array"):
                return None
            if made.output is None and parent != SOURCE:
                return None  # not known yet: nothing of it is complete, so nothing can be ready
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
        for edge in node.edges:
            made = self[edge.parent]
            inputs.append(
                Input(
                    parent=edge.parent,
                    reads=edge.reads,
                    lattice=made.key,
                    output=made.output or Output("nothing"),
                    halo=self.halo_on(node, edge.parent),
                    generation=made.generation,
                )
            )
        return tuple(inputs)

    def expected(self, node: Node, units: np.ndarray) -> np.ndarray:
        """Fingerprints that units of a node would get now."""
        return fingerprints(self, node, units)

    # ---------------------------------------------------------------- states that follow

    def derive(self) -> None:
        """Work out the state of every unit from the facts."""
        for node in self.nodes.values():
            self.derive_node(node)

    def derive_node(self, node: Node) -> list[np.ndarray]:
        """Work out the states of a node's units; those that may run now, in pieces."""
        ready = []
        for start in range(0, len(node.units), STEP):
            units = np.arange(start, min(start + STEP, len(node.units)))
            ready.append(units[settle(self, node, units)])
        return ready

    # ---------------------------------------------------------------- changes of the lattice

    def grown(self, lattice: Lattice) -> bool:
        """The acquisition has more tiles, or others in their places: every edge follows.

        Returns
        -------
        bool
            Whether tiles that were there before may read, or lack, others than before.
        """
        source, before = self.nodes[SOURCE], [edge.reach for node in self for edge in node.edges]
        old = source.lattice
        moved = not np.array_equal(lattice.index[: len(old)], old.index)
        if any(edge.reads.pattern == "intersecting" for node in self for edge in node.edges):
            moved |= not np.array_equal(lattice.position_um[: len(old)], old.position_um)
        self.lattices.grown(lattice)
        see_source(source, lattice)
        for node in self:
            node.lattice = self.lattices[node.key]
            node.units.grow(len(node.lattice))
        for node in self:
            self.relink(node)
        return moved or before != [edge.reach for node in self for edge in node.edges]


def _no_lattice(key: str) -> Lattice:
    raise ProjectError(f"there is no lattice {key!r}")


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
    """The source as a node: tiles are complete, awaited, withdrawn or cannot be read."""
    shape = tuple(lattice.tile_shape.values())
    output = Output("array", lattice.dtype.newbyteorder("<").str, lattice.tile_dims, shape)
    units = Units.waiting(len(lattice))
    node = Node(0, SOURCE, None, {}, 0, (), TILES, lattice, units, output)
    see_source(node, lattice)
    return node


def see_source(node: Node, lattice: Lattice) -> None:
    """Take over what the source of a lattice says of its tiles."""
    n = len(lattice)
    prints = None if lattice.source is None else lattice.source.fingerprints()
    says = getattr(lattice.source, "presence", None)
    node.lattice = lattice
    node.units.grow(n)
    node.source_stamps = np.zeros(n, "u8") if prints is None else np.asarray(prints, "u8")
    node.presence = np.full(n, State.COMPLETE, np.uint8) if says is None else says()
    node.units.mark[:] = 0
    node.units.mark[list(lattice.problems)] = State.FAILED
