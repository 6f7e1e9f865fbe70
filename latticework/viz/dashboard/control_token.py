"""The secret that control of a project asks for: whoever can read it may steer."""

import contextlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from latticework.errors import ProjectError

FILE = "control-token"
"""Its file in the project's folder; only its owner may read that."""
_FORM = re.compile(r"[A-Za-z0-9_-]{22,200}")


def control_token(project: Path) -> str:
    """The token of a project, made at its first use.

    Parameters
    ----------
    project
        Folder of the project.

    Raises
    ------
    ProjectError
        If it cannot be kept or read, or others than the owner may read it.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> token = control_token(folder)
    >>> token == control_token(folder), oct((folder / FILE).stat().st_mode & 0o777)
    (True, '0o600')
    """
    file = project / FILE
    with contextlib.suppress(FileExistsError):
        _make(file)
    try:  # nor does it wait for somebody to write into a pipe of this name
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ProjectError(
            f"{file} cannot be read ({error.strerror}): only its owner can steer the project from "
            "a dashboard; remove it to have a new one"
        ) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ProjectError(f"{file} is no file: remove it to have a new one")
        text = os.read(descriptor, 400).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if mode & 0o077:
        raise ProjectError(
            f"{file} can be read by others (mode {mode & 0o777:o}), so it is no secret: remove it "
            "to have a new one"
        )
    if not _FORM.fullmatch(text):
        raise ProjectError(f"{file} holds no token: remove it to have a new one")
    return text


def _make(file: Path) -> None:
    """A new token, complete when it gets its name."""
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        if file.exists() or file.is_symlink():
            return
        descriptor = os.open(partial, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secrets.token_urlsafe(24) + "\n")
        os.link(partial, file)  # unlike a rename, it replaces nothing
    except FileExistsError:
        raise
    except OSError as error:
        raise ProjectError(
            f"{file} cannot be made ({error.strerror}): without it nobody can steer the project "
            "from a dashboard; make the folder writable"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # of a read-only folder it was told already
            partial.unlink(missing_ok=True)


def is_token(project: Path, given: str) -> bool:
    """Whether `given` is the token of a project; takes as long for a wrong one as for the right."""
    asked = given.strip().encode("utf-8", "replace")
    return hmac.compare_digest(control_token(project).encode(), asked)
