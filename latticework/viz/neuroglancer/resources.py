"""What the data server can serve: a resource finds the answer to the rest of a path, or nothing.

``Folder``      a Zarr array or OME-Zarr image on disk, its files and no others
``Text``        one small document, such as a viewer's state
``Shelf``       several resources, each below a name
``Client``      Neuroglancer itself, from the ``neuroglancer`` package

Images and annotations that are made while they are looked at are in `virtual_images` and
`annotations`. A resource is asked from several threads.
"""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from latticework.errors import LatticeworkError, SourceError

ZARR_FILE = re.compile(r"zarr\.json|\.zarray|\.zattrs|\.zgroup|\.zmetadata|c|c?(\.?\d+)+")
"""Names of the files of Zarr: metadata, and chunks such as ``7``, ``0.1.2`` and ``c.0.1.2``."""
STATIC_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(html|js|css|wasm)")
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "wasm": "application/wasm",
}


class ViewError(LatticeworkError, ValueError):
    """Something cannot be shown in Neuroglancer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: bytes, or a file of which parts may be asked for.

    Examples
    --------
    >>> answer = Answer.of(b"[]", "application/json")
    >>> answer.size, len(answer.etag)
    (2, 18)
    """

    size: int
    """Bytes."""
    etag: str
    """Changes whenever the bytes do."""
    content_type: str = "application/octet-stream"
    body: bytes | None = None
    file: Path | None = None
    modified: float | None = None
    """When the file was last written, in seconds since 1970."""
    lasting: bool = False
    """Whether a browser may keep it without asking again."""

    @classmethod
    def of(cls, body: bytes, content_type: str = "application/octet-stream") -> "Answer":
        """An answer of bytes."""
        digest = hashlib.blake2b(body, digest_size=8).hexdigest()
        return cls(len(body), f'"{digest}"', content_type, body=body)

    @classmethod
    def of_file(cls, path: Path, content_type: str = "application/octet-stream") -> "Answer":
        """An answer of a file; it is opened when it is sent."""
        about = path.stat()
        etag = f'"{about.st_mtime_ns:x}-{about.st_size:x}-{about.st_ino:x}"'
        return cls(about.st_size, etag, content_type, file=path, modified=about.st_mtime)


class Resource(Protocol):
    """Something that is served below a name of its own."""

    def find(self, parts: tuple[str, ...]) -> Answer | None:
        """The answer for the rest of a path, already decoded and split; None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """One document.

    Examples
    --------
    >>> Text(b"{}").find(()).content_type
    'application/json'
    """

    body: bytes
    content_type: str = TYPES["json"]

    def find(self, parts: tuple[str, ...]) -> Answer | None:
        """The document, where nothing more is asked for."""
        return None if parts else Answer.of(self.body, self.content_type)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Several resources, each below a name.

    Examples
    --------
    >>> shelf = Shelf({"a": Text(b"1")})
    >>> shelf.find(("a",)).body, shelf.find(("b",)), shelf.find(())
    (b'1', None, None)
    """

    resources: dict[str, Resource]

    def find(self, parts: tuple[str, ...]) -> Answer | None:
        """What the resource with the first name finds for the others."""
        found = self.resources.get(parts[0]) if parts else None
        return None if found is None else found.find(parts[1:])


class Folder:
    """A Zarr array or OME-Zarr image on disk.

    Only files that Zarr has are served (metadata and chunks, by their names), and none that lies
    outside of the folder, whatever symbolic links say. There are no listings.

    Parameters
    ----------
    root
        The folder.

    Raises
    ------
    SourceError
        If there is no Zarr array or image in it.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> _ = (root / "zarr.json").write_text("{}")
    >>> Folder(root).find(("zarr.json",)).size, Folder(root).find(("..", "etc", "passwd"))
    (2, None)
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        if not any((self.root / name).is_file() for name in ("zarr.json", ".zarray", ".zattrs")):
            raise SourceError(
                f"{root} is not a Zarr array or OME-Zarr image (no zarr.json, .zarray or .zattrs): "
                "check the path",
                self.root,
            )

    def find(self, parts: tuple[str, ...]) -> Answer | None:
        """The file of Zarr at that place, if there is one."""
        if not parts or not ZARR_FILE.fullmatch(parts[-1]):
            return None
        if any(part.startswith(".") or set(part) & set("/\\\0") for part in parts[:-1]):
            return None
        try:
            path = self.root.joinpath(*parts).resolve(strict=True)
            if not path.is_relative_to(self.root) or not path.is_file():
                return None
            if not ZARR_FILE.fullmatch(path.name):  # a link within the folder, to something else
                return None
            text = path.name.endswith(".json") or path.name.startswith(".z")
            return Answer.of_file(path, TYPES["json"] if text else "application/octet-stream")
        except (OSError, ValueError):
            return None


class Client:
    """Neuroglancer's own files, as the ``neuroglancer`` package brings them.

    Raises
    ------
    ViewError
        If the package is not installed.
    """

    def __init__(self) -> None:
        self.root = client_folder()

    def find(self, parts: tuple[str, ...]) -> Answer | None:
        """One of the files; the page for no name."""
        name = "/".join(parts) or "index.html"
        if not STATIC_FILE.fullmatch(name) or not (path := self.root / name).is_file():
            return None
        return _static(path)


@lru_cache(maxsize=64)
def _static(path: Path) -> Answer:
    body = path.read_bytes()
    if path.suffix == ".html":  # a browser would ask for an icon, which there is not
        body = body.replace(b"</title>", b'</title><link rel="icon" href="data:,">')
    answer = Answer.of(body, TYPES[path.suffix[1:]])
    lasting = path.suffix != ".html"  # their names have a hash of what is in them
    return Answer(answer.size, answer.etag, answer.content_type, body=body, lasting=lasting)


def client_folder() -> Path:
    """Where Neuroglancer's files are; the package itself is not imported.

    Raises
    ------
    ViewError
        If it is not installed.
    """
    spec = importlib.util.find_spec("neuroglancer")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    for place in places:
        folder = Path(place) / "static" / "client"
        if (folder / "index.html").is_file():
            return folder.resolve()
    raise ViewError(
        "viewing needs the package 'neuroglancer' (2.41 or later), which brings the viewer: "
        "pip install 'latticework[view]'"
    )


__all__ = ["Answer", "Client", "Folder", "Resource", "Shelf", "Text", "ViewError", "client_folder"]
