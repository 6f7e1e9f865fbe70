"""Previews while a project runs: what workers made is taken in, and merged in the background."""

import contextlib
import functools
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latticework.io.preview_files import waiting_name
from latticework.io.preview_merging import Merging
from latticework.io.preview_store import waiting_folder
from latticework.project.pipeline import Node
from latticework.project.preview_rules import attributes_of, layout_of
from latticework.stages.paths import previews_folder

if TYPE_CHECKING:
    from latticework.project.desk import Desk

MOST_WAITING = 32
"""Files of a stage that wait before they are merged."""
MOST_BYTES = 16 * 2**20
"""Their bytes."""
LAST_S = 10.0
"""Seconds for merging at the beginning and at the end of a run; the rest goes on waiting."""


@dataclass(slots=True)
class _Waiting:
    """What waits of a stage."""

    files: int = 0
    nbytes: int = 0


class PreviewKeeper:
    """Takes in previews, for one session; all of it in the janitor's thread.

    Nothing that goes wrong here is of concern to the run: what is lost is made again when somebody
    looks.

    Parameters
    ----------
    desk
        The project's desk.
    session
        Number of the session.
    """

    def __init__(self, desk: "Desk", session: int) -> None:
        self._desk, self._session = desk, session
        self._waiting: dict[str, _Waiting] = {}

    def take_in(self, folder: Path, batch: int) -> None:
        """Publish the previews of a batch, and merge some if many wait."""
        with contextlib.suppress(Exception), os.scandir(folder) as files:
            for file in files:
                node = self._desk.pipeline.nodes.get(file.name)
                if node is not None:
                    self._publish(node, Path(file.path), batch)

    def _publish(self, node: Node, file: Path, batch: int) -> None:
        target = waiting_folder(previews_folder(self._desk.project.path, node.name))
        waiting = self._waiting.setdefault(node.name, _Waiting())
        waiting.files += 1
        waiting.nbytes += file.stat().st_size
        name = waiting_name(node.id, f"{self._session}.{batch}")
        try:
            file.replace(target / name)
        except FileNotFoundError:
            target.mkdir(parents=True, exist_ok=True)
            file.replace(target / name)
        if waiting.files >= MOST_WAITING or waiting.nbytes >= MOST_BYTES:
            self._waiting[node.name] = _Waiting()
            self._merge(node, everything=False)

    def merge_all(self) -> None:
        """Merge all that waits, as far as that takes no more than some seconds."""
        deadline = time.monotonic() + LAST_S
        for node in list(self._desk.pipeline.nodes.values()):
            self._waiting.pop(node.name, None)
            self._merge(node, everything=True, deadline=deadline)

    def _merge(self, node: Node, *, everything: bool, deadline: float = float("inf")) -> None:
        folder = previews_folder(self._desk.project.path, node.name)
        with contextlib.suppress(Exception):
            layout = layout_of(self._desk.settings, node)
            if layout is not None and folder.is_dir():
                attributes = functools.partial(attributes_of, node, layout)
                merging = Merging(folder, layout, node.id, attributes)
                merging.run(everything=everything, deadline=deadline)


__all__ = ["PreviewKeeper"]
