"""The report of a stitching: one page by which a person can judge it in a minute.

The page stands alone (pictures are within it) and lies beside the image, with two tables::

    brain.ome.zarr      the volume
    brain.html          the page
    brain.links.csv     every link: what was expected, what was found, what came of it
    brain.tiles.csv     every tile: where it lies, by what it was placed, its gain

Files that are none of a report, or were edited, are left alone: see
`latticework.stitch.report_files`.
"""

import os
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.stitch import report_page as page
from latticework.stitch.account import BESIDES, FIRST, Account, account_of
from latticework.stitch.report_facts import Findings, findings_in
from latticework.stitch.report_files import (
    Mark,
    check_report,
    digest_of,
    mark_for,
    mark_of,
    table_for,
)
from latticework.stitch.report_light import light_section
from latticework.stitch.report_links import links_section, numbers_section, seams_section
from latticework.stitch.report_views import BeforeAfter, Volume, before_and_after
from latticework.stitch.report_words import in_px
from latticework.viz.html import escaped
from latticework.viz.lattice_facts import lattice_facts, lattice_title
from latticework.viz.pictures import contrasted
from latticework.viz.words import plural, size

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.project import Project

HIGHEST_PX = 720
"""Height of a picture on the page."""
WORST = 20
"""Links in a table of the page."""
MOST_ALONE = 200
"""Tiles in a table of the page."""


def write_report(project: "Project", path: Path | str) -> Path:
    """Write the page of a project of `latticework.stitch.stitch`, and two tables beside it.

    `stitch` calls it when the volume is made; call it again to have the page elsewhere.

    Parameters
    ----------
    project
        Where the stages up to ``levels`` are complete, and ``image``, if there is a volume.
    path
        Of the page, ``brain.html``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ProjectError
        If a stage that the report is about has made nothing yet.
    StoreError
        If other files are where the page or its tables belong.
    """
    target = Path(path).expanduser().resolve()
    return write_page(findings_in(project, target.stem), target)


def write_page(
    found: Findings,
    path: Path,
    *,
    now: datetime | None = None,
    account: Account | None = None,
    keep: Collection[Path] = (),
) -> Path:
    """Write the page and the tables of what was found.

    Parameters
    ----------
    found
        What was found.
    path
        Of the page; the tables lie beside it.
    now
        When it is written.
    account
        The same in words, where it is known.
    keep
        Files that something is read from: they are never replaced.

    Raises
    ------
    StoreError
        If other files are where the page or its tables belong.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> folder = Path(tempfile.mkdtemp())
    >>> found = Findings("brain", tiles, place(tiles, register(tiles)))
    >>> write_page(found, folder / "brain.html").name
    'brain.html'
    >>> sorted(path.name for path in folder.iterdir())
    ['brain.html', 'brain.links.csv', 'brain.tiles.csv']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_report(path, found.image, keep)
    before = mark_of(path)
    digests = {} if before is None else dict(before.tables)
    names = {}
    for what, rows in (("links", links_table(found)), ("tiles", tiles_table(found))):
        content = rows.to_csv(index=False, float_format="%.6g").encode()
        table = table_for(path, what, keep, content)
        names[what] = table.name
        digests.pop(table.name, None)  # so that it is among the last
        digests[table.name] = digest_of(content)
        _publish(table, content)
    now = now or datetime.now().astimezone()
    mark = mark_for(found.image, digests)
    text = page_of(found, names["links"], names["tiles"], now, account, mark)
    _publish(path, text.encode())
    return path


def _publish(path: Path, content: bytes) -> None:
    """Write a file that is whole when it has its name."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    partial.write_bytes(content)
    partial.replace(path)


# -------------------------------------------------------------------- the page


