"""What is done to a tile: stages, what they read and make, and how a worker runs them."""

from latticework.stages.outputs import Output, array_output, record_output, table_output
from latticework.stages.reads import Reads, all_tiles, nothing, same_tile
from latticework.stages.stage import Stage, stage

__all__ = [
    "Output",
    "Reads",
    "Stage",
    "all_tiles",
    "array_output",
    "nothing",
    "record_output",
    "same_tile",
    "stage",
    "table_output",
]
