"""Why there is no volume, in words, and which tiles are to blame."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.stitch.account import Account
from latticework.stitch.report_words import Verdict, names_in_words
from latticework.viz.words import plain

if TYPE_CHECKING:
    from latticework.project.summary import FailedTile, RunSummary

MOST_CHARACTERS = 300
"""Of the message of a failure."""


def changed_tiles(lattice: Lattice) -> list[str]:
    """Names of the tiles whose files are others than when the lattice was opened.

    Parameters
    ----------
    lattice
        As it was opened. Sources that cannot look again have no such tiles.
    """
    source = lattice.source
    if source is None or not hasattr(source, "refreshed"):
        return []
    before, now = source.fingerprints(), source.refreshed().fingerprints()
    wrong = np.asarray(before)[lattice.ids] != np.asarray(now)[lattice.ids]
    return [lattice.names[row] for row in np.flatnonzero(wrong).tolist()]


def without_volume(account: Account, made: "RunSummary", changed: Sequence[str]) -> Account:
    """An account that begins with why there is no volume.

    Parameters
    ----------
    account
        Of what was found until then.
    made
        Of the last run.
    changed
        Names of tiles that were changed meanwhile.
    """
    if changed:
        many = len(changed) > 1
        why = (
            f"{names_in_words(changed)} {'were' if many else 'was'} changed or replaced while the "
            f"volume was made, which would show a mixture. Open the tiles again, and stitch again."
        )
    elif made.failures:
        first = made.failures[0]
        of = f"the first of {made.n_failures:,} failures" if made.n_failures > 1 else "this failed"
        why = f"{of}: {first.stage} {first.tile}: {plain(first.message, MOST_CHARACTERS)}"
    else:
        why = "not everything that it needs could run: see the states of the project's stages."
    judged = account.judged
    if judged.mood == "good":
        return replace(account, judged=Verdict("bad", "No volume", why))
    found = f"Where the tiles lie: {judged.text}"
    return replace(account, judged=Verdict("bad", "No volume", why), notes=(found, *account.notes))


def tile_to_blame(lattice: Lattice, failures: "Sequence[FailedTile]") -> str | None:
    """Name of the first tile that failed, or that a failure speaks of.

    Parameters
    ----------
    lattice
        Of the project.
    failures
        Of a run; those of blocks of the volume name the tiles in their messages.

    Examples
    --------
    >>> from latticework.project.summary import FailedTile
    >>> tiles = Lattice.from_grid({"y": 1, "x": 12}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> failed = FailedTile("volume", "y0_x1 (tile_y=0)", "block y0_x1: cannot read y0_x11", 1, 1)
    >>> tile_to_blame(tiles, [failed])
    'y0_x11'
    """
    for failed in failures:
        for name in sorted(lattice.names, key=len, reverse=True):
            if name not in failed.message:
                continue
            if re.search(rf"(?<!block )(?<!\w){re.escape(name)}(?!\w)", failed.message):
                return str(name)
        if failed.stage in ("pairs", "glimpses", "seams") and failed.id is not None:
            return str(lattice.names[int(lattice.rows_of([failed.id])[0])])
    return None


__all__ = ["changed_tiles", "tile_to_blame", "without_volume"]