def page_of(
    found: Findings,
    links: str,
    tiles: str,
    now: datetime,
    account: Account | None = None,
    mark: Mark | None = None,
) -> str:
    """The page as text.

    Parameters
    ----------
    found
        What was found.
    links, tiles
        Names of the tables beside the page.
    now
        When it is written.
    account
        The same in words, where it is known.
    mark
        By which the page is known again.
    """
    both = before_and_after(found)
    account = account_of(found, both) if account is None else account
    return page.document(
        f"{found.name}: stitching",
        _head(found, account, now),
        _overview(found, both),
        links_section(found),
        seams_section(found),
        numbers_section(found),
        light_section(found),
        _tables(found, links, tiles),
        _by_hand(found),
        head="" if mark is None else mark.html,
    )


def _head(found: Findings, account: Account, now: datetime) -> str:
    """The verdict, the numbers, and what to look at."""
    judged, lattice = account.judged, found.nominal
    said = (
        f'<div class="over">latticework · report of a stitching · {now:%d %B %Y, %H:%M}</div>'
        f"<h1>{escaped(found.name)}</h1>"
        f'<div class="say"><span class="mood {judged.mood}">{escaped(judged.word)}</span>'
        f"<span>{escaped(judged.text, 400)}</span></div>"
    )
    grid = " × ".join(f"{n:,}" for n in lattice.shape)
    by_others = len(found.alone) + len(found.unread) + len(found.anchored)
    not_by_links = f"{len(found.alone):,} by the stage alone"
    if len(found.anchored):
        not_by_links += f", {len(found.anchored):,} where it was said"
    if len(found.unread):
        not_by_links += f", {len(found.unread):,} could not be read"
    numbers = [
        (f"{lattice.n_tiles:,}", f"tiles, {grid}"),
        (
            f"{found.n_trusted:,} of {len(found.links):,}",
            "links (pairs of neighbours that were compared) are trusted",
        ),
        (in_px(found.rms_px), "by which trusted links contradict each other (rms)"),
        (f"{len(found.tiles) - by_others:,}", f"tiles placed by links, {not_by_links}"),
        ("used" if found.light_used else "not used", "flat-field, against uneven light"),
        (
            "used" if found.gains_used else "not used",
            "a gain for each tile, against steps in brightness",
        ),
    ]
    return said + page.figures(numbers) + _notes(account) + _nav() + _facts(found, account)


def _notes(account: Account) -> str:
    parts = []
    grave = "notes bad-box" if account.judged.mood == "bad" else "notes"
    for title, lines, kind in (
        (FIRST, account.notes, grave),
        (BESIDES, account.remarks, "notes quiet"),
    ):
        if lines:
            items = "".join(f"<li>{escaped(line, 900)}</li>" for line in lines)
            parts.append(f'<div class="{kind}"><h3>{title}</h3><ul>{items}</ul></div>')
    return "".join(parts)


def _nav() -> str:
    parts = (
        *(("overview", "Before and after"), ("links", "Map of links"), ("seams", "Seams")),
        *(("numbers", "Numbers"), ("light", "Light"), ("tables", "Tables"), ("hand", "By hand")),
    )
    return "<nav>" + "".join(f'<a href="#{id}">{text}</a>' for id, text in parts) + "</nav>"


def _facts(found: Findings, account: Account) -> str:
    known = dict(lattice_facts(found.nominal))
    rows = [("tiles", lattice_title(found.nominal))]
    rows += [(name, known[name]) for name in ("pixels", "channels", "step") if name in known]
    if found.image is not None:
        volume = Volume(found.image)
        shape = " × ".join(f"{d} {n:,}" for d, n in zip(volume.dims, volume.shape, strict=True))
        pixel = " × ".join(f"{d} {um:.4g}" for d, um in volume.pixel_size_um.items())
        rows += [("volume", f"{found.image.name}: {shape} pixels of {pixel} µm")]
        rows += [("size on disk", size(_bytes_of(found.image)))]
    else:
        rows.append(("volume", "there is none"))
    if account.took:
        rows.append(("took", account.took))
    return page.facts(rows)


