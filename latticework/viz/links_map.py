"""Draws planes of tiles that were placed: links between them and how far they moved, with a key.

::

    ┌──────┬──────┬──────┐
    │  5 ━━┿━━ 6 ╌┼✕╌ 7  │   ━━ trusted, in the colour of its residual   ✕ not trusted
    │  ↗   │  ↗   │      │   ↗ from its nominal place, drawn larger than it is
    └──────┴──────┴──────┘
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from latticework.errors import LatticeError
from latticework.lattice.loops import in_no_loop
from latticework.lattice.places import extents_um
from latticework.lattice.states import State
from latticework.viz.figure import INK, Picture, arranged, round_number, saved
from latticework.viz.placed import MOST_PLANES, Placed, Plane, finite, planes_of
from latticework.viz.states import Theme, state_colours
from latticework.viz.words import plural

Colour = Literal["residual", "correlation"]
MOST_TILES = 20_000
"""Tiles of a plane that are drawn one by one; of more than that, how many links are not trusted."""
MOST_NUMBERS, MOST_ARROWS = 150, 2500
"""Tiles of a plane with their ids, and with arrows."""
LARGEST = 1.7
"""Inches across a tile at most."""
SMALL = 14.0
"""Size of a tile on the picture, in points, below which tiles have the colour of their worst link
instead of links between them."""
ARROW = 0.35
"""Share of a tile that the arrow of a typical tile is long."""
LEAST_Z_PX = 0.05
"""How far a tile has moved along z where it is told how far all have."""
WIDTH, NARROWEST, HIGHEST = 10.4, 8.4, 7.0
"""Inches."""


def scale_of(name: str, theme: Theme) -> LinearSegmentedColormap:
    """From good to bad: the colours of complete, running and failed."""
    parts = [
        state_colours[state].on(theme) for state in (State.COMPLETE, State.RUNNING, State.FAILED)
    ]
    if name == "correlation":
        parts.reverse()
    return LinearSegmentedColormap.from_list(name, parts)


class PlacementMap:
    """Draws planes of a placement.

    Parameters
    ----------
    placement
        Whose tiles and links are drawn.
    colour
        What the colour of a trusted link tells.
    theme
        ``"light"`` or ``"dark"``.
    """

    def __init__(self, placement: Placed, colour: Colour, theme: Theme) -> None:
        self.placement, self.colour, self.theme = placement, colour, theme
        lattice, links = placement.lattice, placement.links
        yx = [lattice.spatial_dims.index(axis) for axis in ("y", "x")]
        extents = np.broadcast_to(extents_um(lattice), lattice.position_um.shape)
        self.near, self.size = lattice.position_um[:, yx], extents[:, yx]
        self.centre = self.near + self.size / 2
        self.trusted = links["trusted"].to_numpy(bool)
        self.flat = np.isin(links["axis"].to_numpy(str), ("y", "x"))
        self.ends = [
            lattice.rows_of(links[end].to_numpy(np.int64)) if len(links) else np.zeros(0, int)
            for end in ("first", "second")
        ]
        self.checked = np.zeros(len(links), bool)
        alone = in_no_loop(len(lattice), *(end[self.trusted] for end in self.ends))
        self.checked[self.trusted] = ~alone if colour == "residual" else True
        self.values = finite(links["residual_px" if colour == "residual" else "correlation"])
        of = self.values[self.trusted]
        top = float(np.percentile(of, 99)) if len(of) else 1.0
        self.norm = Normalize(0, max(1.0, top) if colour == "residual" else 1.0)
        self.scale = scale_of(colour, theme)
        self.worst = np.full(len(lattice), 0.0 if colour == "residual" else 1.0)
        beyond = np.maximum if colour == "residual" else np.minimum
        for end in self.ends:
            beyond.at(self.worst, end[self.trusted], of)
        self.small = False
        self.ink = INK[theme]
        self.grey = to_rgba(self.ink, 0.45)
        self._moves()

    def _moves(self) -> None:
        """How tiles moved, in micrometres, and how much larger that is drawn."""
        lattice, tiles = self.placement.lattice, self.placement.tiles
        id = "id" if "id" in tiles else "tile"
        rows = lattice.rows_of(tiles[id].to_numpy(np.int64))
        self.moved = np.zeros((len(lattice), 2))
        for k, dim in enumerate(("y", "x")):
            pixels = tiles[f"moved_{dim}_px"].to_numpy("f8")
            self.moved[rows, k] = pixels * lattice.pixel_size_um[dim]
        self.alone = np.ones(len(lattice), bool)
        self.alone[rows] = ~tiles["placed_by"].isin(["links", "anchor"]).to_numpy()
        self.along_z = np.zeros(len(lattice))
        if "moved_z_px" in tiles:
            self.along_z[rows] = tiles["moved_z_px"].to_numpy("f8")
        self.bad = np.isin(lattice.ids, np.fromiter(lattice.problems, dtype=np.int64))
        typical = float(np.percentile(np.linalg.norm(self.moved, axis=1), 90))
        room = ARROW * float(np.median(self.size.min(axis=1)))
        self.larger = round_number(room / typical) if typical > 1e-6 * room else 0.0

    # ---------------------------------------------------------------- the figure

    def drawn(self, planes: Sequence[Plane], left: int) -> Figure:
        """A panel for each of these planes; `left` more are not shown."""
        low = self.near.min(axis=0)
        high = (self.near + self.size).max(axis=0)
        aspect = min(3.0, max(0.12, float((high - low)[0] / (high - low)[1])))
        n = len(planes)
        across, each = arranged(n, aspect, width=WIDTH, height=HIGHEST)
        tiles = float((high - low)[1]) / float(np.median(self.size[:, 1]))
        each = min(each, max(3.0, LARGEST * tiles))
        down = -(-n // across)
        titled = len(planes) + left > 1
        wide = each * 72 / float((high - low)[1])
        self.small = wide * float(np.median(self.size.min(axis=1))) < SMALL
        width = max(NARROWEST, 0.75 + across * (each + 0.25))
        tall = each * aspect + (0.34 if titled else 0.12)
        top, foot = 0.3 if left else 0.02, 1.08
        height = top + down * tall + foot
        figure = Picture(theme=self.theme, figsize=(width, height))
        for number, plane in enumerate(planes):
            row, column = divmod(number, across)
            x = 0.62 + column * (each + 0.25)
            y = height - top - (row + 1) * tall + 0.04
            axes = figure.add_axes((x / width, y / height, each / width, each * aspect / height))
            axes.set_xlim(low[1], high[1])
            axes.set_ylim(high[0], low[0])
            self._panel(axes, plane, wide)
            if titled:
                axes.set_title(plane.title, size=9, loc="left", color=self.ink, pad=3)
            self._ticks(axes, bottom=number + across >= n, side=column == 0)
        if left:
            note = f"{plural(n, 'plane')} with most to look at; {left:,} more not shown"
            figure.text(
                0.62 / width, 1 - 0.14 / height, note, size=8.5, color=self.ink, va="center"
            )
        self._key(figure, width, height)
        return figure

    def _ticks(self, axes: Axes, *, bottom: bool, side: bool) -> None:
        axes.set_facecolor("none")
        axes.tick_params(
            colors=self.ink, labelsize=7.5, length=2, labelbottom=bottom, labelleft=side
        )
        axes.set_xlabel("x (µm)" if bottom else "", size=8, color=self.ink, labelpad=2)
        axes.set_ylabel("y (µm)" if side else "", size=8, color=self.ink, labelpad=2)
        for spine in axes.spines.values():
            spine.set_color(to_rgba(self.ink, 0.25))

    def _panel(self, axes: Axes, plane: Plane, points_per_um: float) -> None:
        rows = plane.rows
        if len(rows) > MOST_TILES:
            self._density(axes, plane)
            return
        alone, bad = rows[self.alone[rows] & ~self.bad[rows]], rows[self.bad[rows]]
        tile = points_per_um * float(np.median(self.size[rows].min(axis=1)))
        if self.small:
            self._coloured(axes, rows[~self.alone[rows]])
        else:
            self._rectangles(axes, rows[~self.alone[rows]], self.ink, 0.05)
        self._rectangles(axes, alone, state_colours[State.BLOCKED].on(self.theme), 0.32)
        self._rectangles(axes, bad, state_colours[State.FAILED].on(self.theme), 0.45)
        if self.small:
            lost = plane.links[~self.trusted[plane.links]]
            at = (self.centre[self.ends[0][lost]] + self.centre[self.ends[1][lost]]) / 2
            self._crosses(axes, at[:, ::-1], 0.1 * tile)
            return
        self._arrows(axes, rows, tile)
        self._links(axes, plane.links, tile)
        self._numbers(axes, rows, tile)

    def _coloured(self, axes: Axes, rows: np.ndarray) -> None:
        """Tiles in the colour of their worst trusted link."""
        tiles = PolyCollection(self._corners(rows), cmap=self.scale, norm=self.norm, linewidths=0)
        tiles.set_array(self.worst[rows])
        axes.add_collection(tiles)

    def _corners(self, rows: np.ndarray) -> list[np.ndarray]:
        near, far = self.near[rows], self.near[rows] + self.size[rows]
        corners = [
            near[:, ::-1],
            np.stack([far[:, 1], near[:, 0]], axis=1),
            far[:, ::-1],
            np.stack([near[:, 1], far[:, 0]], axis=1),
        ]
        return list(np.stack(corners, axis=1))

    def _rectangles(self, axes: Axes, rows: np.ndarray, colour: str, fill: float) -> None:
        if not len(rows):
            return
        edge = to_rgba(colour, 0.3 if len(self.near) <= 1000 else 0.12)
        axes.add_collection(
            PolyCollection(
                self._corners(rows),
                facecolors=to_rgba(colour, fill),
                edgecolors=edge,
                linewidths=0.6,
            )
        )

    def _links(self, axes: Axes, links: np.ndarray, tile: float) -> None:
        """Lines across the overlaps; dots where the second tile lies in another plane."""
        thick = float(np.clip(0.07 * tile, 0.8, 4.5))
        for flat in (True, False):
            draw = self._lines if flat else self._dots
            of = links[self.flat[links] == flat]
            lost = of[~self.trusted[of]]
            draw(axes, lost, thick, "lost")
            draw(axes, of[self.trusted[of] & ~self.checked[of]], thick, "alone")
            draw(axes, of[self.checked[of]], thick, "checked")

    def _lines(self, axes: Axes, links: np.ndarray, thick: float, kind: str) -> None:
        a, b = (self.centre[end[links]][:, ::-1] for end in self.ends)
        parts = list(np.stack([a + 0.3 * (b - a), a + 0.7 * (b - a)], axis=1))
        if kind == "checked":
            lines = LineCollection(
                parts, linewidths=thick, capstyle="round", cmap=self.scale, norm=self.norm
            )
            lines.set_array(self.values[links])
        elif kind == "alone":
            lines = LineCollection(parts, linewidths=thick, capstyle="round", colors=self.grey)
        else:
            dim = to_rgba(self.ink, 0.6)
            lines = LineCollection(parts, linewidths=0.45 * thick, colors=dim, linestyles="dotted")
            self._crosses(axes, (a + b) / 2, thick)
        axes.add_collection(lines)

    def _dots(self, axes: Axes, links: np.ndarray, thick: float, kind: str) -> None:
        rows = self.ends[0][links]
        at = (self.near[rows] + (0.27, 0.73) * self.size[rows])[:, ::-1]
        if kind == "lost":
            self._crosses(axes, at, thick)
            return
        look: dict[str, Any] = {"color": self.grey}
        if kind == "checked":
            look = {"c": self.values[links], "cmap": self.scale, "norm": self.norm}
        axes.scatter(at[:, 0], at[:, 1], s=(1.7 * thick) ** 2, linewidths=0, zorder=3, **look)

    def _crosses(self, axes: Axes, at: np.ndarray, thick: float) -> None:
        axes.plot(
            at[:, 0], at[:, 1], "x", color=self.ink, ms=float(np.clip(2.2 * thick, 2, 7)),
            mew=max(0.5, 0.35 * thick), zorder=3,
        )  # fmt: skip

    def _arrows(self, axes: Axes, rows: np.ndarray, tile: float) -> None:
        if not self.larger or len(rows) > MOST_ARROWS:
            return
        tip = self.larger * self.moved[rows]
        start = self.centre[rows] - tip / 2
        axes.quiver(
            start[:, 1], start[:, 0], tip[:, 1], tip[:, 0], angles="xy", scale_units="xy", scale=1,
            color=blue(self.theme), width=float(np.clip(0.02 * tile, 0.6, 2)), units="dots",
            headwidth=4, headlength=5, headaxislength=4.2, minlength=0, minshaft=0.5, zorder=2,
        )  # fmt: skip

    def _numbers(self, axes: Axes, rows: np.ndarray, tile: float) -> None:
        """Ids of tiles, and how far each moved along z, which no arrow shows."""
        size = min(8.0, 0.2 * tile)
        if len(rows) > MOST_NUMBERS or size < 4.5:
            return
        ids = self.placement.lattice.ids[rows].tolist()
        look: dict[str, Any] = {
            "color": to_rgba(self.ink, 0.75),
            "ha": "center",
            "va": "center",
            "clip_on": True,
        }
        for share, texts in (((0.27, 0.27), map(str, ids)), ((0.73, 0.27), self._z_words(rows))):
            at = self.near[rows] + self.size[rows] * share
            for text, (y, x) in zip(texts, at.tolist(), strict=True):
                axes.text(x, y, text, size=size, **look)

    @property
    def _z_told(self) -> bool:
        """Whether any tile moved along z."""
        return bool(np.abs(self.along_z).max(initial=0.0) >= LEAST_Z_PX)

    def _z_words(self, rows: np.ndarray) -> list[str]:
        if not self._z_told:
            return [""] * len(rows)
        return [f"z {moved:+.1f}" for moved in self.along_z[rows].tolist()]

    def _density(self, axes: Axes, plane: Plane) -> None:
        """Share of links that are not trusted, where there are too many to draw."""
        low, high = self.near[plane.rows].min(axis=0), self.near[plane.rows].max(axis=0)
        bins = np.clip((high - low) / (4 * self.size.max(axis=0)), 1, 300).astype(int).tolist()
        ranges = list(zip(low.tolist(), (high + self.size.max(axis=0)).tolist(), strict=True))
        at = self.centre[self.ends[0][plane.links]]
        every, _, _ = np.histogram2d(at[:, 0], at[:, 1], bins=bins, range=ranges)
        bad = at[~self.trusted[plane.links]]
        lost, _, _ = np.histogram2d(bad[:, 0], bad[:, 1], bins=bins, range=ranges)
        share = np.where(every > 0, lost / np.maximum(every, 1), np.nan)
        (top, bottom), (left, right) = ranges
        axes.imshow(
            share, extent=(left, right, bottom, top), cmap=scale_of("share", self.theme), vmin=0,
            vmax=1, interpolation="nearest",
        )  # fmt: skip

    # ---------------------------------------------------------------- the key

    def _key(self, figure: Figure, width: float, height: float) -> None:
        """What colours and marks mean, below the panels."""
        dense = len(self.near) > MOST_TILES
        axes = figure.add_axes((0.62 / width, 0.42 / height, 2.2 / width, 0.1 / height))
        bar = np.linspace(0, 1, 256)[None]
        top = 1.0 if dense else float(self.norm.vmax or 1.0)
        axes.imshow(bar, aspect="auto", cmap=self.scale, extent=(0, top, 0, 1))
        axes.set_yticks([])
        axes.tick_params(colors=self.ink, labelsize=7.5, length=2)
        axes.locator_params(axis="x", nbins=5)
        what = "residual of a trusted link (px)" if self.colour == "residual" else "correlation"
        axes.set_xlabel(
            "share of links not trusted" if dense else what, size=8, color=self.ink, labelpad=2
        )
        for spine in axes.spines.values():
            spine.set_visible(False)
        if not dense:
            figure.legend(
                handles=self._marks(), loc="lower left", ncols=2, frameon=False, fontsize=8,
                labelcolor=self.ink, bbox_to_anchor=(3.0 / width, 0.02 / height),
                handlelength=1.6, columnspacing=1.6, labelspacing=0.35, borderpad=0.2,
            )  # fmt: skip

    def _marks(self) -> list[Any]:
        def line(label: str, **look: Any) -> Line2D:
            return Line2D([], [], label=label, **look)

        marks: list[Any] = []
        if self.small:
            marks.append(Patch(color=self.scale(0.0), label="tile, by its worst trusted link"))
        elif self.checked.any():
            marks.append(line("trusted link", color=self.scale(0.0), lw=3))
        if (self.trusted & ~self.checked).any() and not self.small:
            marks.append(line("trusted, in no loop that could check it", color=self.grey, lw=3))
        if not self.trusted.all():
            marks.append(
                line("link not trusted", color=self.ink, lw=1, ls="dotted", marker="x", ms=5)
            )
        if (~self.flat).any() and not self.small:
            marks.append(
                line("link to the next plane", color=self.scale(0.0), lw=0, marker="o", ms=5)
            )
        if self.larger and not self.small:
            times = f"{self.larger:,.4g}"
            marks.append(
                line(f"moved from the nominal place, × {times}", color=blue(self.theme), lw=0,
                     marker=r"$\rightarrow$", ms=10)
            )  # fmt: skip
        if self._z_told and not self.small:
            marks.append(line("moved along z, in pixels", color=self.ink, lw=0, marker="$z$", ms=6))
        if (self.alone & ~self.bad).any():
            colour = state_colours[State.BLOCKED].on(self.theme)
            marks.append(Patch(color=to_rgba(colour, 0.45), label="tile placed by the stage alone"))
        if self.bad.any():
            colour = state_colours[State.FAILED].on(self.theme)
            marks.append(Patch(color=to_rgba(colour, 0.55), label="tile that cannot be read"))
        return marks


def blue(theme: Theme) -> str:
    """Colour of arrows."""
    return "#2f6ea8" if theme == "light" else "#7ab0e5"


def plot_links(
    placement: Placed,
    *,
    colour: Colour = "residual",
    planes: int = MOST_PLANES,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> Figure:
    """Tiles where they were found, with the links between them; y downwards as in images.

    Trusted links are drawn in the colour of what they leave unfulfilled (or of their correlation),
    in grey where they are in no loop, so that nothing could be left; the others dotted with a
    cross. Links to the next plane are dots in the corner of the first tile. Numbers are ids, and
    how many pixels a tile moved along z. Arrows point from the nominal position, and are drawn
    larger than they are: the legend says how much.

    Parameters
    ----------
    placement
        What to draw.
    colour
        What the colour of a trusted link tells.
    planes
        Planes that are drawn at most: those with most to look at.
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
        If there are no tiles, or these have no y and x.
    """
    lattice = placement.lattice
    if not lattice.n_tiles or not {"y", "x"} <= set(lattice.tile_dims):
        raise LatticeError("a map of a placement needs tiles with y and x")
    chosen, left = planes_of(placement, planes)
    figure = PlacementMap(placement, colour, theme).drawn(chosen, left)
    saved(figure, path)
    return figure


__all__ = ["Colour", "PlacementMap", "plot_links", "scale_of"]
