"""Sources on disk: how workers find the pixels of an acquisition, in milliseconds, no pickle.

A saved source is a folder with ``source.json`` (what kind, and the little facts) and Arrow IPC
files (one row per file), which are memory-mapped: a worker of a project with a million tiles opens
the source at once and touches only the rows that it reads.

A folder may come from anybody, so opening one imports nothing that it names: only the built-in
kinds, those that this process registered (`register_source`), and those that installed packages
declare are loaded. Workers that run a project load what the process that opened it allowed.
"""

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, overload, runtime_checkable

import numpy as np

from latticework.errors import SourceError, StoreError
from latticework.lattice.source import BlockSource, SelectedSource, TileSource

if TYPE_CHECKING:
    import pyarrow as pa

SPEC = "source.json"
VERSION = 1

_KINDS = {
    "selection": "latticework.io.selected_source:SavableSelection",
    "parts": "latticework.io.parts_source:PartsSource",
    "simulated": "latticework.testing.simulated:SimulatedSource",
    "tile-blocks": "latticework.io.tile_blocks:TileBlockSource",
    "tiff": "latticework.io.tiff_source:TiffSource",
    "zarr": "latticework.io.zarr_source:ZarrSource",
    "zarr-blocks": "latticework.io.zarr_source:ZarrBlockSource",
}

_BUILT_IN = frozenset(_KINDS)

GROUP = "latticework.sources"
"""Entry points of packages that bring a kind of source: ``kind = "package.module:Class"``."""

_trusting: ContextVar[bool] = ContextVar("trusting", default=False)


@runtime_checkable
class SavableSource(TileSource, Protocol):
    """A source that can be written to a folder and read back from there."""

    kind: ClassVar[str]
    """Name under which `register_source` knows how to load it."""

    def save(self, folder: Path, base: Path) -> dict[str, Any]:
        """Write tables to `folder`; return what goes into ``source.json`` (JSON values only)."""
        ...

    @classmethod
    def load(cls, folder: Path, base: Path, spec: Mapping[str, Any]) -> TileSource:
        """The source of a folder, from what `save` returned."""
        ...


def register_source(kind: str, where: str) -> None:
    """Allow a further kind of source, and say where it is loaded from.

    Say it before a project with such a source is opened again, best at the end of the module of
    the class. An installed package may declare it instead, as an entry point of the group
    ``latticework.sources``, so that the command line knows it too::

        [project.entry-points."latticework.sources"]
        camera = "package.module:CameraSource"

    The process that makes a project of a source need not say it; workers need not either.

    Parameters
    ----------
    kind
        The class's `kind`.
    where
        ``"package.module:Class"``, importable on the workers.

    Examples
    --------
    >>> register_source("camera", "package.module:CameraSource")  # imports nothing
    """
    _KINDS[kind] = where


@contextmanager
def importing_sources() -> Iterator[None]:
    """Load classes from where a folder names them: for workers, which run a project's code anyway.

    Who opened the project has allowed its source before anything was sent to them.
    """
    token = _trusting.set(True)
    try:
        yield
    finally:
        _trusting.reset(token)


def save_source(source: TileSource, folder: Path, *, base: Path | None = None) -> None:
    """Write a source to a folder, from which `load_source` opens it again anywhere.

    Arrays in memory (NumPy, dask, xarray) are written there as Zarr, tile by tile.

    Parameters
    ----------
    source
        What `open_tiles` put on the lattice, or any `SavableSource`.
    folder
        Where to write; made if missing.
    base
        Folder that is moved as a whole (the project): data below it are found again after a move.
        `folder` if not given.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from latticework.io.open_tiles import open_tiles
    >>> from latticework.lattice import Box
    >>> lattice = open_tiles([np.full((4, 4), i, "u2") for i in range(6)], grid={"y": 2, "x": 3})
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_source(lattice.source, folder)
    >>> load_source(folder).read(5, Box((0, 0), (1, 3)))
    array([[5, 5, 5]], dtype=uint16)
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    base = folder if base is None else Path(base)
    savable = saved_form(source)
    spec = savable.save(folder, base)
    head = {"kind": savable.kind, "version": VERSION, **_where(savable)}
    text = json.dumps({**head, **spec}, indent=1)
    partial = folder / f"{SPEC}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(folder / SPEC)


def _where(source: SavableSource) -> dict[str, str]:
    """Where the class of a source of one's own is imported from, by whoever loads it."""
    if source.kind in _BUILT_IN:
        return {}
    where = f"{type(source).__module__}:{type(source).__qualname__}"
    _KINDS.setdefault(source.kind, where)  # whoever saves a source here may open it here
    return {"class": where}


def saved_form(source: TileSource) -> SavableSource:
    """The source as it can be saved: arrays in memory in a form of their own.

    Raises
    ------
    SourceError
        If it cannot.
    """
    if isinstance(source, BlockSource):
        from latticework.io.memory import as_savable_blocks

        return as_savable_blocks(source)
    if type(source) is SelectedSource:
        from latticework.io.selected_source import SavableSelection

        saved_form(source.inner)
        return SavableSelection(source.inner, source.tiles)
    if not isinstance(source, SavableSource):
        raise SourceError(
            f"a {type(source).__name__} cannot be written to a project; expected a source of "
            "open_tiles, arrays, "
            "or a class with kind, save() and load() registered by register_source"
        )
    return source