def _bytes_of(folder: Path) -> int:
    total, folders = 0, [os.fspath(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


# -------------------------------------------------------------------- before and after


def _overview(found: Findings, both: BeforeAfter) -> str:
    shown, tall = [], 0.1
    for view, tiles, text in (
        (both.before, both.outlines[0], "Before: tiles at their nominal positions, as they are"),
        (both.after, both.outlines[1], "After: the volume"),
    ):
        if view is not None:
            over = page.outlines(tiles, view.box_um)
            body = page.shot(contrasted(view.picture, (1, 99.5)), text, over)
            shown.append(f"<figure><figcaption>{text}</figcaption>{body}</figure>")
            tall = max(tall, view.picture.shape[0] / view.picture.shape[1])
    if not shown:
        return page.section("overview", "Before and after", "No pixels could be read.")
    which = f"{plural(both.n_tiles, 'tile')} in the middle" if both.part else "All tiles"
    plane = f" of plane {both.plane}" if both.plane else ""
    deep = ", their middle plane" if "z" in found.dims else ""
    caption = (
        f"{which}{plane}{deep}. Look for edges of tiles, steps in brightness and things seen "
        "twice: after stitching they should be gone."
    )
    check = (
        '<input type="checkbox" id="outlines"> '
        '<label for="outlines">outlines of tiles (hover for names)</label>'
    )
    wide = f"max-width:{min(1160, round(2 * HIGHEST_PX / tall))}px"
    parts = [check, f'<div class="side" style="{wide}">{"".join(shown)}</div>']
    if both.whole is not None and both.after is not None:
        frame = page.outlines(
            [*_frame("the part above", both.after.box_um)], both.whole.box_um, "window"
        )
        body = page.shot(contrasted(both.whole.picture, (1, 99.5)), "the whole volume", frame)
        parts.append(
            '<figure style="max-width:560px;margin-top:16px"><figcaption>The whole volume, and '
            f"where the part above lies</figcaption>{body}</figure>"
        )
    return page.section("overview", "Before and after", caption, *parts)


def _frame(name: str, box: Any) -> list[Any]:
    from latticework.stitch.report_views import Outline

    return [Outline(name, box)]


# -------------------------------------------------------------------- tables


def links_table(found: Findings) -> "pd.DataFrame":
    """Every link, with the names of its tiles."""
    links = found.links.copy()
    for position, end in ((1, "first"), (3, "second")):
        links.insert(position, f"{end}_name", [found.name_of(id) for id in links[end]])
    links.insert(0, "link", np.arange(len(links)))
    return links


def tiles_table(found: Findings) -> "pd.DataFrame":
    """Every tile, with its labels and its positions in micrometres."""
    table, lattice = found.tiles.copy(), found.placement.lattice
    for k, dim in enumerate(lattice.dims):
        table[dim] = np.asarray(lattice.labels[dim])[lattice.index[:, k]]
    for k, axis in enumerate(lattice.spatial_dims):
        table[f"nominal_{axis}_um"] = found.nominal.position_um[:, k]
        table[f"position_{axis}_um"] = lattice.position_um[:, k]
    return table


def _tables(found: Findings, links: str, tiles: str) -> str:
    caption = (
        "Residual: by how far a link and the positions of its two tiles disagree. Correlation: "
        "how alike the two tiles are where they match best. Pixels throughout."
    )
    files = (
        f"<p>All of it: {page.link(links, links)} ({len(found.links):,} links) and "
        f"{page.link(tiles, tiles)} ({len(found.tiles):,} tiles).</p>"
    )
    good = np.flatnonzero(found.trusted)
    worst = good[np.argsort(-found.residuals[good], kind="stable")][:WORST]
    correlation = np.nan_to_num(found.links["correlation"].to_numpy("f8"), nan=-1)
    other = np.flatnonzero(~found.trusted)
    other = other[np.argsort(-correlation[other], kind="stable")][:WORST]
    parts = [files]
    if len(worst):
        title = f"Trusted links that fit worst ({len(worst)} of {len(good):,})"
        parts += [f"<h3>{title}</h3>", _links(found, worst)]
    if len(other):
        n = len(found.links) - found.n_trusted
        title = f"Links not trusted, the most alike first ({len(other)} of {n:,})"
        parts += [f"<h3>{title}</h3>", _links(found, other, why=True)]
    if len(found.alone) and len(found.tiles) > 1:
        parts.append(_tiles(found, found.alone, "Tiles that the stage alone placed"))
    if len(found.unread):
        parts.append(_tiles(found, found.unread, "Tiles that could not be read"))
    return page.section("tables", "Tables", caption, *parts)


def _links(found: Findings, rows: np.ndarray, *, why: bool = False) -> str:
    of = found.links.iloc[rows]
    apart = [f"{dim} from nominal" for dim in found.dims]
    names = ["link", "first tile", "second tile", "along", "residual", "correlation", *apart]
    lines = []
    for link, row in zip(rows.tolist(), of.to_dict("records"), strict=True):
        moved = [row[f"offset_{dim}_px"] - row[f"nominal_{dim}_px"] for dim in found.dims]
        line: list[object] = [int(link), _tile(found, row["first"]), _tile(found, row["second"])]
        line += [row["axis"], float(row["residual_px"]), float(row["correlation"]), *moved]
        lines.append([*line, row["why"]] if why else line)
    return page.table([*names, "why"] if why else names, lines)


def _tile(found: Findings, id: int) -> str:
    name = found.name_of(id)
    return name if name == str(id) else f"{name} ({id})"


def _tiles(found: Findings, chosen: "pd.DataFrame", title: str) -> str:
    """Some tiles, and why they are told apart."""
    moved = [f"moved_{dim}_px" for dim in found.dims]
    rows: list[Sequence[object]] = [
        [_tile(found, row["id"]), row["why"], *(float(row[name]) for name in moved)]
        for row in chosen.head(MOST_ALONE).to_dict("records")
    ]
    more = len(chosen) - len(rows)
    left = f'<p class="caption">and {more:,} more in the file</p>' if more > 0 else ""
    names = ["tile", "why", *(f"{dim} from nominal" for dim in found.dims)]
    return f"<h3>{title} ({len(chosen):,})</h3>" + page.table(names, rows) + left


def _by_hand(found: Findings) -> str:
    if not len(found.links):
        return ""
    where = "brain.lw" if found.project is None else str(found.project)
    wrong, right = _examples(found)
    seen = found.links.iloc[right]
    sides = ", ".join(
        f"{round(np.nan_to_num(seen[f'offset_{d}_px'], nan=seen[f'nominal_{d}_px']), 1) + 0.0:.1f}"
        for d in found.dims
    )
    columns = ", ".join(f'"offset_{dim}_px"' for dim in found.dims)
    image = "brain.ome.zarr" if found.image is None else str(found.image)
    code = f"""import latticework as lw
from latticework.stitch import stitch

project = lw.open_project({where!r})
links = project["links"].data            # rows are the links of the tables above
# link {wrong} is wrong: go by the others
links.loc[{wrong}, "trusted"] = False
# link {right} as you see it: position of the second tile minus that of the first, in pixels
links.loc[{right}, [{columns}]] = {sides}
links.loc[{right}, "trusted"] = True

stitch(project.lattice, {image!r}, project={where!r}, links=links, overwrite=True)"""
    caption = (
        "Where a link is wrong, say so and stitch again: only what depends on places runs, and the "
        "volume and this page are replaced. On the command line: the same line as before with "
        "--links and the table of links beside this page, edited, and --overwrite. The edited "
        "table stays as it is: the new one gets a number. Options that were given before have to "
        "be given again."
    )
    return page.section(
        "hand", "Correct a link by hand", caption, f"<pre>{escaped_block(code)}</pre>"
    )


def _examples(found: Findings) -> tuple[int, int]:
    """A link to distrust, and one to correct, as examples: the worst ones."""
    worst = np.argsort(np.where(found.trusted, -np.nan_to_num(found.residuals), 1), kind="stable")
    other = np.flatnonzero(~found.trusted)
    return int(worst[0]), int(other[0] if len(other) else worst[min(1, len(worst) - 1)])


def escaped_block(text: str) -> str:
    """Text of several lines, safe within HTML."""
    return "\n".join(escaped(line, 400) if line.strip() else "" for line in text.split("\n"))


__all__ = ["links_table", "page_of", "tiles_table", "write_page", "write_report"]
