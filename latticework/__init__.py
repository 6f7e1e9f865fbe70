"""Turn the tiles of a microscope acquisition into a finished volume, while it is being acquired.

``import latticework as lw`` gives the names that a notebook needs. They are loaded when first
used, so that the import itself takes a few milliseconds:

===================  =================================================================
``open_tiles``       the lattice of an acquisition on disk or in memory
``simulate``         an acquisition with a known truth, for trying things out
``create``           a new project: a folder with the lattice, the pipeline and its results
``create_watched``   a project of an acquisition that goes on, made from its first tiles
``open_project``     a project that exists already
``local``, ``slurm``  pools of workers, on this machine and in a SLURM cluster
``recover``          a journal that is damaged or gone, made anew
``neighbours`` ...   what a stage reads: also ``plane``, ``all_tiles``, ``intersecting``
``stage``            a function as a step of a pipeline, with its options
``command``          a program as a step of a pipeline, and ``file`` for what it makes
``Again``            how often a unit is tried again after it failed; ``Retries`` by kind
``email``            a letter when something happens, and ``webhook`` for other services
``stages``           everything for writing stages; ready ones in ``lw.stages.ready``
``view``             an image, tiles or arrays in Neuroglancer; `Project.view` for projects
``napari_layers``    the same for napari
``viz``              plots and pictures
``testing``          simulated acquisitions and Hypothesis strategies
===================  =================================================================

Examples
--------
>>> import latticework as lw
>>> "open_tiles" in dir(lw)
True
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latticework import errors as errors
    from latticework import stages as stages
    from latticework import testing as testing
    from latticework import viz as viz
    from latticework.io import open_tiles as open_tiles
    from latticework.lattice import Box as Box
    from latticework.lattice import Lattice as Lattice
    from latticework.lattice import State as State
    from latticework.lattice import Tile as Tile
    from latticework.project import Project as Project
    from latticework.project import create as create
    from latticework.project import create_watched as create_watched
    from latticework.project import email as email
    from latticework.project import local as local
    from latticework.project import open_project as open_project
    from latticework.project import recover as recover
    from latticework.project import slurm as slurm
    from latticework.project import webhook as webhook
    from latticework.stages import Again as Again
    from latticework.stages import Retries as Retries
    from latticework.stages import Stage as Stage
    from latticework.stages import all_tiles as all_tiles
    from latticework.stages import array_output as array_output
    from latticework.stages import command as command
    from latticework.stages import file as file
    from latticework.stages import intersecting as intersecting
    from latticework.stages import neighbours as neighbours
    from latticework.stages import nothing as nothing
    from latticework.stages import plane as plane
    from latticework.stages import record_output as record_output
    from latticework.stages import same_tile as same_tile
    from latticework.stages import stage as stage
    from latticework.stages import table_output as table_output
    from latticework.testing import simulate as simulate
    from latticework.viz.neuroglancer import napari_layers as napari_layers
    from latticework.viz.neuroglancer import view as view

__version__ = "0.1.0.dev0"

_HOME = {
    "Box": "latticework.lattice",
    "Lattice": "latticework.lattice",
    "State": "latticework.lattice",
    "Tile": "latticework.lattice",
    "open_tiles": "latticework.io",
    "Again": "latticework.stages",
    "Retries": "latticework.stages",
    "Stage": "latticework.stages",
    "all_tiles": "latticework.stages",
    "array_output": "latticework.stages",
    "command": "latticework.stages",
    "file": "latticework.stages",
    "intersecting": "latticework.stages",
    "neighbours": "latticework.stages",
    "nothing": "latticework.stages",
    "plane": "latticework.stages",
    "record_output": "latticework.stages",
    "same_tile": "latticework.stages",
    "stage": "latticework.stages",
    "table_output": "latticework.stages",
    "Project": "latticework.project",
    "create": "latticework.project",
    "create_watched": "latticework.project",
    "local": "latticework.project",
    "open_project": "latticework.project",
    "recover": "latticework.project",
    "slurm": "latticework.project",
    "email": "latticework.project",
    "webhook": "latticework.project",
    "simulate": "latticework.testing",
    "napari_layers": "latticework.viz.neuroglancer",
    "view": "latticework.viz.neuroglancer",
}
"""The module that each public name comes from. In step with the imports above (tested)."""

_ROOMS = ("errors", "stages", "testing", "viz")
"""Modules that are public names themselves."""

__all__ = [
    "Again",
    "Box",
    "Lattice",
    "Project",
    "Retries",
    "Stage",
    "State",
    "Tile",
    "all_tiles",
    "array_output",
    "command",
    "create",
    "create_watched",
    "email",
    "errors",
    "file",
    "intersecting",
    "local",
    "napari_layers",
    "neighbours",
    "nothing",
    "open_project",
    "open_tiles",
    "plane",
    "record_output",
    "recover",
    "same_tile",
    "simulate",
    "slurm",
    "stage",
    "stages",
    "table_output",
    "testing",
    "view",
    "viz",
    "webhook",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"latticework.{name}")
    else:
        raise AttributeError(
            f"latticework has no {name!r}; the public names are {', '.join(__all__)}"
        )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
