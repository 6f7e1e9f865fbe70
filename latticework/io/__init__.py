"""Bytes: readers of acquisitions, stores of stages, the journal."""

from latticework.io.open_tiles import open_tiles
from latticework.io.sources import load_source, register_source, save_source

__all__ = ["load_source", "open_tiles", "register_source", "save_source"]
