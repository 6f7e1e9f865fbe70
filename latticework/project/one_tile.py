"""One tile through all stages, as people look at it: ``project.tile(z=3, y=1, x=2)``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import TileNotFoundError
from latticework.lattice.geometry import Box
from latticework.lattice.states import State
from latticework.lattice.tile import Tile
from latticework.project.pipeline import SOURCE, Node
from latticework.stages.lattices import TILES

if TYPE_CHECKING:
    from latticework.project.project import Project


@dataclass(frozen=True, slots=True)
class StageOfTile:
    """How far a tile has come in one stage, at one moment."""

    name: str
    """Name of the stage, or ``"source"``."""
    state: State
    """State of its unit: the tile's own, that of its plane, or the only one of a reduction."""
    attempts: int
    """Attempts ever begun."""
    duration_s: float
    """Seconds that the last one took."""
    why: str
    """Why it is in this state, unless it is complete."""
    tile: Tile
    """The tile as the stage made it, with dims and shape of its own."""
    read: Callable[[Box], np.ndarray] | None
    """Gives the pixels of a box of what was made of it, where that is an array and there is one."""

    @property
    def is_source(self) -> bool:
        """Whether it is the acquisition."""
        return self.name == SOURCE


class ProjectTile:
    """One tile of a project: what it is, its state in every stage, and pictures of it.

    Made by `Project.tile`; in a notebook it shows itself.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from latticework import Lattice, create
    >>> tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    >>> project = create(tempfile.mkdtemp() + "/tiny.lw", tiles)
    >>> _ = project.add(np.negative)
    >>> project.tile(y=0, x=1)
    <tile y0_x1 (tile_y=0, tile_x=1): negative waiting>
    >>> project.tile(y=0, x=1).why("negative")
    'ready to run: nothing runs this project now'
    """

    def __init__(self, project: "Project", id: int) -> None:
        self.project = project
        self.tile: Tile = project.lattice.tile(id)

    @property
    def id(self) -> int:
        """Its id."""
        return self.tile.id

    @property
    def project_name(self) -> str:
        """Name of its project."""
        return str(self.project.name)

    @property
    def states(self) -> dict[str, State]:
        """Its state in every stage."""
        return {stage.name: stage.state for stage in self.stages if not stage.is_source}

    @property
    def stages(self) -> list[StageOfTile]:
        """The source and every stage that has a unit for it, parents before children.

        Stages on lattices of their own are left out: many of their units may read the tile.
        """
        return list(self._stages())

    def why(self, stage: str) -> str:
        """Why it is in the state it is in, in one stage."""
        return self.project.why(stage, self._unit(self.project.pipeline[stage]))

    def attempts(self, stage: str | None = None) -> Any:
        """Every attempt at it, in one stage or in all: see `Project.attempts`."""
        return self.project.attempts(stage, self.id)

    def _stages(self) -> Iterator[StageOfTile]:
        pipeline = self.project.pipeline
        for node in (pipeline[SOURCE], *pipeline):
            unit = self._unit(node)
            if unit is None:
                continue
            state = State(int(node.units.state[unit]))
            yield StageOfTile(
                name=node.name,
                state=state,
                attempts=int(node.units.attempts[unit]),
                duration_s=float(node.units.duration_s[unit]),
                why="" if state is State.COMPLETE else self.project.why(node.name, unit),
                tile=node.made_lattice().tile(unit),
                read=self._reader(node, unit),
            )

    def _unit(self, node: Node) -> int | None:
        """Its unit in a stage; None if there is none of its own."""
        if node.reduction:
            return 0
        if node.key == TILES:
            return self.id
        if node.key == f"planes:{node.lattice.dims[0]}:{TILES}":
            dim = node.lattice.dims[0]
            try:
                return node.lattice.id_at(**{dim: self.tile.labels[dim]})
            except TileNotFoundError:
                return None
        return None

    def _reader(self, node: Node, unit: int) -> Callable[[Box], np.ndarray] | None:
        """What reads its pixels, of stages that make an array of each tile."""
        from latticework.project.outputs import open_reader

        if node.key != TILES or node.output is None or node.output.kind != "array":
            return None
        there = node.units.published[unit] or node.is_source
        if not there or (node.is_source and self.tile.problem is not None):
            return None
        return lambda box: open_reader(self.project, node).read_box(unit, box)

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {state.label}" for name, state in self.states.items())
        return f"<tile {self.tile.name} {self.tile.address}: {states or 'no stages yet'}>"

    def _repr_html_(self) -> str:
        from latticework.viz.project_tile_html import project_tile_html

        return project_tile_html(self)
