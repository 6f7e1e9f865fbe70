"""What users and our own tests share: simulated acquisitions with a known truth, and Hypothesis strategies.

The strategies live in `latticework.testing.strategies`, which needs Hypothesis and is not imported here.
"""

from latticework.testing.microscope import Microscope
from latticework.testing.phantom import Phantom
from latticework.testing.simulated import Acquisition, SimulatedSource, Truth, simulate

__all__ = ["Acquisition", "Microscope", "Phantom", "SimulatedSource", "Truth", "simulate"]
