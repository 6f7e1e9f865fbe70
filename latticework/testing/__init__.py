"""What users and our own tests share: simulated acquisitions of known truth, and strategies.

The strategies live in `latticework.testing.strategies`, which needs Hypothesis and is not imported
here.
"""

from latticework.testing.acquisitions import (
    write_ome_tiff,
    write_pattern,
    write_tiff_csv,
    write_truth,
    write_zarr,
)
from latticework.testing.microscope import Microscope
from latticework.testing.phantom import Phantom
from latticework.testing.seed_formats import (
    mouselight_list,
    write_lavision,
    write_mouselight,
    write_smartspim,
)
from latticework.testing.simulated import Acquisition, SimulatedSource, Truth, simulate

__all__ = [
    "Acquisition",
    "Microscope",
    "Phantom",
    "SimulatedSource",
    "Truth",
    "mouselight_list",
    "simulate",
    "write_lavision",
    "write_mouselight",
    "write_ome_tiff",
    "write_pattern",
    "write_smartspim",
    "write_tiff_csv",
    "write_truth",
    "write_zarr",
]
