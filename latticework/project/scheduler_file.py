"""How a coordinator finds the scheduler that an earlier one has left: a file in the project folder.

Only its owner may read or write it. What it says is believed only after the scheduler at its
address has told the same id (`latticework.project.lasting`).
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from latticework.errors import ProjectError

FORMAT = 1
"""Of the file."""


@dataclass(frozen=True, slots=True)
class SchedulerFile:
    """What is known of a scheduler that outlives its coordinator."""

    address: str
    """Where it listens."""
    id: str
    """What it calls itself."""
    pid: int
    """Its process."""
    host: str
    """The machine that it runs on."""
    folder: str
    """The project's."""
    pool: str
    """Name of the pool."""
    tag: str
    """What names of its jobs have in them."""
    outlive_s: float
    """Seconds that it waits for a coordinator."""
    shape: Mapping[str, str]
    """Digests of what its workers have to be like, by what it is; see `shape_of`."""
    generation: int = 0
    """Coordinators that it has had."""

    def write(self, path: Path) -> None:
        """Put it in the place of an older one, at once."""
        new = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            new.unlink()
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            json.dump({"format": FORMAT, **asdict(self)}, opened, indent=1)
        os.replace(new, path)  # noqa: PTH105


def read_scheduler_file(path: Path) -> SchedulerFile | None:
    """What the file says; None if there is none, or it is not to be trusted or understood."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may be a pipe
        with os.fdopen(file, encoding="utf-8") as opened:
            about = os.fstat(opened.fileno())
            if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
                return None
            values = json.load(opened)
        if values.pop("format") != FORMAT:
            return None
        kinds = {field.name: field.type for field in fields(SchedulerFile)}
        texts = [name for name, kind in kinds.items() if kind in (str, "str")]
        if not all(isinstance(values[name], str) for name in texts):
            return None
        values["pid"], values["generation"] = int(values["pid"]), int(values["generation"])
        values["outlive_s"], values["shape"] = float(values["outlive_s"]), dict(values["shape"])
        if values["pid"] <= 0 or not 0 <= values["outlive_s"] < float("inf"):
            return None
        return SchedulerFile(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    except (OverflowError, RecursionError):
        return None


def shape_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Digests of values, by name: what two pools have to have in common to share jobs.

    Raises
    ------
    ProjectError
        If one cannot be written as text.

    Examples
    --------
    >>> old, new = shape_of({"cores": 2, "gpus": 0}), shape_of({"cores": 4, "gpus": 0})
    >>> differing(old, new)
    ['cores']
    """
    return {name: _digest(name, value) for name, value in values.items()}


def _digest(name: str, value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ProjectError(
            f"{name}={value!r} cannot be handed to a scheduler in a process of its own: give plain "
            "values, or outlive=None for a scheduler that ends with this process"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Names of what differs between two shapes."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


__all__ = ["SchedulerFile", "differing", "read_scheduler_file", "shape_of"]
