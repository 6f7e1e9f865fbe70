"""Stages that are ready to use: plain functions on labelled tiles, with or without a project."""

from latticework.stages.ready.background import subtract_background
from latticework.stages.ready.flatfield import correct_flatfield, estimate_flatfield
from latticework.stages.ready.matching import match_spots
from latticework.stages.ready.mosaic import mosaic
from latticework.stages.ready.spots import count_spots, detect_spots, spot_halo

__all__ = [
    "correct_flatfield",
    "count_spots",
    "detect_spots",
    "estimate_flatfield",
    "match_spots",
    "mosaic",
    "spot_halo",
    "subtract_background",
]
