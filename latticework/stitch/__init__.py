"""From tiles to a volume: how tiles lie to each other, and where each lies.

>>> import latticework as lw
>>> tiles, truth = lw.simulate({"y": 3, "x": 3}, tile_shape={"y": 96, "x": 96}, seed=5)
>>> links = register(tiles)
>>> found = place(tiles, links)
>>> found.lattice.position_um.shape
(9, 2)
"""

from latticework.stages.ready.points import match_points
from latticework.stitch.fusing import fuse
from latticework.stitch.fusion_plan import FusionPlan
from latticework.stitch.levelling import estimate_gains
from latticework.stitch.placement import Placement, place
from latticework.stitch.point_links import register_points
from latticework.stitch.registration import register
from latticework.stitch.stitching import Stitched, stitch
from latticework.stitch.warps import Warp

__all__ = [
    "FusionPlan",
    "Placement",
    "Stitched",
    "Warp",
    "estimate_gains",
    "fuse",
    "match_points",
    "place",
    "register",
    "register_points",
    "stitch",
]
