"""How well links between tiles agree: what they leave unfulfilled, and how sure they were."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from latticework.errors import LatticeError
from latticework.lattice.states import State
from latticework.viz.figure import INK, Picture, saved
from latticework.viz.links_map import blue
from latticework.viz.states import Theme, state_colours
from latticework.viz.words import percent, plain, plural

if TYPE_CHECKING:
    import pandas as pd

BINS = 40
"""Of the histogram, at most."""
MOST_DOTS = 4000
"""Links that are drawn as dots; of more, so many by chance."""
COLUMNS = ("axis", "trusted", "residual_px", "correlation")
"""Columns of the table that are drawn."""


def plot_residuals(
    links: "pd.DataFrame", *, theme: Theme = "light", path: Path | str | None = None
) -> Figure:
    """How far links are from being fulfilled, by axis, and beside their correlation.

    Parameters
    ----------
    links
        The links of a `Placement`: ``axis``, ``trusted``, ``residual_px``, ``correlation``.
    theme
        ``"light"`` or ``"dark"``.
    path
        Where to write the picture, if anywhere.

    Returns
    -------
    Figure
        A matplotlib figure; notebooks show it, ``figure.savefig`` writes it.

    Raises
    ------
    LatticeError
        If columns are missing.

    Examples
    --------
    >>> import pandas as pd
    >>> links = pd.DataFrame({"axis": ["y", "x"], "trusted": [True, False],
    ...                       "residual_px": [0.2, 5.0], "correlation": [0.9, 0.1]})
    >>> len(plot_residuals(links).axes)
    2
    """
    lacking = [name for name in COLUMNS if name not in links.columns]
    if lacking:
        raise LatticeError(
            f"a table of links has the columns {', '.join(COLUMNS)}; this one lacks "
            f"{', '.join(lacking)}"
        )
    figure = Picture(theme=theme, figsize=(9.6, 3.9))
    left = figure.add_axes((0.07, 0.15, 0.4, 0.66))
    right = figure.add_axes((0.57, 0.15, 0.4, 0.66))
    trusted = links["trusted"].to_numpy(bool)
    residual = links["residual_px"].to_numpy("f8")
    _histogram(left, links["axis"].to_numpy(str), residual, trusted, theme)
    _dots(right, links["correlation"].to_numpy("f8"), residual, trusted, theme)
    known = residual[trusted & np.isfinite(residual)]
    text = f"{plural(len(links), 'link')}, {percent(int(trusted.sum()), len(links))} trusted"
    if len(known):
        typical, worst = np.percentile(known, (50, 99))
        text += f"; residual of these {typical:.2f} px in the median, 99 % below {worst:.2f} px"
    figure.text(0.07, 0.93, text, size=10, color=INK[theme], parse_math=False)
    saved(figure, path)
    return figure


def _histogram(
    axes: Axes, axis: np.ndarray, residual: np.ndarray, trusted: np.ndarray, theme: Theme
) -> None:
    use = trusted & np.isfinite(residual)
    top = float(np.percentile(residual[use], 99.5)) if use.any() else 1.0
    bins = int(np.clip(1.6 * np.sqrt(max(use.sum(), 1)), 8, BINS))
    edges = np.linspace(0, max(top, 0.1), bins + 1)
    names = sorted({str(name) for name in axis[use]})
    values = [np.minimum(residual[use & (axis == name)], edges[-1]) for name in names]
    labels = [f"along {plain(n, 20)} ({len(v):,})" for n, v in zip(names, values, strict=True)]
    if names:
        colours = [_colours(theme)[k % 4] for k in range(len(names))]
        axes.hist(values, edges.tolist(), stacked=True, color=colours, label=labels, rwidth=0.94)
    _style(axes, "residual of trusted links (px)", "links", theme)
    if names:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK[theme])
    else:
        _nothing(axes, "no link is trusted", theme)


def _dots(
    axes: Axes, correlation: np.ndarray, residual: np.ndarray, trusted: np.ndarray, theme: Theme
) -> None:
    """Residual by correlation, on a scale that shows tenths of a pixel and hundreds."""
    known = np.flatnonzero(np.isfinite(correlation) & np.isfinite(residual))
    if len(known) > MOST_DOTS:
        known = np.sort(np.random.default_rng(0).choice(known, MOST_DOTS, replace=False))
    for good, label, colour in (
        (False, "not trusted", state_colours[State.FAILED].on(theme)),
        (True, "trusted", state_colours[State.COMPLETE].on(theme)),
    ):
        of = known[trusted[known] == good]
        if len(of):
            size = float(np.clip(4000 / len(known), 3, 26))
            axes.scatter(
                correlation[of], np.maximum(residual[of], 0.01), s=size, color=colour, alpha=0.6,
                linewidths=0, label=label,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _style(axes, "correlation", "residual (px)", theme)
    if len(known):
        axes.legend(frameon=False, fontsize=8, labelcolor=INK[theme])
    else:
        _nothing(axes, "no link has a correlation", theme)


def _nothing(axes: Axes, text: str, theme: Theme) -> None:
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": INK[theme], "size": 9}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, parse_math=False, **look)


def _colours(theme: Theme) -> tuple[str, ...]:
    of = [state_colours[state].on(theme) for state in (State.COMPLETE, State.BLOCKED)]
    return (of[0], blue(theme), of[1], state_colours[State.RUNNING].on(theme))


def _style(axes: Axes, xlabel: str, ylabel: str, theme: Theme) -> None:
    axes.set_facecolor("none")
    axes.set_xlabel(xlabel, size=8.5, color=INK[theme])
    axes.set_ylabel(ylabel, size=8.5, color=INK[theme])
    axes.tick_params(which="both", colors=INK[theme], labelsize=8, length=2)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK[theme])
        spine.set_alpha(0.4)


__all__ = ["plot_residuals"]
