"""Stages that are ready to use: plain functions on labelled tiles, with or without a project."""

from latticework.stages.ready.background import subtract_background
from latticework.stages.ready.bad_pixels import (
    correct_bad_pixels,
    estimate_bad_pixels,
    saturation_mask,
)
from latticework.stages.ready.darkfield import estimate_darkfield
from latticework.stages.ready.deconvolve import deconvolution_halo, deconvolve, gaussian_psf
from latticework.stages.ready.destripe import destripe, estimate_stripe_angle, estimate_stripes
from latticework.stages.ready.flatfield import correct_flatfield, estimate_flatfield
from latticework.stages.ready.line_shift import estimate_line_shift, fix_line_shift
from latticework.stages.ready.matching import match_spots
from latticework.stages.ready.mosaic import mosaic
from latticework.stages.ready.spots import count_spots, detect_spots, spot_halo

__all__ = [
    "correct_bad_pixels",
    "correct_flatfield",
    "count_spots",
    "deconvolution_halo",
    "deconvolve",
    "destripe",
    "detect_spots",
    "estimate_bad_pixels",
    "estimate_darkfield",
    "estimate_flatfield",
    "estimate_line_shift",
    "estimate_stripe_angle",
    "estimate_stripes",
    "fix_line_shift",
    "gaussian_psf",
    "match_spots",
    "mosaic",
    "saturation_mask",
    "spot_halo",
    "subtract_background",
]
