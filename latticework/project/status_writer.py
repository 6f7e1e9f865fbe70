"""The status arrays, kept up to date while a project runs."""

import logging
import time
from typing import TYPE_CHECKING

from latticework.io.status_array import StatusArray
from latticework.lattice.lattice import Lattice
from latticework.project.pipeline import Node
from latticework.project.status import status_columns
from latticework.stages.lattices import TILES
from latticework.stages.paths import status_folder

if TYPE_CHECKING:
    from latticework.project.project import Project

log = logging.getLogger(__name__)

STATUS_S = 1.0
"""Seconds between updates of the status array, at least."""


class StatusWriter:
    """Keeps the status arrays up to date, at a rate that their own cost allows.

    One array has all stages on tiles, and each lattice of other units (planes, blocks, the one
    unit of a reduction) has another one: see `latticework.stages.paths.status_folder`.
    """

    def __init__(self, project: "Project") -> None:
        self.project = project
        self._arrays: dict[str, StatusArray] = {}
        self._lattices: dict[str, Lattice] = {}
        self._next = 0.0
        self._written: dict[str, bytes] = {}
        self._failed = False

    def write(self, *, force: bool = False) -> None:
        """Write what changed, if it is time."""
        begun = time.monotonic()
        if not force and begun < self._next:
            return
        by_key: dict[str, list[Node]] = {TILES: []}
        for node in self.project.pipeline:
            by_key.setdefault(node.key, []).append(node)
        for key, nodes in by_key.items():
            self._write(key, nodes, force=force)
        spent = time.monotonic() - begun
        self._next = time.monotonic() + max(STATUS_S, 20 * spent)

    def _write(self, key: str, nodes: list[Node], *, force: bool) -> None:
        """Write what changed of the stages on one lattice."""
        lattice = nodes[0].lattice if nodes else self.project.lattice
        if self._lattices.get(key) is not lattice:  # at first, and when it has grown
            self._lattices[key] = lattice
            folder = status_folder(self.project.path, key)
            self._arrays[key] = StatusArray(folder, lattice)
            for node in nodes:
                self._written.pop(node.name, None)
        columns, seen = {}, {}
        for node in nodes:
            seen[node.name] = node.units.state.tobytes() + node.units.attempts.tobytes()
            if self._written.get(node.name) != seen[node.name]:
                columns[node.name] = status_columns(node)
        if not columns and not force:
            return
        array = self._arrays[key]
        try:
            array.path.parent.mkdir(parents=True, exist_ok=True)
            array.write(columns, order=[node.name for node in nodes])
        except OSError as error:  # it is derived: nothing waits for it
            self._say(array, error)
        else:
            self._written.update(seen)
            self._failed = False

    def _say(self, array: StatusArray, error: OSError) -> None:
        """Say once, until it can be written again, that the array is not up to date."""
        self._written = {}
        if not self._failed:
            self._failed = True
            log.warning(
                "%s cannot be written (%s), so it is not up to date; the run goes on. Free some "
                "space, allow it to be written, or remove what is there: it is made anew",
                *(array.path, error),
            )
