"""Whether a folder still holds the project that was opened in it."""

from pathlib import Path
from typing import NamedTuple

from latticework.project.facts import read_project_file
from latticework.stages import paths


class Which(NamedTuple):
    """What tells one project, and one journal of it, from another at the same path."""

    key: str
    """The project's own key, made up when it was made."""
    device: int
    """Number of the file system that its journal is on."""
    file: int
    """Number of the journal's file there; a recovered journal is another file."""


def which_project(path: Path) -> Which:
    """Which project lies at a path now; costs a small file's read and a `stat`.

    Parameters
    ----------
    path
        Folder of a project. Somebody may have removed or renamed it, and made another one there;
        a connection to the journal that was there before would go on telling of that.

    Raises
    ------
    ProjectError
        If no project is there.

    Examples
    --------
    >>> import shutil, tempfile, numpy as np
    >>> from latticework import Lattice, create
    >>> tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    >>> path = create(tempfile.mkdtemp() + "/tiny.lw", tiles).path
    >>> before = which_project(path)
    >>> which_project(path) == before
    True
    >>> shutil.rmtree(path)
    >>> which_project(create(path, tiles).path) == before
    False
    """
    key = str(read_project_file(path).get("key", ""))
    try:
        about = paths.journal_file(path).stat()
    except OSError:  # whoever opens it says what is wrong
        return Which(key, 0, 0)
    return Which(key, about.st_dev, about.st_ino)
