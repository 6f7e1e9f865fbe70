"""A map of a placement, for notebooks and reports: see `latticework.viz.links_map`."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from latticework.stitch.placement import Placement
from latticework.viz.html import escaped, framed
from latticework.viz.links_map import MOST_PLANES, Colour, plot_links
from latticework.viz.planes import plane_numbers
from latticework.viz.states import Theme


def plot_placement(
    placement: Placement,
    *,
    colour: Colour = "residual",
    planes: int = MOST_PLANES,
    theme: Theme = "light",
    path: Path | str | None = None,
) -> Figure:
    """Tiles where they were found, with the links between them; y downwards as in images.

    Trusted links are drawn in the colour of what they leave unfulfilled (or of their correlation),
    the others dotted with a cross. Links to the next plane are dots in the corner of the first
    tile. Arrows point from the nominal position, and are drawn larger than they are: the legend
    says how much.

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

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> len(plot_placement(place(tiles, register(tiles))).axes)
    2
    """
    return plot_links(placement, colour=colour, planes=planes, theme=theme, path=path)


def placement_html(placement: Placement) -> str:
    """A placement in a notebook: what it came to, and its map.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> page = placement_html(place(tiles, register(tiles)))
    >>> "4 tiles" in page, "data:image/png" in page
    (True, True)
    """
    title = escaped(repr(placement).strip("<>"), 600)
    lattice = placement.lattice
    if not lattice.n_tiles or not {"y", "x"} <= set(lattice.tile_dims):
        return framed(f'<div class="lw-h">{title}</div>')
    file = BytesIO()
    figure = plot_placement(placement)
    figure.savefig(file, format="png", dpi=100, facecolor=figure.get_facecolor())
    content = b64encode(file.getvalue()).decode("ascii")
    wide = round(74 * figure.get_figwidth())
    return framed(
        f'<div class="lw-h">{title}</div>'
        f'<img src="data:image/png;base64,{content}" width="{wide}" style="max-width:100%" '
        f'alt="map of tiles and links">'
    )


__all__ = ["placement_html", "plane_numbers", "plot_placement"]
