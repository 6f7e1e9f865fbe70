"""The status array, kept up to date while a project runs."""

import logging
import time
from typing import TYPE_CHECKING

from latticework.io.status_array import StatusArray
from latticework.project.status import on_tiles, status_columns
from latticework.stages.paths import status_folder

if TYPE_CHECKING:
    from latticework.project.project import Project

log = logging.getLogger(__name__)

STATUS_S = 1.0
"""Seconds between updates of the status array, at least."""


class StatusWriter:
    """Keeps the status array up to date, at a rate that its own cost allows."""

    def __init__(self, project: "Project") -> None:
        self.project = project
        self._lattice = project.lattice
        self._array = StatusArray(status_folder(project.path), self._lattice)
        self._next = 0.0
        self._written: dict[str, bytes] = {}
        self._failed = False

    def write(self, *, force: bool = False) -> None:
        """Write what changed, if it is time."""
        begun = time.monotonic()
        if not force and begun < self._next:
            return
        if self._lattice is not self.project.lattice:  # it has grown
            self._lattice = self.project.lattice
            self._array = StatusArray(status_folder(self.project.path), self._lattice)
            self._written = {}
        nodes = [node for node in self.project.pipeline if on_tiles(node)]
        columns, seen = {}, {}
        for node in nodes:
            seen[node.name] = node.units.state.tobytes() + node.units.attempts.tobytes()
            if self._written.get(node.name) != seen[node.name]:
                columns[node.name] = status_columns(node)
        if columns or force:
            try:
                self._array.write(columns, order=[node.name for node in nodes])
            except OSError as error:  # it is derived: nothing waits for it
                self._say(error)
            else:
                self._written, self._failed = seen, False
        spent = time.monotonic() - begun
        self._next = time.monotonic() + max(STATUS_S, 20 * spent)

    def _say(self, error: OSError) -> None:
        """Say once, until it can be written again, that the array is not up to date."""
        self._written = {}
        if not self._failed:
            self._failed = True
            log.warning(
                "%s cannot be written (%s), so it is not up to date; the run goes on. Free some "
                "space, allow it to be written, or remove what is there: it is made anew",
                *(self._array.path, error),
            )
