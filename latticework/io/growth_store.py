"""Lattices that grow, on disk: what is new, in a small folder for each version.

::

    brain.lw/
        project.json        lattice_version: 7: growth up to 7 counts, later folders are leftovers
        lattice/  source/   the lattice as it was at some version (5, say), which they name
        growth/
            base.json       the version of lattice/ and source/, where they name none
            6/              growth.json   what happened; written last: without it there is no 6
                            tiles.arrow   a row for each new tile
                            source/       where their pixels are
            7/              growth.json
                            replaced/     where the pixels of tiles are that were imaged again

A process that has version 6 in memory reads ``growth/7`` only, so that a tile joins in
milliseconds whatever the size of the lattice. `latticework.io.compacting` brings ``lattice/`` and
``source/`` up to date now and then.
"""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from latticework.errors import LatticeError, StoreError
from latticework.io.joining import taken
from latticework.io.lattice_store import lattice_facts, lattice_from, load_version
from latticework.io.parts_source import PartsSource
from latticework.io.plain_zarr import read_json, write_json
from latticework.io.sources import (
    SPEC,
    Strings,
    load_source,
    read_table,
    save_source,
    write_table,
)
from latticework.lattice.growth import DERIVED, PLACED_BY, grown, made
from latticework.lattice.lattice import Lattice
from latticework.lattice.source import TileSource

FORMAT = 1

_PATIENCE = (0.05, 0.2, 1.0, None)
"""Seconds to wait, while another process compacts."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What happened to an acquisition: tiles that came, were imaged again, or left.

    Examples
    --------
    >>> from latticework.io.memory import MemorySource
    >>> from latticework.lattice import Lattice, State
    >>> pixels = [np.full((4, 4), k, "u1") for k in range(3)]
    >>> pair = Lattice.from_grid({"y": 1, "x": 2}, tile_shape={"y": 4, "x": 4}, dtype="u1")
    >>> lattice = pair.with_source(MemorySource(pixels[:2]))
    >>> third = pair.take([0]).replace(labels={"tile_y": [1], "tile_x": [0, 1]})
    >>> growth = Growth(third.with_source(MemorySource(pixels[2:])), presence=([0], State.ABSENT))
    >>> after = apply_growth(lattice, growth)
    >>> after.id_grid.tolist(), after.source.presence().tolist()
    ([[0, 1], [2, -1]], [0, 4, 4])
    """

    tiles: Lattice | None = None
    """New tiles, with their source; they get the next ids."""
    placed_by: str = "labels"
    """What says where they are: ``labels`` or ``positions``."""
    replaced: tuple[Any, TileSource] | None = None
    """Ids of tiles that were imaged again, and a source with as many tiles, in this order."""
    presence: tuple[Any, Any] | None = None
    """Ids of tiles, and codes of `State`: arrived, announced, withdrawn. Applied last."""


# ------------------------------------------------------------------------ applying


def apply_growth(lattice: Lattice, growth: Growth) -> Lattice:
    """The lattice after a growth, with a `PartsSource`; `lattice` stays as it is.

    Raises
    ------
    LatticeError
        If new tiles do not fit (`latticework.lattice.growth.grown`).
    SourceError
        If ids or presence make no sense.
    """
    check_growth(growth)
    after = _grown_lattice(lattice, growth)
    if lattice.source is None:
        raise LatticeError("the lattice has no source of pixels: it cannot grow")
    return after.with_source(_grown_source(lattice.source, len(lattice), growth))


def check_growth(growth: Growth) -> None:
    """Refuse growth that makes no sense whatever the lattice is."""
    if growth.placed_by not in PLACED_BY:
        raise LatticeError(
            f"placed_by={growth.placed_by!r}: expected one of {', '.join(PLACED_BY)}"
        )
    if growth.tiles is not None and growth.tiles.source is None and len(growth.tiles):
        raise LatticeError(
            f"new tile {growth.tiles.names[0]!r} has no source of pixels: open it with "
            "latticework.open_tiles"
        )


def _grown_lattice(lattice: Lattice, growth: Growth) -> Lattice:
    if lattice.shuffled:
        raise LatticeError(
            "the lattice is a selection of another one: only whole lattices grow (ids 0 to n - 1)"
        )
    tiles = growth.tiles
    after = lattice if tiles is None else grown(lattice, tiles, placed_by=growth.placed_by)
    if growth.replaced is None or not after.problems:
        return after
    again = set(np.asarray(growth.replaced[0]).tolist())  # what was wrong with them is past
    problems = {tile: why for tile, why in after.problems.items() if tile not in again}
    return made(after, DERIVED, problems=MappingProxyType(problems))


def _grown_source(source: TileSource, n: int, growth: Growth) -> PartsSource:
    """The source of `n` tiles after a growth."""
    if not isinstance(source, PartsSource):
        source = PartsSource.of(source, np.arange(n))
    tiles = growth.tiles
    if tiles is not None and tiles.source is not None and len(tiles):
        source = source.with_tiles(tiles.source, rows=tiles.ids)
    if growth.replaced is not None:
        source = source.with_replaced(*growth.replaced)
    if growth.presence is not None:
        source = source.with_presence(*growth.presence)
    return source


