"""What a stage has made, as a figure: mosaics of previews, a panel for each plane."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from latticework.errors import ProjectError
from latticework.viz.figure import INK, Picture, arranged, saved
from latticework.viz.mosaic_of_previews import preview_mosaic
from latticework.viz.planes import plane_numbers, planes_present
from latticework.viz.states import Theme
from latticework.viz.words import length, plain, plural

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

    from latticework.project.project import Project

WIDTH, HIGHEST = 10.4, 8.0
"""Inches of all panels."""
PIXELS = 150
"""Of a mosaic for an inch of its panel, at most."""


def plot_previews(
    project: "Project",
    stage: str | None = None,
    *,
    plane: int | Mapping[str, Any] | None = None,
    planes: int = 6,
    channel: int | str = 0,
    positions: Any = "nominal",
    make_s: float = 30.0,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> Figure:
    """What a stage has made, seen through z, plane by plane with one contrast.

    Parameters
    ----------
    project
        The project.
    stage
        Name of the stage, or ``"source"``; if not given the last one that has made pictures, of
        more than one unit where there are several tiles.
    plane
        The plane to show, by number or labels (``{"z": 3}``).
    planes
        How many are shown if `plane` is not given, evenly spaced.
    channel
        Channel by number or name.
    positions
        Where tiles lie: see `preview_mosaic`.
    make_s
        Seconds for making previews that are not there.
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
    ProjectError
        If the stage, or every stage, makes no pictures.
    LatticeError
        If there is no such plane or channel.

    Examples
    --------
    >>> import tempfile
    >>> from latticework import Lattice, create
    >>> tiles = Lattice.from_array(np.arange(48.0).reshape(6, 8), block={"y": 3, "x": 4})
    >>> project = create(tempfile.mkdtemp() + "/tiny.lw", tiles)
    >>> len(plot_previews(project, "source").axes)
    1
    """
    stage = _last_with_pictures(project) if stage is None else stage
    lattice = project[stage].lattice
    numbers, _ = plane_numbers(lattice)
    chosen: list[Any] = [plane]
    left = 0
    if plane is None:
        present = planes_present(numbers)
        shown = np.unique(np.linspace(0, len(present) - 1, max(1, planes)).round().astype(int))
        chosen, left = present[shown].tolist() or [None], len(present) - len(shown)
    look: dict[str, Any] = {"channel": channel, "positions": positions}
    first = preview_mosaic(project, stage, plane=chosen[0], max_px=64, make_s=0.0, **look)
    aspect = min(4.0, max(0.1, first.sizes["y"] / first.sizes["x"]))
    across, each = arranged(len(chosen), aspect, width=WIDTH, height=HIGHEST)
    each = max(each, 2.0)
    pixels = max(64, round(PIXELS * each * max(1.0, aspect)))
    pictures, budget = [], make_s
    for number in chosen:
        pictures.append(
            preview_mosaic(project, stage, plane=number, max_px=pixels, make_s=budget, **look)
        )
        budget = max(0.0, budget - make_s / len(chosen))
    for picture in pictures:  # which had fewer previews to go by than the last
        picture.attrs |= {name: pictures[-1].attrs[name] for name in ("low", "high")}
    figure = _figure(pictures, across, each, aspect, theme)
    note = [plural(sum(p.attrs["shown"] for p in pictures), "tile")]
    if (missing := sum(p.attrs["missing"] for p in pictures)) > 0:
        note.append(f"{missing:,} more have no preview yet")
    if left:
        note.append(f"{len(chosen)} of {len(chosen) + left:,} planes")
    _head(figure, f"{plain(stage, 60)}", ", ".join(note), theme)
    saved(figure, path)
    return figure


def _last_with_pictures(project: "Project") -> str:
    """The last stage with pictures; what one unit makes of all tiles (a lamp) is no such stage."""
    from latticework.project.preview_rules import layout_of

    for name in (*reversed(project.stages), "source"):
        node = project.pipeline[name]
        some = name == "source" or bool((node.units.published > 0).any())
        if node.lattice.n_tiles == 1 < project.lattice.n_tiles:
            continue
        if some and layout_of(project.settings, node) is not None:
            return name
    raise ProjectError("no stage of this project has made pictures of y and x yet: run it first")


TOP, FOOT, SIDE, GAP, NAME = 0.62, 0.12, 0.12, 0.12, 0.22
"""Inches around panels, and for the name of each."""


def _figure(pictures: list[Any], across: int, each: float, aspect: float, theme: Theme) -> Figure:
    titled = len(pictures) > 1 or bool(pictures[0].attrs["title"])
    down = -(-len(pictures) // across)
    tall = each * aspect + (NAME if titled else 0.0) + GAP
    width = max(3.2, 2 * SIDE + across * (each + GAP) - GAP)
    height = TOP + down * tall + FOOT
    figure = Picture(theme=theme, figsize=(width, height))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, across)
        x = SIDE + column * (each + GAP)
        y = height - TOP - row * tall - (tall - GAP)
        axes = figure.add_axes((x / width, y / height, each / width, each * aspect / height))
        _panel(axes, picture)
        if titled:
            title = plain(picture.attrs["title"], 40)
            axes.set_title(title, size=9, loc="left", color=INK[theme], pad=3)
    return figure


def _panel(axes: Axes, picture: Any) -> None:
    show_mosaic(axes, picture)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor(NOTHING)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _scale_bar(axes, picture.attrs["extent_um"])


def show_mosaic(axes: Axes, picture: Any) -> "AxesImage":
    """Draw what `preview_mosaic` gave: grey with its contrast, ids in colours that tell them apart.

    Parameters
    ----------
    axes
        Where to.
    picture
        The mosaic.
    """
    attrs = picture.attrs
    values = np.asarray(picture)
    options: dict[str, Any] = {"extent": attrs["extent_um"], "interpolation": "antialiased"}
    if attrs["projection"] == "labels":
        ids = np.nan_to_num(values).astype("u8")
        shown = np.where(ids > 0, 1 + ids * np.uint64(2654435761) % 4294967291 % (LABELS - 1), 0)
        options |= {"cmap": _label_colours(), "vmin": 0, "vmax": LABELS - 1}
        options["interpolation"] = "nearest"
        return axes.imshow(np.ma.masked_where(~np.isfinite(values), shown), **options)
    low, high = attrs["low"], attrs["high"]
    high = high if high > low else low + 1.0
    shown = np.ma.masked_invalid(values)
    return axes.imshow(shown, cmap="gray", vmin=low, vmax=high, **options)


NOTHING = "#2b3138"
"""Where there is no tile, or no preview of it yet."""
LABELS = 64
"""Colours of labels, black for none included."""


def _label_colours() -> ListedColormap:
    """Black, then hues by the golden angle, all about as bright."""
    from matplotlib.colors import hsv_to_rgb

    hues = np.arange(LABELS - 1) * 0.61803398875 % 1
    values = 0.75 + 0.25 * (np.arange(LABELS - 1) % 3) / 2
    colours = hsv_to_rgb(np.stack([hues, np.full_like(hues, 0.65), values], axis=1))
    return ListedColormap([(0.0, 0.0, 0.0), *map(tuple, colours.tolist())])


def _scale_bar(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    """A bar of a round length in the lower left corner."""
    left, right, bottom, top = extent
    wide = right - left
    target = 0.22 * wide
    power = 10.0 ** np.floor(np.log10(target))
    bar = float(max(m * power for m in (1, 2, 5) if m * power <= target))
    margin = 0.03 * wide
    thick = 0.008 * max(wide, bottom - top)
    y = bottom - margin - thick
    for grow, colour in ((0.35 * thick, "#000000"), (0.0, "#ffffff")):
        axes.add_patch(
            Rectangle(
                (left + margin - grow, y - grow), bar + 2 * grow, thick + 2 * grow,
                facecolor=colour, linewidth=0, alpha=0.9 if grow == 0 else 0.6,
            )
        )  # fmt: skip
    from matplotlib.patheffects import withStroke

    axes.text(
        left + margin, y - 0.6 * thick, length(bar), color="#ffffff", size=8, va="bottom",
        ha="left", parse_math=False, path_effects=[withStroke(linewidth=2, foreground="#000000")],
    )  # fmt: skip


def _head(figure: Figure, title: str, note: str, theme: Theme) -> None:
    width, height = figure.get_figwidth(), figure.get_figheight()
    look: dict[str, Any] = {"color": INK[theme], "parse_math": False, "va": "center"}
    figure.text(SIDE / width, 1 - 0.2 / height, title, size=11, weight="bold", **look)
    figure.text(SIDE / width, 1 - 0.42 / height, note, size=8.5, alpha=0.8, **look)


__all__ = ["plot_previews", "show_mosaic"]
