"""A stitching in a notebook: the volume, what it came to, and where everything is."""

import logging
from typing import TYPE_CHECKING

from latticework.stitch.account import BESIDES, FIRST, Account
from latticework.stitch.report_views import Volume
from latticework.viz.html import escaped, facts_table, framed, side_by_side
from latticework.viz.pictures import contrasted, png_address, png_bytes

if TYPE_CHECKING:
    from latticework.stitch.stitched import Stitched

WIDE_PX, HIGH_PX = 420, 420
"""Size of the picture, at most."""
MOST_PX = 480
"""Pixels along the longer side of what is read for it, about."""
_log = logging.getLogger(__name__)


def stitched_html(done: "Stitched") -> str:
    """What a notebook shows of a stitching: a picture, the words of the report, and paths.

    Where the volume has been removed, it says so and shows no picture.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> from latticework.stitch import Stitched, fuse, place, register
    >>> from latticework.stitch.account import account_of
    >>> from latticework.stitch.report_facts import Findings
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> found, folder = place(tiles, register(tiles)), tempfile.mkdtemp()
    >>> image = fuse(found.lattice, folder + "/brain.ome.zarr").path
    >>> project = lw.create(folder + "/brain.lw", tiles)
    >>> account = account_of(Findings("brain", tiles, found, image=image))
    >>> page = stitched_html(Stitched(project, image, found, None, None, None, account))
    >>> "data:image/png" in page, "4 of 4 links are trusted" in page
    (True, True)
    """
    account = done.account
    title = f'<div class="lw-h">{escaped(account.judged.word)}</div>'
    words = f"<div>{escaped(account.judged.text, 400)}</div>{_notes(account)}"
    volume, shape = _volume(done)
    facts = [
        ("volume", shape),
        ("report", "" if done.report is None else str(done.report)),
        ("project", str(done.project.path)),
        *(("light", line) for line in account.light),
        ("took", account.took),
    ]
    right = f'<div style="max-width:46em">{title}{words}{facts_table(facts)}</div>'
    return framed(side_by_side(volume, right) if volume else right)


def _notes(account: Account) -> str:
    """What to look at, and what is good to know."""
    parts = []
    for title, lines in ((FIRST, account.notes), (BESIDES, account.remarks)):
        if lines:
            items = "".join(f"<div>– {escaped(line, 900)}</div>" for line in lines)
            parts.append(f'<div style="margin:.5em 0"><b>{title}</b>{items}</div>')
    return "".join(parts)


def _volume(done: "Stitched") -> tuple[str, str]:
    """A picture of the volume, empty if there is none, and what it is."""
    if done.image is None:
        return "", "none: see why with project.why('volume')"
    try:
        volume = Volume(done.image)
        size = " × ".join(f"{d} {n:,}" for d, n in zip(volume.dims, volume.shape, strict=True))
        pixel = " × ".join(f"{d} {um:.4g}" for d, um in volume.pixel_size_um.items())
        said = f"{done.image}: {size} pixels of {pixel} µm"
        seen = volume.view(volume.box_um, channel=done.channel, side_px=MOST_PX)
    except Exception:  # a repr goes on without a picture
        _log.debug("no picture of %s", done.image, exc_info=True)
        return "", f"{done.image}: it cannot be read, or is not there any more"
    high, wide = seen.box_um[2] - seen.box_um[0], seen.box_um[3] - seen.box_um[1]
    scale = min(WIDE_PX / wide, HIGH_PX / high)
    look = f'width="{max(1, round(wide * scale))}" height="{max(1, round(high * scale))}"'
    step = max(1, max(seen.picture.shape) // (2 * MOST_PX))  # of volumes without coarser levels
    grey = contrasted(seen.picture[::step, ::step], (1, 99.5))
    address = png_address(png_bytes(grey))
    return f'<img src="{address}" {look} alt="the volume">', said


__all__ = ["stitched_html"]