def replacing(lattice: Lattice, source: TileSource) -> Growth | None:
    """The growth that brings a lattice to a new source of the same tiles; None if nothing changed.

    Tiles whose fingerprints differ count as imaged again.
    """
    assert lattice.source is not None
    old, new = lattice.source.fingerprints(), source.fingerprints()
    if len(old) != len(new):
        raise LatticeError(f"the new source has {len(new)} tiles, the lattice {len(old)}")
    ids = np.flatnonzero(old != new)
    return Growth(replaced=(ids, PartsSource.of(source, ids))) if len(ids) else None


# ------------------------------------------------------------------------ on disk


def growth_folder(project: Path | str, version: int | None = None) -> Path:
    """Where growth is kept, or that which made one version."""
    folder = Path(project) / "growth"
    return folder if version is None else folder / str(version)


def save_growth(project: Path | str, version: int, growth: Growth) -> None:
    """Write what made a version; it counts once ``project.json`` says that there is this version.

    Parameters
    ----------
    project
        The project's folder; data below it are found again after a move.
    version
        Version after the growth. A leftover of this number is replaced.
    growth
        What happened.
    """
    check_growth(growth)
    project = Path(project)
    root, folder = growth_folder(project), growth_folder(project, version)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    if not (root / "base.json").exists():
        write_json(root / "base.json", {"version": version - 1})
    facts: dict[str, Any] = {"growth": FORMAT, "placed_by": growth.placed_by}
    if growth.tiles is not None and len(growth.tiles):
        assert growth.tiles.source is not None
        facts["tiles"] = _save_tiles(growth.tiles, folder)
        save_source(_only(growth.tiles.source, growth.tiles.ids), folder / "source", base=project)
    if growth.replaced is not None:
        ids, source = growth.replaced
        facts["replaced"] = np.asarray(ids, dtype=np.int64).reshape(-1).tolist()
        save_source(_only(source, None), folder / "replaced", base=project)
    if growth.presence is not None:
        ids = np.asarray(growth.presence[0], dtype=np.int64).reshape(-1)
        codes = np.broadcast_to(np.asarray(growth.presence[1], dtype=np.int64), ids.shape)
        facts["presence"] = [ids.tolist(), codes.tolist()]
    partial = folder / "growth.json.partial"
    partial.write_text(json.dumps(facts), encoding="utf-8")
    partial.replace(folder / "growth.json")


def _only(source: TileSource, rows: Any) -> TileSource:
    """A source of only these rows, which holds no more than it must."""
    if rows is not None:
        whole = isinstance(source, PartsSource) and len(source) == len(rows)
        if not (whole and np.array_equal(rows, np.arange(len(rows)))):
            source = PartsSource.of(source, rows)
    if not isinstance(source, PartsSource):
        return source
    if len(source.parts) != 1:
        return source.compacted()
    fewer = taken(source.parts[0], source.row)
    return (
        source
        if fewer is None
        else PartsSource((fewer,), source.part, np.arange(len(source)), source.presence())
    )


def _save_tiles(tiles: Lattice, folder: Path) -> dict[str, Any]:
    columns: dict[str, Any] = {"id": tiles.ids}
    columns |= {f"index_{k}": column for k, column in enumerate(tiles.index.T)}
    if tiles.given_position_um is not None:
        columns |= {f"um_{k}": column for k, column in enumerate(tiles.given_position_um.T)}
    if tiles.shapes is not None:
        columns |= {f"px_{k}": column for k, column in enumerate(tiles.shapes.T)}
    if tiles.given_names is not None:
        columns["name"] = [str(name) for name in tiles.names.tolist()]
    write_table(folder / "tiles.arrow", columns)
    labels = {dim: [column.dtype.str, column.tolist()] for dim, column in tiles.labels.items()}
    return {**lattice_facts(tiles), "labels": labels}


def load_growth(project: Path | str, version: int) -> Growth:
    """What made a version; tables are memory-mapped.

    Raises
    ------
    StoreError
        If it is not there, or damaged.
    """
    project = Path(project)
    folder = growth_folder(project, version)
    facts = read_json(folder / "growth.json", what=f"growth of version {version}")
    if facts.get("growth") != FORMAT:
        raise StoreError(
            f"{folder / 'growth.json'} has format {facts.get('growth')}; this latticework reads "
            f"{FORMAT}: update it"
        )
    replaced, presence = facts.get("replaced"), facts.get("presence")
    return Growth(
        tiles=_load_tiles(facts["tiles"], folder, project) if "tiles" in facts else None,
        placed_by=facts["placed_by"],
        replaced=None
        if replaced is None
        else (np.array(replaced, np.int64), load_source(folder / "replaced", base=project)),
        presence=None if presence is None else (np.array(presence[0], np.int64), presence[1]),
    )


