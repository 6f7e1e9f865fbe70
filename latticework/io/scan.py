"""Looking at the files of an acquisition: names, sizes, and the metadata of each TIFF."""

import fnmatch
import json
import logging
import os
import re
import stat
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latticework.errors import SourceError
from latticework.io.filenames import natural_key
from latticework.io.metamorph import PlaneInfo, parse_plane_info
from latticework.io.ome import MICROMETRES, OmeDocument, is_ome, parse_ome
from latticework.io.tiff_header import TiffPage, TiffReader, TiffTags

log = logging.getLogger(__name__)

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".tf2")
SCAN_THREADS = 8
FILES_AT_ONCE = 64
"""Files that a thread looks at before it says so."""
SILENCE_S = 5.0
"""Longest time without a word in the log."""
LARGEST_PIXEL_UM = 50.0
"""A resolution in inches or centimetres that says more is a default of some program, not a size."""

Progress = Callable[[int, int], None]
"""Called with the number of files looked at and of all files."""


@dataclass(frozen=True, slots=True)
class TiffFacts:
    """What one file says of itself."""

    length: int
    width: int
    samples: int
    dtype: np.dtype
    pages: int
    """Number of planes, also where one directory stands for many."""
    dims: tuple[str, ...]
    """Dims of the planes, slowest first, such as ``("z", "c")``; empty where there is one plane."""
    sizes: tuple[int, ...]
    """Planes along each of them."""
    pixel_size_um: dict[str, float]
    """By spatial axis, where the file gives it."""
    plane: PlaneInfo | None
    """What MetaMorph wrote."""
    ome: OmeDocument | None
    """What the OME-XML says."""

    @property
    def form(self) -> tuple[object, ...]:
        """What all files of an acquisition have in common."""
        return (
            self.length,
            self.width,
            self.samples,
            self.dtype.newbyteorder("="),
            self.dims,
            self.sizes,
        )

    @property
    def text(self) -> str:
        """The form, as messages show it."""
        planes = " x ".join(f"{n} {dim}" for dim, n in zip(self.dims, self.sizes, strict=True))
        rgb = f", {self.samples} samples per pixel" if self.samples > 1 else ""
        dtype = self.dtype.newbyteorder("=")
        return f"{planes + ' x ' if planes else ''}{self.length} x {self.width} {dtype}{rgb}"


@dataclass(slots=True)
class Scan:
    """Files of an acquisition and what was found in them."""

    root: Path
    names: list[str]
    """Relative to the root, natural order."""
    sizes: np.ndarray
    mtimes: np.ndarray
    facts: list[TiffFacts | None]
    problems: dict[int, str] = field(default_factory=dict)
    """Why a file cannot be used, by row."""

    def path(self, row: int) -> Path:
        """Full path of a file."""
        return self.root / self.names[row]

    def common(self) -> TiffFacts:
        """Facts of the most usual form; other forms become problems of their files."""
        forms = Counter(facts.form for facts in self.facts if facts is not None)
        if not forms:
            first = next(iter(self.problems.values()), "there are no files")
            raise SourceError(
                f"none of the {len(self.names)} files in {self.root} can be read: {first}",
                self.root,
            )
        usual = forms.most_common(1)[0][0]
        expected = next(facts for facts in self.facts if facts is not None and facts.form == usual)
        for row, facts in enumerate(self.facts):
            if facts is not None and facts.form != usual:
                self.problems[row] = (
                    f"{self.path(row)} is {facts.text}; expected {expected.text}, as "
                    f"{forms[usual]} of "
                    f"{len(self.names)} files are: exclude it with files=..., or acquire it again"
                )
        return expected


