"""What is where and in which state: lattice, neighbours, geometry, states. No files, no cluster."""

from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.source import BlockSource, TileSource
from latticework.lattice.states import State
from latticework.lattice.tile import Tile

__all__ = ["BlockSource", "Box", "Lattice", "State", "Tile", "TileSource"]
