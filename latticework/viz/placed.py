"""Tiles that were placed by links, and the planes of them that are worth a look."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from latticework.lattice import Lattice
from latticework.viz.planes import plane_numbers, planes_present

if TYPE_CHECKING:
    import pandas as pd

MOST_PLANES = 6
"""Planes that are drawn."""


class Placed(Protocol):
    """Tiles that were placed by links: a `latticework.stitch.Placement`, or tables of a project."""

    @property
    def lattice(self) -> Lattice:
        """The lattice with the positions that were found."""
        ...

    @property
    def tiles(self) -> "pd.DataFrame":
        """By tile ``tile`` or ``id``, ``placed_by``, and ``moved_x_px`` by dim."""
        ...

    @property
    def links(self) -> "pd.DataFrame":
        """``first``, ``second``, ``axis``, ``trusted``, ``residual_px``, ``correlation``."""
        ...


@dataclass(frozen=True, slots=True)
class Plane:
    """Tiles and links that are drawn in one panel."""

    title: str
    rows: np.ndarray
    """Of the lattice."""
    links: np.ndarray
    """Rows of the table whose first tile lies here."""


def finite(values: Any) -> np.ndarray:
    """Numbers with 0 in place of what is none."""
    found: np.ndarray = np.nan_to_num(np.asarray(values, "f8"), nan=0.0, posinf=0.0, neginf=0.0)
    return found


def planes_of(placement: Placed, most: int = MOST_PLANES) -> tuple[list[Plane], int]:
    """The planes with most to look at, in order, and how many are left out."""
    lattice, links = placement.lattice, placement.links
    numbers, titles = plane_numbers(lattice)
    first = lattice.rows_of(links["first"].to_numpy(np.int64)) if len(links) else np.zeros(0, int)
    present = planes_present(numbers)
    doubt = np.bincount(
        np.searchsorted(present, numbers[first]),
        weights=~links["trusted"].to_numpy(bool) + 1e-3 * finite(links["residual_px"]),
        minlength=len(present),
    )
    keep = np.sort(np.argsort(-doubt, kind="stable")[: max(1, most)])
    found = [
        Plane(
            titles(int(present[k])),
            np.flatnonzero(numbers == present[k]),
            np.flatnonzero(numbers[first] == present[k]),
        )
        for k in keep
    ]
    return found, len(present) - len(keep)


__all__ = ["MOST_PLANES", "Placed", "Plane", "finite", "planes_of"]
