"""A tile as a notebook shows it: a small picture of its pixels, and where it is."""

from collections.abc import Iterable

import numpy as np

from latticework.lattice import Tile
from latticework.viz.folding import axis_name
from latticework.viz.html import escaped, facts_table, framed, side_by_side
from latticework.viz.tile_picture import Read, tile_picture
from latticework.viz.words import length

_SIDE_PX = 150


def tile_html(tile: Tile) -> str:
    """A tile by itself: its picture, where its pixels can be read, and its facts."""
    source = tile.source
    pictures = ""
    if source is not None and tile.problem is None:
        pictures = picture_card(tile, lambda box: source.read(tile.id, box), "")
    return framed(
        f'<div class="lw-h">Tile {escaped(tile.name, 120)}</div>',
        side_by_side(pictures, facts_table(tile_facts(tile))),
    )


def picture_card(tile: Tile, read: Read, name: str) -> str:
    """A picture with its name below, or why there is none."""
    try:
        picture = tile_picture(tile, read, side_px=_SIDE_PX)
    except Exception as error:  # the file is gone or broken: the facts are shown all the same
        why = escaped(f"{type(error).__name__}: {error}", 160)
        return (
            f'<div class="lw-m" style="max-width:14em">{escaped(name)} cannot be read: {why}</div>'
        )
    below = ", ".join(text for text in (name, picture.shown) if text)
    caption = f'<div class="lw-m" style="font-size:11px">{escaped(below, 80)}</div>'
    return f"<div>{picture.html}{caption if below else ''}</div>"


def tile_facts(tile: Tile) -> list[tuple[str, str]]:
    """What there is to say about a tile: names and texts."""
    sizes = " × ".join(f"{dim} {n:,}" for dim, n in zip(tile.dims, tile.shape, strict=True))
    return [
        ("labels", ", ".join(f"{axis_name(dim)} {label}" for dim, label in tile.labels.items())),
        ("id", str(tile.id)),
        ("position", _lengths(tile.position_um.items())),
        ("pixels", f"{sizes} {np.dtype(tile.dtype)}" if tile.dims else ""),
        ("pixel size", _lengths(tile.pixel_size_um.items())),
        ("cannot be read", tile.problem or ""),
    ]


def _lengths(values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{axis} {length(value)}" for axis, value in values)
