"""What a process knows of projects: their lattices and sources, each loaded once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latticework.io.growth_store import growth_folder, load_grown
from latticework.io.lattice_store import load_lattice
from latticework.io.sources import importing_sources, load_source
from latticework.lattice.lattice import Lattice
from latticework.stages.paths import lattice_folder, own_lattice_folder, source_folder

MOST_VERSIONS = 3
"""Versions that are kept of a project: work orders of several may be at hand."""

Project = tuple[str, str]
"""Its folder and its key: another project may have been in that folder before."""

_lock = threading.RLock()
_loaded: dict[tuple[str, Project], OrderedDict[int, Any]] = {}
"""(what, project) -> version -> what was loaded, last used last."""
_own: dict[tuple[Project, str], Lattice] = {}
"""Lattices of stages' own by project and key; these never change."""


def project_lattice(project: Path, version: int, key: str) -> Lattice:
    """The lattice of a project's tiles, loaded once per process, project and version.

    Of one that grows, only what came since the last version is read.
    """
    if growth_folder(project).is_dir():
        return _grown(project, version, key)
    return _once("lattice", project, key, version, lambda: load_lattice(lattice_folder(project)))  # type: ignore[no-any-return]


def project_source(project: Path, version: int, key: str) -> Any:
    """The project's source, loaded once per process, project and version."""
    if growth_folder(project).is_dir():
        return _grown(project, version, key).source
    return _once(
        "source", project, key, version, lambda: load_source(source_folder(project), base=project)
    )


def own_lattice(project: Path, key: str, lattice: str) -> Lattice:
    """A lattice of a stage's own, by its key (`latticework.stages.lattices`)."""
    which = ((str(project), key), lattice)
    with _lock:
        if which not in _own:
            _own[which] = load_lattice(own_lattice_folder(project, lattice))
        return _own[which]


def _grown(project: Path, version: int, key: str) -> Lattice:
    def load() -> Lattice:
        versions: Mapping[int, Any] = _loaded.get(("grown", (str(project), key)), {})
        known = max((v for v in versions if v <= version), default=None)
        return load_grown(
            project, version, known=None if known is None else (known, versions[known])
        )

    return _once("grown", project, key, version, load)  # type: ignore[no-any-return]


def _once(what: str, project: Path, key: str, version: int, load: Callable[[], Any]) -> Any:
    with _lock:
        versions = _loaded.setdefault((what, (str(project), key)), OrderedDict())
        if version not in versions:
            with importing_sources():  # whoever sent the work order has opened the project
                versions[version] = load()
        versions.move_to_end(version)
        while len(versions) > (MOST_VERSIONS if what == "grown" else 1):
            versions.popitem(last=False)
        return versions[version]
