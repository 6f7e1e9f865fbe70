"""Secrets of hooks: read when they are used, from the environment or a private file, never kept."""

import os
import stat
from ipaddress import ip_address
from pathlib import Path

from latticework.errors import ProjectError


def read_secret(*, env: str | None, file: Path | str | None, what: str) -> str | None:
    """A secret from an environment variable or a file; None if neither is named.

    Parameters
    ----------
    env
        Name of the variable.
    file
        Path of the file: its first line counts, and nobody but its owner may read it.
    what
        What it is for, for messages.

    Raises
    ------
    ProjectError
        If it is not there, or others could read it.
    """
    if env is not None:
        found = os.environ.get(env)
        if not found:
            raise ProjectError(
                f"the environment variable {env} is to hold {what}, and is not set: set it in the "
                "process that runs the project"
            )
        return found
    if file is None:
        return None
    path = Path(file).expanduser()
    try:
        with path.open(encoding="utf-8") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077:
                raise ProjectError(
                    f"{path} holds {what} and has mode {mode:04o}, so that others may read it: "
                    f"chmod 600 {path}"
                )
            found = opened.readline().strip()
    except OSError as error:
        raise ProjectError(f"{path} is to hold {what}: {error.strerror or error}") from error
    if not found:
        raise ProjectError(f"{path} is to hold {what}, and its first line is empty")
    return found


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine by its very address: no other one can listen there.

    Examples
    --------
    >>> [is_this_machine(host) for host in ("localhost", "127.0.0.1", "::1", "example.org")]
    [True, True, True, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
