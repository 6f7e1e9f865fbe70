"""A map of a placement, for notebooks and reports: see `latticework.viz.links_map`."""

from io import BytesIO

from latticework.stitch.placement import Placement
from latticework.viz.html import escaped, framed
from latticework.viz.links_map import plot_links
from latticework.viz.pictures import png_address

plot_placement = plot_links
"""The map of a placement; see `latticework.viz.plot_links`."""


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
    figure = plot_links(placement)
    figure.savefig(file, format="png", dpi=100, facecolor=figure.get_facecolor())
    wide = round(74 * figure.get_figwidth())
    return framed(
        f'<div class="lw-h">{title}</div>'
        f'<img src="{png_address(file.getvalue())}" width="{wide}" style="max-width:100%" '
        f'alt="map of tiles and links">'
    )


__all__ = ["placement_html", "plot_placement"]
