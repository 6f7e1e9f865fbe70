"""What people look at: notebook reprs, plots, progress. Nothing heavy is imported until it is used.

======================  ==================================================================
``plot_lattice``        tiles at their positions, with matplotlib
``plot_status``         every stage's states by plane, with matplotlib
``plot_previews``       what a stage has made, plane by plane
``plot_positions``      where tiles were found beside where they should be
``plot_links``          links between tiles, and how far these moved
``plot_residuals``      how well links agree
``mosaic_picture``      the tiles themselves, reduced, at their positions
``preview_mosaic``      the previews of a stage at their positions: quick, also while it runs
``compare_png``         two pictures side by side in a file
``make_progress``       shows how a run gets on: terminal, notebook, plain lines or nothing
``status_html``         stages as stacked bars, for notebook reprs
``summary_text``        a run in a few lines, and ``summary_html`` the same for notebooks
``state_colours``       the colours of the states, everywhere the same
======================  ==================================================================
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latticework.viz.lattice_plot import plot_lattice as plot_lattice
    from latticework.viz.links_map import plot_links as plot_links
    from latticework.viz.mosaic import mosaic_picture as mosaic_picture
    from latticework.viz.mosaic_of_previews import preview_mosaic as preview_mosaic
    from latticework.viz.pictures import compare_png as compare_png
    from latticework.viz.pictures import save_png as save_png
    from latticework.viz.positions_plot import plot_positions as plot_positions
    from latticework.viz.preview_plot import plot_previews as plot_previews
    from latticework.viz.progress import Progress as Progress
    from latticework.viz.progress import make_progress as make_progress
    from latticework.viz.rates import RateEstimator as RateEstimator
    from latticework.viz.residuals_plot import plot_residuals as plot_residuals
    from latticework.viz.stage_bars import status_html as status_html
    from latticework.viz.states import state_cmap as state_cmap
    from latticework.viz.states import state_colours as state_colours
    from latticework.viz.status_plot import plot_status as plot_status
    from latticework.viz.summary import Failure as Failure
    from latticework.viz.summary import summary_html as summary_html
    from latticework.viz.summary import summary_text as summary_text

# Names of modules differ from all of these: importing a module sets its name on the package.
_HOME = {
    "Failure": "summary",
    "Progress": "progress",
    "RateEstimator": "rates",
    "compare_png": "pictures",
    "make_progress": "progress",
    "mosaic_picture": "mosaic",
    "plot_lattice": "lattice_plot",
    "plot_links": "links_map",
    "plot_positions": "positions_plot",
    "plot_previews": "preview_plot",
    "plot_residuals": "residuals_plot",
    "plot_status": "status_plot",
    "preview_mosaic": "mosaic_of_previews",
    "save_png": "pictures",
    "state_cmap": "states",
    "state_colours": "states",
    "status_html": "stage_bars",
    "summary_html": "summary",
    "summary_text": "summary",
}

__all__ = [
    "Failure",
    "Progress",
    "RateEstimator",
    "compare_png",
    "make_progress",
    "mosaic_picture",
    "plot_lattice",
    "plot_links",
    "plot_positions",
    "plot_previews",
    "plot_residuals",
    "plot_status",
    "preview_mosaic",
    "save_png",
    "state_cmap",
    "state_colours",
    "status_html",
    "summary_html",
    "summary_text",
]


def __getattr__(name: str) -> Any:
    """Load a name at its first use."""
    if name not in _HOME:
        raise AttributeError(f"latticework.viz has no {name!r}; there are {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"latticework.viz.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
