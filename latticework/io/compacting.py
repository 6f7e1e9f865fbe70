"""Growth put into the lattice and the source that a project keeps."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

from latticework.errors import StoreError
from latticework.io.growth_store import growth_folder, load_grown, settle_source
from latticework.io.lattice_store import save_lattice
from latticework.io.parts_source import PartsSource
from latticework.io.plain_zarr import swap_folder, write_json
from latticework.io.sources import save_source
from latticework.io.tile_blocks import TileBlockSource
from latticework.io.zarr_source import ZarrBlockSource
from latticework.lattice.lattice import Lattice
from latticework.lattice.source import TileSource


def compact(project: Path | str, lattice: Lattice, version: int) -> Lattice:
    """Rewrite ``lattice/`` and ``source/`` as they are at `version`, and drop the growth.

    Whenever it is cut off, `latticework.io.growth_store.load_grown` gives the same as before:
    source and lattice are replaced one after the other, each at once, and say which version they
    have; growth is dropped when both have it. Pixels that the project itself holds (of arrays
    in memory) move along by hard links.

    Parameters
    ----------
    project
        The project's folder. Nobody else may write to it.
    lattice
        The lattice at `version`.
    version
        ``lattice_version`` of ``project.json``.

    Returns
    -------
    Lattice
        The same lattice, which reads from where things are now.
    """
    project = Path(project)
    settle_source(project)
    stored = load_grown(project, version)
    if len(stored) != len(lattice):
        raise StoreError(
            f"{project} has {len(stored)} tiles at version {version}, but the lattice to compact "
            f"has {len(lattice)}: expected the lattice of this version"
        )
    assert stored.source is not None
    source = stored.source
    if isinstance(source, PartsSource):
        source = source.compacted()
    new = project / "source.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    source = _moved(source, project, new, "pixels")
    write_json(new / "version.json", {"version": version})
    save_source(source, new, base=project)
    swap_folder(new, project / "source")
    save_lattice(stored, project / "lattice", version=version)
    shutil.rmtree(growth_folder(project), ignore_errors=True)
    return load_grown(project, version)


def _moved(source: TileSource, project: Path, new: Path, name: str) -> TileSource:
    """The source, with pixels that lie in its own folders linked into the new one."""
    if isinstance(source, PartsSource):
        parts = [_moved(part, project, new, f"{name}-{k}") for k, part in enumerate(source.parts)]
        return PartsSource(parts, source.part, source.row, source.presence())
    if isinstance(source, TileBlockSource):
        return dataclasses.replace(source, inner=_moved(source.inner, project, new, name))
    if not isinstance(source, ZarrBlockSource):
        return source
    path = source.path.absolute()
    own = (project / "source", growth_folder(project))
    if not any(path.is_relative_to(folder.absolute()) for folder in own):
        return source
    shutil.copytree(path, new / f"{name}.zarr", copy_function=_link)
    return dataclasses.replace(source, path=project / "source" / f"{name}.zarr")


def _link(old: Any, new: Any) -> Any:
    """A hard link; a copy where the file system has none."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
    return new
