"""Figures that a notebook shows once, a script saves, and nothing global remembers.

pyplot keeps every figure it makes until told otherwise, shows it a second time when it is the
value of a notebook cell, and is not to be used from threads; none of that suits a library that
also draws from a coordinator.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latticework.viz.states import Theme

INK: dict[Theme, str] = {"light": "#22272e", "dark": "#dce3ea"}
"""Colour of text and lines by theme."""
PAPER: dict[Theme, str] = {"light": "#ffffff", "dark": "#14171b"}
"""Colour of the background by theme."""


class Picture(Figure):
    """A figure with its own canvas, which notebooks show as a PNG."""

    def __init__(self, *, theme: Theme = "light", **options: Any) -> None:
        super().__init__(facecolor=PAPER[theme], **options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=100, bbox_inches="tight")
        return file.getvalue()


def saved(figure: Figure, path: Path | str | None, *, dpi: float = 150) -> None:
    """Write `figure` to `path`, in the format of its ending, where there is a path."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=dpi, facecolor=figure.get_facecolor())
