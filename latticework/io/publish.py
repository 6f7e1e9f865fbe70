"""Publishing: what an attempt wrote in its staging area appears, whole, where everyone reads.

Examples
--------
>>> import tempfile
>>> project = Path(tempfile.mkdtemp())
>>> (project / "staging/7/clean").mkdir(parents=True)
>>> (project / "staging/7/clean/c.0.1").write_bytes(b"pixels")
6
>>> publish(project / "staging/7", project / "data.zarr", ["clean/c.0.1"])
>>> (project / "data.zarr/clean/c.0.1").read_bytes()
b'pixels'
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from latticework.errors import StoreError

AT_CWD, RENAME_EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of renameat2(2)."""
P = TypeVar("P", str, Path)
"""A path, as text where many are moved."""


def never(_error: OSError) -> bool:
    """Try nothing a second time."""
    return False


def publish(
    staging: Path,
    target: Path,
    keys: Iterable[str],
    *,
    inside: Path | None = None,
    again: Callable[[OSError], bool] = never,
) -> None:
    """Move files from a staging area into place by rename, replacing what was there.

    Each file appears whole or not at all. All are known to exist before the first one moves.

    Parameters
    ----------
    staging, target
        Folders on one file system; missing parents below `target` are made.
    keys
        Files, relative to both folders.
    inside
        A folder (the project's) that both must lie in.
    again
        Asked where a file cannot be moved: whether that is to be tried once more. It may wait.

    Raises
    ------
    StoreError
        Where a file is missing from the staging area, a path leads outside, or the two folders
        are on different file systems.
    """
    keys = list(keys)
    for key in keys:
        _check_key(key)
    if inside is not None:
        _check_inside(inside, staging, target)
    for key in keys:
        if not os.path.isfile(os.path.join(staging, key)):  # noqa: PTH113, PTH118 - 5 times faster
            raise StoreError(
                f"cannot publish {key}: the attempt left no such file in {staging}; "
                f"nothing was published, run the tile again"
            )
    for key in keys:
        put_in_place(
            _move,
            os.path.join(staging, key),  # noqa: PTH118
            os.path.join(target, key),  # noqa: PTH118
            again,
        )


def _move(source: str, target: str) -> None:
    try:
        os.replace(source, target)  # noqa: PTH105
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        os.replace(source, target)  # noqa: PTH105


def put_in_place(
    move: Callable[[P, P], None], source: P, target: P, again: Callable[[OSError], bool]
) -> None:
    """Move what was staged to where it belongs, as often as it takes.

    Parameters
    ----------
    move
        Called with `source` and `target`.
    source, target
        File or folder in the staging area, and its place.
    again
        Asked where it cannot be moved: whether that is to be tried once more. It may wait.

    Raises
    ------
    StoreError
        If it cannot be moved, and is not to be tried again.
    """
    while True:
        try:
            move(source, target)
        except OSError as error:
            if again(error):
                continue
            remedy = "free space or fix the permissions, then run again"
            if error.errno == errno.EXDEV:
                remedy = "staging and store must be on one file system"
            raise StoreError(
                f"cannot publish {source} as {target}: {error.strerror or error}; {remedy}"
            ) from error
        return


def exchange(one: Path, other: Path) -> bool:
    """Exchange two files or folders at once: at every moment both are there, and whole.

    Returns
    -------
    bool
        False where the system cannot: it can on Linux, on local file systems.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    paths = AT_CWD, os.fsencode(one), AT_CWD, os.fsencode(other)
    return bool(renameat2(*paths, RENAME_EXCHANGE) == 0)


def put_instead(new: Path, path: Path, aside: Path | None) -> None:
    """Give a folder its name; what has that name moves aside, and back if something goes wrong.

    Where the system can exchange folders, there is a whole one of that name at every moment.

    Parameters
    ----------
    new
        What is moved.
    path
        Its name from now on.
    aside
        Where a folder of that name goes; None if there is to be none.

    Raises
    ------
    OSError
        If there is one all the same, or it cannot be moved.
    """
    if aside is None or not path.exists():
        new.rename(path)
    elif exchange(new, path):
        new.rename(aside)
    else:
        path.rename(aside)
        try:
            new.rename(path)
        except BaseException:
            aside.rename(path)
            raise


def _check_key(key: str) -> None:
    if not key or key.startswith("/") or ".." in PurePosixPath(key).parts or "\\" in key:
        raise StoreError(f"cannot publish {key!r}: it leads outside of the store")


def _check_inside(project: Path, *folders: Path) -> None:
    root = project.resolve()
    for folder in folders:
        if not folder.resolve().is_relative_to(root):
            raise StoreError(f"cannot publish: {folder} is not inside the project {project}")
