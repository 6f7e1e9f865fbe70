"""What `latticework.stitch.stitch` made: the volume, and all that led to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latticework.project.project import Project
from latticework.stitch.placement import Placement

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.summary import RunSummary
    from latticework.stitch.account import Account


@dataclass(frozen=True)
class Stitched:
    """What `stitch` made; true if there is an image. A notebook shows a picture of it."""

    project: Project
    """With every step: states, attempts, tables."""
    image: Path | None
    """The volume, an OME-Zarr image; None if it could not be made whole."""
    placement: Placement
    """Where the tiles lie, and which links say so."""
    levels: "pd.DataFrame"
    """Gains by tile, and whether the flat-field was used; see
    `latticework.stitch.seams.level_tiles`."""
    report: Path | None
    """A page with pictures of all that."""
    summary: "RunSummary"
    """Of the run that made the volume."""
    account: "Account"
    """What it came to, in the words of the report."""
    channel: int = 0
    """Number of the channel that was compared."""

    def __bool__(self) -> bool:
        return self.image is not None

    def __repr__(self) -> str:
        where = "no volume: see why with project.why()" if self.image is None else str(self.image)
        said = "\n".join(f"  {line}" for line in self.account.lines)
        return f"<Stitched {where}\n{said}\n  project {self.project.path}>"

    def _repr_html_(self) -> str:
        from latticework.stitch.stitched_html import stitched_html

        return stitched_html(self)


__all__ = ["Stitched"]