def list_files(
    folder: Path, files: str | None, suffixes: Sequence[str] = TIFF_SUFFIXES
) -> list[str]:
    """Names of the files below a folder, in natural order; hidden files and folders are left out.

    Parameters
    ----------
    folder
        Where to look; folders in it are looked into, Zarr stores are not.
    files
        Glob that the name, or the path below the folder, must fit; all files if None.
    suffixes
        Endings that count.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not name.endswith(".zarr")
        ]
        relative = os.path.relpath(parent, folder).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        found += [
            prefix + name
            for name in names
            if not name.startswith(".") and name.lower().endswith(tuple(suffixes))
        ]
    if files is not None:
        found = [
            n
            for n in found
            if fnmatch.fnmatch(n, files) or fnmatch.fnmatch(n.rpartition("/")[2], files)
        ]
    if strange := next((name for name in found if not is_text(name)), None):
        raise SourceError(
            f"the name of {printable(folder / strange)} is no text (UTF-8): rename it, or leave "
            "it out with files=...",
            folder,
        )
    return sorted(found, key=natural_key)


def is_text(name: str) -> bool:
    """Whether a file's name can be written as text: file systems allow any bytes.

    Examples
    --------
    >>> is_text("größe.tif"), is_text(os.fsdecode(bytes([246, 46, 116, 105, 102])))
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(name: object) -> str:
    """A file's name for messages, whatever bytes it is made of."""
    return str(name).encode(errors="backslashreplace").decode()


def _refuse(error: OSError) -> None:
    raise SourceError(
        f"cannot look into {error.filename}: {error.strerror}", error.filename
    ) from error


