"""Reading a MouseLight list again and again: only tiles that have changed on it are looked at."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from latticework.io.mouselight import opened, read_mouselight_input
from latticework.io.placing import Placing
from latticework.lattice import Lattice


class MouseLightReader:
    """Reads ``dashboard.json`` and ``pipeline-input.json`` for `watch_list`.

    Parameters
    ----------
    placing
        How the tiles are placed; problems are put on the lattice.
    """

    def __init__(self, placing: Placing) -> None:
        self._placing = placing

    def __call__(self, path: Path) -> Lattice:
        """The lattice of all tiles of the list."""
        return opened(read_mouselight_input(path), self._placing).lattice

    def changed(
        self, path: Path, known: Mapping[str, bool]
    ) -> tuple[dict[str, bool], Lattice | None]:
        """All tiles of a list, and the lattice of those that are new or another than they were.

        Parameters
        ----------
        path
            The list.
        known
            Tiles that are known, by name, and whether they are complete.

        Returns
        -------
        Whether each listed tile is complete, by name; and a lattice, None where nothing is new.
        """
        listed = read_mouselight_input(path)
        every = dict(zip(listed.paths, listed.complete.tolist(), strict=True))
        rows = [row for row, (name, there) in enumerate(every.items()) if known.get(name) != there]
        if not rows:
            return every, None
        if not listed.complete[rows].any() and listed.complete.any():
            rows.append(int(listed.complete.argmax()))  # says what a tile is like
        at = np.array(rows, np.int64)
        some = replace(
            listed,
            paths=tuple(listed.paths[row] for row in rows),
            position=listed.position[at],
            complete=listed.complete[at],
            step=listed.step[at],
            ids=listed.ids[at],
        )
        return every, opened(some, self._placing).lattice
