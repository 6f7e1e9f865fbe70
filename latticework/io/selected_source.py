"""Some tiles of another source, numbered anew: what a project of a selection reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from latticework.io.sources import load_source, read_table, save_source, write_table
from latticework.lattice.source import SelectedSource

INNER = "whole"
"""Folder, within that of the selection, of the source that it is of."""


@dataclass(frozen=True, slots=True)
class SavableSelection(SelectedSource):
    """A `SelectedSource` that can be written to a project."""

    kind: ClassVar[str] = "selection"

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write which tiles they are, and the source below them."""
        save_source(self.inner, folder / INNER, base=base)
        write_table(folder / "tiles.arrow", {"tile": np.asarray(self.tiles, np.int64)})
        return {}

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> Self:
        """Open both."""
        del spec
        tiles = read_table(folder / "tiles.arrow").column("tile").to_numpy()
        return cls(load_source(folder / INNER, base=base), tiles)