def file_stats(root: Path, names: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Size and time of change (ns) of every file, zeros where there is none."""
    rows = []
    for name in names:
        try:
            stat = (root / name).stat()
            rows.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            rows.append((0, 0))
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1].copy()


class _Documents:
    """OME-XML documents, parsed once where many files carry the same one."""

    def __init__(self) -> None:
        self._known: dict[int, OmeDocument] = {}
        self._lock = threading.Lock()

    def get(self, text: str, path: Path) -> OmeDocument:
        body = hash(
            text[text.index(">", text.index("<OME")) :]
        )  # the root's UUID differs from file to file
        with self._lock:
            if body not in self._known:
                self._known[body] = parse_ome(text, path)
            return self._known[body]


def scan_tiffs(root: Path, names: list[str], progress: Progress | None = None) -> Scan:
    """Look at the first directory of every file, several at a time.

    Parameters
    ----------
    root, names
        The files.
    progress
        Called now and then; without one, long scans are logged.
    """
    sizes, mtimes = file_stats(root, names)
    scan = Scan(root, names, sizes, mtimes, [None] * len(names))
    documents = _Documents()
    began = said = time.monotonic()

    def look(rows: range) -> list[TiffFacts | str]:
        found: list[TiffFacts | str] = []
        for row in rows:
            try:
                found.append(tiff_facts(root / names[row], documents.get))
            except SourceError as error:
                found.append(str(error))
        return found

    runs = [
        range(at, min(at + FILES_AT_ONCE, len(names))) for at in range(0, len(names), FILES_AT_ONCE)
    ]
    alike: dict[tuple[object, ...], TiffFacts] = {}
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        for rows, results in zip(runs, pool.map(look, runs), strict=True):
            for row, found in zip(rows, results, strict=True):
                if isinstance(found, str):
                    scan.problems[row] = found
                else:
                    scan.facts[row] = _shared(found, alike)
            now = time.monotonic()
            if progress is not None:
                progress(rows.stop, len(names))
            elif now - said > SILENCE_S:
                said = now
                log.info(
                    "looked at %d of %d files of %s in %.0f s",
                    rows.stop,
                    len(names),
                    root,
                    now - began,
                )
    return scan


def _shared(facts: TiffFacts, alike: dict[tuple[object, ...], TiffFacts]) -> TiffFacts:
    """One object for all files that say the same, which are most."""
    if facts.plane is not None or facts.ome is not None:
        return facts
    return alike.setdefault((facts.form, facts.pages, *sorted(facts.pixel_size_um.items())), facts)


def tiff_facts(path: Path, parse: Callable[[str, Path], OmeDocument] = parse_ome) -> TiffFacts:
    """What one TIFF file says of itself, from its directories alone.

    Raises
    ------
    SourceError
        If the file is empty, truncated, not a TIFF, or has pixels of an unknown type.
    """
    try:
        with open(path, "rb", buffering=0, opener=_open_at_once) as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise SourceError(
                    f"{path} is a pipe or a device; expected a TIFF file: remove it", path
                )
            reader = TiffReader(handle, path)
            offsets = [offset for offset, reduced in reader.directories() if not reduced]
            if not offsets:
                raise SourceError(
                    f"{path} has no pages; expected at least one: acquire it again", path
                )
            page, tags = reader.page(offsets[0]), reader.tags(offsets[0])
            pages = _planes(len(offsets), page, tags)
            reader.check_whole(page, 0)
            if len(offsets) > 1:
                reader.check_whole(reader.page(offsets[-1], len(offsets) - 1), len(offsets) - 1)
            elif pages > 1:
                end = int(page.offsets[0]) + pages * page.page_bytes
                if end > reader.size:
                    raise SourceError(
                        f"{path} is truncated: {reader.size:,} bytes, but its {pages} planes end "
                        f"at byte {end:,}; "
                        "expected a whole file: copy or acquire it again",
                        path,
                    )
    except SourceError:
        raise
    except (OSError, ValueError, struct.error) as error:  # struct: it shrank while it was read
        raise SourceError(f"{path} cannot be read ({error}); expected a TIFF file", path) from error
    text = tags.description
    ome = parse(text, path) if is_ome(text) else None
    plane = None if ome is not None else parse_plane_info(text)
    dims, sizes = _dims(pages, text, page) if ome is None else _ome_dims(pages, ome)
    pixel = _pixel_size(tags)
    if plane is not None:
        pixel = dict(plane.pixel_size_um)
    elif ome is not None and ome.images:
        pixel = dict(ome.images[0].pixel_size_um)
    return TiffFacts(
        page.length, page.width, page.samples, page.dtype, pages, dims, sizes, pixel, plane, ome
    )


def _open_at_once(path: str, flags: int) -> int:
    """As `open` does, but a named pipe that nobody writes to is not waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _imagej(text: str) -> dict[str, str]:
    if not text.startswith("ImageJ="):
        return {}
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _planes(directories: int, page: TiffPage, tags: TiffTags) -> int:
    if directories > 1 or page.compression != 1:
        return directories
    images = _imagej(tags.description).get("images", "1")
    return max(int(images) if images.isdigit() else 1, 1)


def _dims(pages: int, text: str, page: TiffPage) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if pages == 1:
        return (), ()
    found: list[tuple[str, int]] = []
    if settings := _imagej(text):
        names = {"time": "frames", "z": "slices", "c": "channels"}
        found = [(dim, int(settings.get(key, "1"))) for dim, key in names.items()]
    elif text.startswith("{") and '"shape"' in text:
        try:
            shaped = json.loads(text)
            lead = [int(n) for n in shaped["shape"]]
            lead = lead[: -3 if page.samples > 1 and not page.planar else -2]
            axes = str(shaped.get("axes", "")).lower()[: len(lead)]
            axes = (
                axes
                if len(axes) == len(lead) and set(axes) <= set("tcz")
                else "tcz"[3 - len(lead) :]
            )
            found = [("time" if dim == "t" else dim, n) for dim, n in zip(axes, lead, strict=False)]
        except (ValueError, KeyError, TypeError):
            found = []
    found = [(dim, n) for dim, n in found if n > 1]
    if int(np.prod([n for _, n in found])) != pages or len({dim for dim, _ in found}) != len(found):
        found = [("z", pages)]
    return tuple(dim for dim, _ in found), tuple(n for _, n in found)


def _ome_dims(pages: int, ome: OmeDocument) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if len(ome.images) != 1:
        return (), ()
    sizes = [
        ("time" if dim == "t" else dim, ome.images[0].sizes[dim])
        for dim in reversed(ome.images[0].order)
    ]
    sizes = [(dim, n) for dim, n in sizes if n > 1]
    if int(np.prod([n for _, n in sizes])) != pages:
        return (("z",), (pages,)) if pages > 1 else ((), ())
    return tuple(dim for dim, _ in sizes), tuple(n for _, n in sizes)


def _pixel_size(tags: TiffTags) -> dict[str, float]:
    x, y, unit = tags.resolution
    settings = _imagej(tags.description)
    named = settings.get("unit", "").replace("\\u00B5", "µ").strip()
    scale = MICROMETRES.get(named)
    if scale is None and unit in (2, 3) and not settings:
        scale = {2: 25400.0, 3: 10000.0}[unit]
        if not (x > 0 and scale / x <= LARGEST_PIXEL_UM):
            return {}
    if scale is None or not (x > 0 and y > 0) or (x == y == 1 and "spacing" not in settings):
        return {}
    size = {"y": scale / y, "x": scale / x}
    if (
        re.fullmatch(r"[\d.]+(e[-+]?\d+)?", settings.get("spacing", ""))
        and float(settings["spacing"]) > 0
    ):
        size["z"] = float(settings["spacing"]) * scale
    return size
