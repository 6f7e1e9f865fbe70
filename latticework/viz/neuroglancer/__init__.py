"""Neuroglancer: tiles, stages, volumes and points of a project in a browser, in one call.

======================  ==================================================================
``view``                an OME-Zarr image, tiles or arrays; `latticework.Project.view` for projects
``View``                what these return: ``url``, ``state``, ``share()``, ``close()``
``Overlay``             an atlas or another image to lay over it, with a transform
``napari_layers``       the layers of a view for napari
``serve_with``          where views are served, for how long, and who else may read
``close_server``        ends them all
``ViewError``           something cannot be shown
======================  ==================================================================
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latticework.viz.neuroglancer.napari import napari_layers as napari_layers
    from latticework.viz.neuroglancer.opening import view as view
    from latticework.viz.neuroglancer.opening import view_project as view_project
    from latticework.viz.neuroglancer.resources import ViewError as ViewError
    from latticework.viz.neuroglancer.server import DataServer as DataServer
    from latticework.viz.neuroglancer.server import close_server as close_server
    from latticework.viz.neuroglancer.server import serve_with as serve_with
    from latticework.viz.neuroglancer.stored_images import Overlay as Overlay
    from latticework.viz.neuroglancer.views import View as View

# Names of modules differ from all of these: importing a module sets its name on the package.
_HOME = {
    "DataServer": "server",
    "Overlay": "stored_images",
    "View": "views",
    "ViewError": "resources",
    "close_server": "server",
    "napari_layers": "napari",
    "serve_with": "server",
    "view": "opening",
    "view_project": "opening",
}

__all__ = [
    "DataServer",
    "Overlay",
    "View",
    "ViewError",
    "close_server",
    "napari_layers",
    "serve_with",
    "view",
    "view_project",
]


def __getattr__(name: str) -> Any:
    """Load a name at its first use."""
    if name not in _HOME:
        raise AttributeError(
            f"latticework.viz.neuroglancer has no {name!r}; there are {', '.join(__all__)}"
        )
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