def load_source(folder: Path, *, base: Path | None = None) -> TileSource:
    """The source that `save_source` wrote to a folder.

    Parameters
    ----------
    folder, base
        As for `save_source`, where they are now.

    Raises
    ------
    StoreError
        If the folder holds no source, one of a later version, or of a kind that is not allowed
        here: see `register_source`.
    """
    folder = Path(folder)
    try:
        spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder / SPEC} cannot be read ({error}); expected a source that save_source wrote"
        ) from error
    if spec.get("version") != VERSION:
        raise StoreError(
            f"{folder / SPEC} holds a source of version {spec.get('version')}; this latticework "
            f"reads version {VERSION}: update it"
        )
    where = _allowed(spec, folder / SPEC)
    loaded: TileSource = _class_at(where, folder / SPEC).load(
        folder, folder if base is None else Path(base), spec
    )
    return loaded


def _allowed(spec: Mapping[str, Any], file: Path) -> str:
    """Where the class of a saved source is, if it is one that may be imported; nothing is."""
    kind, named = spec.get("kind"), spec.get("class")
    where = _KINDS.get(str(kind))
    if where is None:
        declared = entry_points(group=GROUP, name=str(kind))
        where = next((point.value for point in declared), None)
    if where is None and _trusting.get() and isinstance(named, str):
        where = named
    if where is None:
        said = f"register_source({kind!r}, {named or 'package.module:Class'!r})"
        raise StoreError(
            f"{file} holds a source of kind {kind!r}, which is none of {', '.join(_KINDS)}, and "
            "nothing was imported. If you know it and trust it, call latticework.io."
            f"{said} before, or install a package that declares it (entry point of the group "
            f"{GROUP!r})"
        )
    return where


def _class_at(where: str, file: Path) -> type[SavableSource]:
    """A class of sources, imported."""
    module, _, name = where.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise StoreError(
            f"{file} holds a source of the class {name} in {module}, which cannot be imported here "
            f"({error}): install the module where workers run"
        ) from error
    if not (isinstance(found, type) and all(hasattr(found, n) for n in ("kind", "load", "read"))):
        raise StoreError(f"{file} names {where} as its source, which is no class of sources")
    return found


def path_spec(path: Path, base: Path) -> dict[str, str | None]:
    """How a path is remembered: absolute, and relative to `base` where it lies below."""
    absolute, base = Path(path).absolute(), Path(base).absolute()
    relative = absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else None
    return {"absolute": str(absolute), "relative": relative}


def path_from_spec(spec: Mapping[str, str | None], base: Path) -> Path:
    """The path that `path_spec` remembered, wherever `base` is now."""
    relative, absolute = spec.get("relative"), spec.get("absolute")
    if relative is not None:
        return Path(base).absolute() / relative
    return Path(absolute or ".")


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of one length as one Arrow record batch."""
    import pyarrow as pa

    batch = pa.record_batch({name: pa.array(values) for name, values in columns.items()})
    partial = path.with_name(path.name + ".partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    partial.replace(path)


def read_table(path: Path) -> "pa.RecordBatch":
    """The record batch of `write_table`, memory-mapped."""
    import pyarrow as pa

    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); expected a table that save_source wrote"
        ) from error


class Strings(Sequence[str]):
    """Strings of an Arrow column as a sequence; only what is asked for is decoded.

    Examples
    --------
    >>> import pyarrow as pa
    >>> Strings(pa.array(["a", "b"]))[1]
    'b'
    """

    def __init__(self, column: Any) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> "Strings": ...
    def __getitem__(self, key: int | slice) -> "str | Strings":
        if isinstance(key, slice):
            return Strings(self.column[key])
        return str(self.column[int(key)].as_py())

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.column.to_numpy(zero_copy_only=False), dtype=dtype)


def mix(*parts: np.ndarray) -> np.ndarray:
    """One well-mixed uint64 per row from integer columns (the finaliser of splitmix64).

    Examples
    --------
    >>> a = mix(np.array([1, 2]), np.array([3, 3]))
    >>> bool(a[0] != a[1]), a.dtype
    (True, dtype('uint64'))
    """
    state = np.zeros(np.broadcast_shapes(*(np.shape(part) for part in parts)), np.uint64)
    for part in parts:
        state = state + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def hash_strings(strings: Sequence[str]) -> np.ndarray:
    """One uint64 per string, the same in every process."""
    import pandas as pd

    values = (
        np.asarray(strings, dtype=object)
        if not isinstance(strings, Strings)
        else np.asarray(strings)
    )
    hashed: np.ndarray = pd.util.hash_array(values.astype(object, copy=False), categorize=False)
    return hashed
