"""Errors of latticework, each also the builtin that a caller would expect.

::

    LatticeworkError                      everything that latticework raises on purpose
    ├── LatticeError (ValueError)         a lattice, or a selection of it, that makes no sense
    │   └── TileNotFoundError (LookupError)   no tile at that label, position or name
    ├── SourceError (OSError)             a file of an acquisition that cannot be used
    ├── StoreError (OSError)              a store of a project that cannot be used
    ├── StageError (ValueError)           a stage, its parameters or what it returned
    └── ProjectError (RuntimeError)       a project in a state that forbids what was asked
        ├── ProjectExistsError (FileExistsError)
        ├── ProjectNotFoundError (FileNotFoundError)
        └── ProjectLockedError            another coordinator runs this project
"""

from pathlib import Path


class LatticeworkError(Exception):
    """Base of every error that latticework raises on purpose."""


class LatticeError(LatticeworkError, ValueError):
    """A lattice, or a selection of it, that makes no sense."""


class TileNotFoundError(LatticeError, LookupError):
    """No tile at the label, position or name that was asked for."""


class SourceError(LatticeworkError, OSError):
    """A file of an acquisition that cannot be used.

    Parameters
    ----------
    message
        What was expected, what was found and what to do; names the file.
    path
        The file or folder, for programs.
    """

    def __init__(self, message: str, path: Path | str | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else Path(path)

    def __reduce__(self) -> tuple[type, tuple[str, Path | None]]:
        return type(self), (str(self), self.path)


class StoreError(LatticeworkError, OSError):
    """A store of a project (array, table, record, journal) that cannot be used."""


class StageError(LatticeworkError, ValueError):
    """A stage, its parameters, or what it returned, that cannot be used."""


class ProjectError(LatticeworkError, RuntimeError):
    """A project in a state that forbids what was asked."""


class ProjectExistsError(ProjectError, FileExistsError):
    """There is a project in that folder already."""


class ProjectNotFoundError(ProjectError, FileNotFoundError):
    """There is no project in that folder."""


class ProjectLockedError(ProjectError):
    """Another coordinator runs this project."""
