"""From tiles to a volume: how tiles lie to each other, and where each lies.

>>> import latticework as lw
>>> tiles, truth = lw.simulate({"y": 3, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=5)
>>> links = register(tiles)
>>> found = place(tiles, links)
>>> found.lattice.position_um.shape
(9, 2)
"""

from latticework.stitch.fusing import fuse
from latticework.stitch.levelling import estimate_gains
from latticework.stitch.levels import Levels, estimate_levels
from latticework.stitch.placement import Placement, place
from latticework.stitch.registration import register

__all__ = ["Levels", "Placement", "estimate_gains", "estimate_levels", "fuse", "place", "register"]