def _load_tiles(facts: dict[str, Any], folder: Path, project: Path) -> Lattice:
    table = read_table(folder / "tiles.arrow")
    columns = {name: table.column(name) for name in table.schema.names}

    def rows(prefix: str) -> np.ndarray | None:
        found = [columns[name].to_numpy() for name in columns if name.startswith(prefix)]
        return np.stack(found, axis=1) if found else None

    n = len(columns["id"])
    index = rows("index_")
    # numbered from 0: the source has these tiles only
    return lattice_from(
        facts | {"problems": _renumbered(facts["problems"], columns["id"].to_pylist())},
        labels={dim: np.array(values, dtype) for dim, (dtype, values) in facts["labels"].items()},
        index=np.zeros((n, 0), np.int64) if index is None else index,
        position_um=rows("um_"),
        shapes=rows("px_"),
        names=Strings(columns["name"]) if "name" in columns else None,
        source=load_source(folder / "source", base=project),
    )


def _renumbered(problems: dict[str, str], ids: list[int]) -> dict[str, str]:
    place = {tile: row for row, tile in enumerate(ids)}
    return {str(place[int(tile)]): why for tile, why in problems.items()}


# ------------------------------------------------------------------------ loading


class _BehindError(Exception):
    """A growth that is needed is not there: it was compacted meanwhile, or is lost."""


def load_grown(
    project: Path | str, version: int, *, known: tuple[int, Lattice] | None = None
) -> Lattice:
    """The lattice of a project at a version, with its source.

    Parameters
    ----------
    project
        The project's folder.
    version
        ``lattice_version`` of ``project.json``.
    known
        A version that is in memory already, and its lattice; then only what came since is read.

    Raises
    ------
    StoreError
        If something is missing or damaged.
    """
    project = Path(project)
    if known is not None and known[0] <= version and known[1].source is not None:
        at, lattice, source = *known, known[1].source
        try:
            return _grown_until(project, version, (at, lattice), (at, source))
        except _BehindError:
            pass  # compacted meanwhile: begin with the base
    for patience in _PATIENCE:
        try:
            lattice, source, ats = load_base(project, version)
            if max(ats) > version:
                raise StoreError(
                    f"{project} is at version {max(ats)} of its lattice; version {version} is no "
                    "longer kept: read project.json again"
                )
            return _grown_until(project, version, (ats[0], lattice), (ats[1], source))
        except (_BehindError, StoreError) as error:
            still = isinstance(error, StoreError) and not growth_folder(project).exists()
            if patience is None or still:  # where nothing grows, nobody is compacting
                if isinstance(error, StoreError):
                    raise
                raise StoreError(
                    f"the lattice of {project} cannot be brought to version {version}: {error}; "
                    "expected what save_growth wrote: restore the folder"
                ) from error
            time.sleep(patience)
    raise AssertionError


def load_base(project: Path, version: int) -> tuple[Lattice, TileSource, tuple[int, int]]:
    """Lattice and source as they were saved last, and the versions of each.

    `version` is theirs where nothing says more: nothing has grown since.
    """
    settle_source(project)
    mark = growth_folder(project) / "base.json"
    first = int(read_json(mark, what="growth")["version"]) if mark.exists() else version
    before = source_version(project)
    source = load_source(project / "source", base=project)
    if source_version(project) != before:
        raise StoreError(f"the source of {project} was replaced while it was read; read it again")
    lattice, lattice_at = load_version(project / "lattice")
    return (
        lattice,
        source,
        (first if lattice_at is None else lattice_at, first if before is None else before),
    )


def source_version(project: Path) -> int | None:
    """The version at which ``source/`` was saved, if it says so."""
    path = project / "source" / "version.json"
    return int(read_json(path, what="source")["version"]) if path.exists() else None


def settle_source(project: Path) -> None:
    """Finish the replacement of ``source/`` that a crash cut in two."""
    old, new = project / "source", project / "source.new"
    if not old.exists() and (new / SPEC).exists():
        new.rename(old)


def _grown_until(
    project: Path, version: int, of_lattice: tuple[int, Lattice], of_source: tuple[int, TileSource]
) -> Lattice:
    lattice_at, lattice = of_lattice
    source_at, source = of_source
    if lattice_at != source_at:  # a crash cut compacting in two
        source = PartsSource.of(source)
    for number in range(min(lattice_at, source_at) + 1, version + 1):
        if not (growth_folder(project, number) / "growth.json").exists():
            raise _BehindError(f"{growth_folder(project, number)} is missing")
        growth = load_growth(project, number)
        if number > source_at:
            source = _grown_source(source, len(lattice), growth)
        if number > lattice_at:
            lattice = _grown_lattice(lattice, growth)
    return lattice.with_source(source)


def pending(project: Path | str) -> int:
    """How many growths there are that ``lattice/`` and ``source/`` may not have yet."""
    folder = growth_folder(project)
    if not folder.exists():
        return 0
    return sum(1 for path in folder.iterdir() if path.name.isdigit())
