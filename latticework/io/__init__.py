"""Bytes: readers of acquisitions, stores of stages, the journal."""

from latticework.io.lavision import open_lavision
from latticework.io.mouselight import (
    MouseLightAcquisition,
    MouseLightInput,
    read_mouselight,
    read_mouselight_input,
)
from latticework.io.ome_tiff import to_ome_tiff, to_tiff
from latticework.io.open_image import open_image
from latticework.io.open_tiles import open_tiles
from latticework.io.position_files import write_positions
from latticework.io.smartspim import open_smartspim
from latticework.io.sources import load_source, register_source, save_source
from latticework.io.tilebase import StitchedTile, Tilebase, read_tilebase, write_tilebase

__all__ = [
    "MouseLightAcquisition",
    "MouseLightInput",
    "StitchedTile",
    "Tilebase",
    "load_source",
    "open_image",
    "open_lavision",
    "open_smartspim",
    "open_tiles",
    "read_mouselight",
    "read_mouselight_input",
    "read_tilebase",
    "register_source",
    "save_source",
    "to_ome_tiff",
    "to_tiff",
    "write_positions",
    "write_tilebase",
]
