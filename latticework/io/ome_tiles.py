"""From OME-TIFF files to pieces of tiles: every image of every document is a tile."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latticework.errors import SourceError
from latticework.io.ome import OmeDocument, OmeImage, parse_ome
from latticework.io.scan import Scan
from latticework.io.tiff_tiles import Parts


@dataclass(frozen=True, slots=True)
class _Placed:
    """One image: rows of the files and pages of its planes, shape (t, c, z)."""

    image: OmeImage
    files: np.ndarray
    pages: np.ndarray


def ome_parts(scan: Scan, *, mark: bool, quiet: bool = False) -> Parts | None:
    """Pieces of the images that the files' OME-XML describes; None where no file has any.

    A file that others name as part of their set must be there, unless `mark` or a single file of
    the set was asked for; `quiet`, images without files are left out without a warning.
    """
    placed = _images(scan)
    gone = next((entry for entry in placed if (entry.files < 0).all()), None)
    if gone is not None and len(scan.names) > 1:
        listed = next((p.file for p in gone.image.planes if p.file is not None), "its file")
        text = (
            f"{scan.root} lacks {listed}, which the OME-XML of the other files names for the image "
            f"{gone.image.name!r}; expected it beside them: complete the folder"
        )
        if not mark:
            raise SourceError(text, scan.root)
        if not quiet:
            text = f"left out images that cannot be placed: {text}"
            warnings.warn(text, UserWarning, stacklevel=5)
    placed = [entry for entry in placed if (entry.files >= 0).any()]
    if not placed:
        return None
    sizes = [entry.files.shape for entry in placed]
    usual = max(set(sizes), key=sizes.count)
    if len(set(sizes)) > 1:
        odd = next(entry for entry in placed if entry.files.shape != usual)
        text = "{} x {} x {}".format(*odd.files.shape)
        raise SourceError(
            f"image {odd.image.name!r} of {scan.path(int(odd.files.flat[0]))} has {text} planes "
            "(t, c, z); expected "
            f"{'{} x {} x {}'.format(*usual)} as most images: exclude it with files=...",
            scan.root,
        )
    times, channels, planes = usual
    inner = _inner(placed, channels, planes)
    rows: dict[str, list[object]] = {"file": [], "page": [], "image": []}
    if len({int(entry.files.max()) for entry in placed}) < len(placed):
        rows["title"] = []
    if times > 1:
        rows["time"] = []
    if inner is None:
        rows |= {"c": [], "z": []}
    for axis in "zyx":
        if any(axis in entry.image.position_um for entry in placed):
            rows[f"{axis}_um"] = []
    titles = _titles(placed, scan)
    for number, entry in enumerate(placed):
        for time in range(times):
            spread = [(0, 0)] if inner else [(c, z) for c in range(channels) for z in range(planes)]
            for c, z in spread:
                if entry.files[time, c, z] < 0:
                    continue
                row = {
                    "file": entry.files[time, c, z],
                    "page": entry.pages[time, c, z],
                    "image": number,
                }
                row |= {"time": time, "c": c, "z": z, "title": titles[number]}
                row |= {f"{a}_um": entry.image.position_um.get(a, np.nan) for a in "zyx"}
                for column, values in rows.items():
                    values.append(row[column])
    return _parts(rows, inner, placed[0].image)


def _parts(
    rows: Mapping[str, list[object]], inner: tuple[tuple[str, int], ...] | None, image: OmeImage
) -> Parts:
    import pandas as pd

    names = (
        image.channels
        if image.sizes["c"] > 1 and len(set(image.channels)) == image.sizes["c"]
        else None
    )
    table = pd.DataFrame(rows)
    for dim in ("c", "z"):
        if dim in table and image.sizes[dim] == 1:
            table = table.drop(columns=dim)
    dims = tuple((dim, n) for dim, n in inner or () if n > 1)
    return Parts(
        table,
        tuple(dim for dim, _ in dims),
        tuple(n for _, n in dims),
        dict(image.pixel_size_um),
        names if names and all(names) else None,
        ("image",),
    )


def _titles(placed: list[_Placed], scan: Scan) -> list[str]:
    """Names for images that share files: their own where they differ, else with a number."""
    names = [entry.image.name for entry in placed]
    if len(set(names)) == len(names) and all(names):
        return names
    files = [scan.names[int(entry.files.max())] for entry in placed]
    return [f"{file}#{number}" for number, file in enumerate(files)]


def _images(scan: Scan) -> list[_Placed]:
    row_of = {name: row for row, name in enumerate(scan.names)}
    done: set[int] = set()
    companions: dict[str, OmeDocument] = {}
    placed = []
    for row, facts in enumerate(scan.facts):
        if facts is None or facts.ome is None:
            continue
        document = facts.ome
        folder = scan.names[row].rpartition("/")[0]
        if document.metadata_file is not None:
            key = f"{folder}/{document.metadata_file}"
            if key not in companions:
                companions[key] = _companion(scan, row, folder, document.metadata_file)
            document = companions[key]
        files = {p.file for image in document.images for p in image.planes if p.file is not None}
        here = {file: row_of.get(f"{folder}/{file}" if folder else file, -1) for file in files}
        if len(here) == 1 and -1 in here.values():  # a file that was renamed after writing
            here = dict.fromkeys(here, row)
        shared = set(here.values()) - {row} != set()
        if shared and id(document) in done:
            continue
        done.add(id(document))
        placed += [_locate(image, row, here) for image in document.images]
    return placed


def _companion(scan: Scan, row: int, folder: str, name: str) -> OmeDocument:
    path = scan.root / folder / name
    try:
        return parse_ome(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise SourceError(
            f"{scan.path(row)} has its metadata in {path}, which cannot be read "
            f"({error.strerror}); "
            "expected that file beside it: copy it there, or open the folder with pattern=, "
            "positions= or grid=",
            path,
        ) from error


def _locate(image: OmeImage, row: int, here: Mapping[str, int]) -> _Placed:
    sizes = image.sizes
    shape = (sizes["t"], sizes["c"], sizes["z"])
    files, pages = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    total = int(np.prod(shape))
    order = [sizes[dim] for dim in image.order]  # fastest first

    def put(first: int, count: int, file: int, page: int) -> None:
        at = np.arange(first, min(first + count, total))
        index = dict(zip(image.order, np.unravel_index(at, order, order="F"), strict=True))
        where = index["t"], index["c"], index["z"]
        files[where], pages[where] = file, page + np.arange(len(at))

    if not image.planes:
        put(0, total, row, 0)
    for planes in image.planes:
        start = np.ravel_multi_index(
            [planes.first[dim] for dim in image.order], order, order="F", mode="clip"
        )
        count = total if planes.count is None else planes.count
        put(int(start), count, row if planes.file is None else here[planes.file], planes.page)
    return _Placed(image, files, pages)


def _inner(placed: list[_Placed], channels: int, planes: int) -> tuple[tuple[str, int], ...] | None:
    """Dims of a piece, slowest first, where every image's planes follow each other in one file."""
    order = placed[0].image.order
    c_first = order.index("c") < order.index("z")
    c, z = np.arange(channels)[:, None], np.arange(planes)[None, :]
    steps = c + channels * z if c_first else z + planes * c
    for entry in placed:
        same = (entry.files == entry.files[:, :1, :1]).all() and (entry.files >= 0).all()
        if not same or not (entry.pages == entry.pages[:, :1, :1] + steps).all():
            return None
    dims = (("z", planes), ("c", channels))
    return dims if c_first else dims[::-1]
