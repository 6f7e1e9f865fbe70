"""The parts of a report that are about links: their map, their seams, their numbers."""

import numpy as np

from latticework.stitch import report_page as page
from latticework.stitch.report_charts import Series, histogram
from latticework.stitch.report_facts import Findings
from latticework.stitch.report_seams import Seam, seams_of
from latticework.stitch.report_words import in_px
from latticework.viz.html import escaped
from latticework.viz.links_map import plot_links
from latticework.viz.states import Theme

_COLOURS = {"z": "var(--other)", "y": "var(--third)", "x": "var(--blue)"}


def links_section(found: Findings) -> str:
    """Tiles at the positions that were found, and the links between them."""
    if len(found.tiles) == 1:
        return page.section("links", "Map of links", "A single tile has no neighbours.")
    caption = (
        "Each tile where it was found. Links between neighbours are green where they agree with "
        "all others and red where they agree least, grey where no loop could check them; crosses "
        "were not trusted. Look for red, for tiles with crosses on all sides, and for arrows that "
        "point elsewhere than those around."
    )

    def draw(theme: Theme) -> object:
        return plot_links(found.placement, theme=theme)

    sharp = 2.0 if len(found.tiles) <= 2000 else 1.5
    body = page.picture(draw, "map of tiles and links", sharp=sharp)
    return page.section("links", "Map of links", caption, f'<div class="map">{body}</div>')


def numbers_section(found: Findings) -> str:
    """How residuals, correlations and displacements are distributed."""
    if len(found.tiles) == 1:
        return ""
    caption = (
        "Residuals should lie well below a pixel. Trusted links should be more alike than the "
        "others; where both overlap, the model of the stage decided. Displacements in one heap are "
        "the stage's jitter, in a row of heaps the angle of the camera, in two heaps its backlash."
    )
    good, links, tiles = found.trusted, found.links, found.tiles
    correlation = links["correlation"].to_numpy("f8")
    cards = []
    if len(links):
        residuals = found.residuals[good & np.isfinite(found.residuals)]
        median = f", median {in_px(float(np.median(residuals)))}" if len(residuals) else ""
        cards.append(
            (
                f"Residuals{median}",
                histogram([Series("trusted", residuals, "var(--good)")], "residual (px)"),
            )
        )
        both = [
            Series("trusted", correlation[good], "var(--good)"),
            Series("not trusted", correlation[~good], "var(--bad)"),
        ]
        cards.append(("How alike tiles are", histogram(both, "correlation")))
    moved = [
        Series(f"along {dim}", tiles[f"moved_{dim}_px"].to_numpy("f8"), _COLOURS[dim])
        for dim in found.dims
    ]
    cards.append(
        ("How far tiles moved", histogram(moved, "from the nominal position (px)", ylabel="tiles"))
    )
    body = "".join(f'<div class="card"><h3>{escaped(t)}</h3>{chart}</div>' for t, chart in cards)
    return page.section("numbers", "Numbers", caption, f'<div class="thirds">{body}</div>')


def seams_section(found: Findings) -> str:
    """Overlaps of two tiles in two colours, before and after."""
    seams = seams_of(found)
    if not seams:
        why = "Tiles do not overlap." if found.no_overlap else "There is no overlap to show."
        return page.section("seams", "Seams", why)
    caption = (
        "The first tile of a link in magenta, the second in green: what both show at the same "
        "place is grey, and coloured doubles are a shift. After stitching the middle should be "
        "grey; at the upper and lower edge there is only one tile. Seams between left and right "
        "tiles are turned to lie, and light is evened so that structure shows. "
        "Strips are read from the tiles, not from the volume"
        + (", one plane in z." if "z" in found.dims else ".")
    )
    body = "".join(_card(found, seam) for seam in seams)
    return page.section("seams", "Seams", caption, f'<div class="thirds">{body}</div>')


def _card(found: Findings, seam: Seam) -> str:
    row = found.links.iloc[seam.link]
    names = [found.name_of(row[end]) for end in ("first", "second")]
    trusted = "trusted" if seam.trusted else f"not trusted: {row['why']}"
    about = (
        f"{names[0]} → {names[1]} along {row['axis']}. Link {seam.link}, {trusted}. Residual "
        f"{in_px(row['residual_px'])}, correlation {_share(row['correlation'])}."
    )
    strips = "".join(
        f'<div class="strip"><span>{escaped(strip.title)}</span>'
        f'<img src="{page.png(strip.picture)}" alt="{escaped(strip.title)}"></div>'
        for strip in seam.strips
    )
    height, width = seam.strips[0].picture.shape[:2]
    if height > 0.6 * width:
        strips = f'<div class="square">{strips}</div>'
    title = seam.kind[0].upper() + seam.kind[1:]
    return (
        f'<div class="card"><h3>{escaped(title)}</h3><p class="caption">{escaped(about, 400)}</p>'
        f"{strips}</div>"
    )


def _share(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


__all__ = ["links_section", "numbers_section", "seams_section"]
