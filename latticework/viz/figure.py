"""Figures that a notebook shows once, a script saves, and nothing global remembers.

pyplot keeps every figure it makes until told otherwise, shows it a second time when it is the
value of a notebook cell, and is not to be used from threads; none of that suits a library that
also draws from a coordinator.
"""

import math
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


def arranged(n: int, aspect: float, *, width: float, height: float) -> tuple[int, float]:
    """How many of `n` panels stand side by side, at most three, and inches across each.

    Parameters
    ----------
    n
        Panels.
    aspect
        Height by width of each.
    width, height
        Of all together, at most.

    Examples
    --------
    >>> arranged(1, 0.5, width=10.4, height=7.0), arranged(6, 1.0, width=10.4, height=7.0)[0]
    ((1, 9.4), 3)
    """
    found = []
    for across in range(1, min(n, 3) + 1):
        down = -(-n // across)
        each = min((width - 0.75 - 0.25 * across) / across, height / down / aspect)
        found.append((each * (1 + 0.1 * across), across, each))
    _, across, each = max(found)
    return across, each


def round_number(value: float) -> float:
    """1, 2 or 5 times a power of ten, not above `value`; at least 1.

    Examples
    --------
    >>> round_number(37.0), round_number(0.2)
    (20.0, 1.0)
    """
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(max(m * power for m in (1, 2, 5) if m * power <= value))
