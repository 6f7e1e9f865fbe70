"""What is done to a tile: stages, what they read and make, and how a worker runs them.

Ready stages, plain functions on labelled tiles, are here by name as well:
``estimate_flatfield``, ``correct_flatfield``, ``subtract_background``, ``detect_spots``,
``match_spots``, ``count_spots``, ``mosaic`` (`latticework.stages.ready`).
"""

from typing import TYPE_CHECKING, Any

from latticework.stages.budgets import Again, Retries
from latticework.stages.collections import Tiles
from latticework.stages.command import command, file
from latticework.stages.outputs import (
    Output,
    array_output,
    files_output,
    record_output,
    table_output,
)
from latticework.stages.produced import Files
from latticework.stages.reads import (
    Reads,
    all_tiles,
    intersecting,
    neighbours,
    nothing,
    plane,
    same_tile,
)
from latticework.stages.stage import Stage, stage

if TYPE_CHECKING:
    from latticework.stages.ready import correct_flatfield as correct_flatfield
    from latticework.stages.ready import count_spots as count_spots
    from latticework.stages.ready import detect_spots as detect_spots
    from latticework.stages.ready import estimate_flatfield as estimate_flatfield
    from latticework.stages.ready import match_spots as match_spots
    from latticework.stages.ready import mosaic as mosaic
    from latticework.stages.ready import subtract_background as subtract_background

__all__ = [
    "Again",
    "Files",
    "Output",
    "Reads",
    "Retries",
    "Stage",
    "Tiles",
    "all_tiles",
    "array_output",
    "command",
    "file",
    "files_output",
    "intersecting",
    "neighbours",
    "nothing",
    "plane",
    "record_output",
    "same_tile",
    "stage",
    "table_output",
]

_READY = (
    "correct_flatfield",
    "count_spots",
    "detect_spots",
    "estimate_flatfield",
    "match_spots",
    "mosaic",
    "subtract_background",
)


def __getattr__(name: str) -> Any:
    if name in _READY:
        from latticework.stages import ready

        return getattr(ready, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_READY])
