"""A tile of a project as a notebook shows it: pictures of it, and its state in every stage."""

from typing import TYPE_CHECKING

from latticework.lattice.states import State
from latticework.viz.html import SIDE_BY_SIDE, escaped, facts_table, framed, state_fill
from latticework.viz.tile_html import picture_card, tile_facts
from latticework.viz.words import seconds

if TYPE_CHECKING:
    from latticework.project.one_tile import ProjectTile, StageOfTile

_MOST_PICTURES = 6


def project_tile_html(tile: "ProjectTile") -> str:
    """A tile of a project: pictures of what its stages made of it, and its state in each."""
    stages = tile.stages
    shown = [stage for stage in stages if stage.read is not None][:_MOST_PICTURES]
    cards = [
        picture_card(stage.tile, stage.read, stage.name)
        for stage in shown
        if stage.read is not None
    ]
    rows = "".join(_stage_row(stage) for stage in stages if not stage.is_source)
    table = f'<table class="lw-t">{rows}</table>' if rows else ""
    head = f"Tile {escaped(tile.tile.name, 80)} <small>of {escaped(tile.project_name, 60)}</small>"
    facts = facts_table(tile_facts(tile.tile))
    return framed(
        f'<div class="lw-h">{head}</div>',
        f'<div style="{SIDE_BY_SIDE};gap:.5em .7em;margin-bottom:.5em">{"".join(cards)}</div>',
        f'<div style="{SIDE_BY_SIDE}">{facts}<div style="max-width:46em">{table}</div></div>',
    )


def _stage_row(stage: "StageOfTile") -> str:
    state = stage.state
    square = (
        '<span style="display:inline-block;width:.7em;height:.7em;margin-right:.35em;'
        f'border-radius:2px;background:{state_fill(state)}"></span>'
    )
    weight = "600" if state is State.FAILED else "400"
    tries = f"{stage.attempts} attempts" if stage.attempts > 1 else ""
    took = seconds(stage.duration_s) if stage.attempts and stage.duration_s > 0 else ""
    said = ", ".join(text for text in (took, tries) if text)
    return (
        f"<tr><td><b>{escaped(stage.name, 60)}</b></td>"
        f'<td style="white-space:nowrap;font-weight:{weight}">{square}{state.label}</td>'
        f'<td style="white-space:nowrap">{escaped(said)}</td>'
        f"<td>{escaped(stage.why.removeprefix(f'{state.label}: '), 240)}</td></tr>"
    )
