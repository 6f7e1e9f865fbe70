"""Files of a report: which are its own, to be replaced, and which are not to be touched.

A page says of itself of which image it is, and what the tables were that were written with it. A
table that was edited since is a person's, and so is one that something is read from: the next one
gets a number, ``brain.links.2.csv``.
"""

import hashlib
import html
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from latticework.errors import StoreError
from latticework.stitch.images import plan_of

TABLES: Mapping[str, frozenset[str]] = {
    "links": frozenset({"first", "second", "trusted"}),
    "tiles": frozenset({"id", "placed_by"}),
}
"""The tables beside a page, and the columns by which they are known."""
HEAD_BYTES = 1 << 16
"""Of a page, in which it says of what it is."""
_NAME = "latticework-report"
_UNMARKED = "latticework · report of a stitching"  # of pages that said no more than that


@dataclass(frozen=True, slots=True)
class Mark:
    """What a page says of itself.

    Examples
    --------
    >>> Mark("<brain>.ome.zarr", "0a1b").html
    '<meta name="latticework-report" content="{&quot;image&quot;: &quot;&lt;brain&gt;.ome.zarr...'
    """

    image: str = ""
    """Name of the image; empty if there is none, or it is not known."""
    plan: str = ""
    """Key of the plan that the image was made by."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Digests of the tables that were written, by file name; those of this page are the last."""

    @property
    def html(self) -> str:
        """As it stands in the head of the page."""
        about = {"image": self.image, "plan": self.plan, "tables": dict(self.tables)}
        return f'<meta name="{_NAME}" content="{html.escape(json.dumps(about))}">'


def mark_for(image: Path | None, tables: Mapping[str, str]) -> Mark:
    """The mark of the page of an image."""
    return Mark("", "", tables) if image is None else Mark(image.name, _plan(image), tables)


def mark_of(page: Path) -> Mark | None:
    """What a page says of itself; None if there is none, or it is no report."""
    try:
        with page.open("rb") as file:
            head = file.read(HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    found = re.search(rf'<meta name="{_NAME}" content="([^"]*)">', head)
    if found is None:
        return Mark() if _UNMARKED in head else None
    try:
        about = json.loads(html.unescape(found[1]))
        tables = {str(name): str(digest) for name, digest in about["tables"].items()}
        return Mark(str(about["image"]), str(about["plan"]), tables)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def tables_of(page: Path) -> list[Path]:
    """The tables beside a page."""
    mark = mark_of(page) or Mark()
    return [page.with_name(name) for name in [*mark.tables][-len(TABLES) :]]


def is_current(page: Path, image: Path) -> bool:
    """Whether a page is there, and is of an image as it is now."""
    mark = mark_of(page)
    return mark is not None and (mark.image, mark.plan) == (image.name, _plan(image))


def is_older(page: Path, image: Path) -> bool:
    """Whether a page is of an image of that name that is not there any more."""
    mark = mark_of(page)
    return mark is not None and mark.image in ("", image.name) and not is_current(page, image)


def _plan(image: Path) -> str:
    return plan_of(image) or ""


def digest_of(content: bytes) -> str:
    """By which a table is known again."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


# -------------------------------------------------------------------- where to write


def check_report(page: Path, image: Path | None, keep: Collection[Path] = ()) -> None:
    """Refuse to write a page, or a table beside it, over a file that is none of a report.

    Parameters
    ----------
    page, image
        Of the report; None if it is of no image.
    keep
        Files that something is read from.

    Raises
    ------
    StoreError
        Naming the file.
    """
    mark = mark_of(page)
    if os.path.lexists(page):
        if mark is None or page.resolve() in _resolved(keep):
            raise _other(page, "no report of a stitching")
        if image is not None and mark.image not in ("", image.name):
            raise _other(page, f"the report of {mark.image}")
    for what in TABLES:
        table_for(page, what, keep)


def table_for(
    page: Path, what: str, keep: Collection[Path] = (), content: bytes | None = None
) -> Path:
    """Where a table beside a page is written.

    Parameters
    ----------
    page
        Of the report.
    what
        One of `TABLES`.
    keep
        Files that something is read from.
    content
        What is to be written, where it is known.

    Raises
    ------
    StoreError
        If there is a file that is no such table.
    """
    mark, kept = mark_of(page) or Mark(), _resolved(keep)
    for number in count(1):
        path = page.with_name(f"{page.stem}.{what}{f'.{number}' if number > 1 else ''}.csv")
        if not os.path.lexists(path):
            return path
        if path.resolve() in kept:
            continue
        try:
            old = path.read_bytes()
        except OSError as error:
            raise _other(path, f"no table of {what}") from error
        if old == content or mark.tables.get(path.name) == digest_of(old):
            return path
        header = old.partition(b"\n")[0].decode("utf-8-sig", "replace")
        if not TABLES[what] <= {name.strip(' "\r') for name in re.split("[,;\t]", header)}:
            raise _other(path, f"no table of {what}")
    raise AssertionError


def _resolved(paths: Collection[Path]) -> set[Path]:
    return {Path(path).expanduser().resolve() for path in paths}


def _other(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path} exists, and is {what}: move it away, choose another "
        "name for the image, or write no report (report=False)"
    )


__all__ = [
    "Mark",
    "check_report",
    "digest_of",
    "is_current",
    "is_older",
    "mark_for",
    "mark_of",
    "table_for",
    "tables_of",
]
