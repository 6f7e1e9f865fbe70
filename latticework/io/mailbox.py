"""A mailbox in a folder: what other processes ask of the one that runs a project.

A request is a small JSON file that appears by rename; so does its answer. No lock is needed, and
it works on network file systems, between hosts::

    commands/
        1763778000123456789-8a1f.json      a request: {"command": "pause", "arguments": {...}}
        1763778000123456789-8a1f.answer    {"answer": ...} or {"error": "...", "type": "..."}
"""

import contextlib
import json
import os
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latticework.errors import StoreError

LARGEST = 16 * 2**20
"""Bytes of a request, at most."""
OLD_S = 3600.0
"""Seconds after which an answer that nobody fetched is removed."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A request that was found in the mailbox."""

    path: Path
    """Its file, already out of the way of others."""
    command: str
    """What is asked."""
    arguments: Mapping[str, Any]
    """With what."""
    at: float
    """When it was asked, seconds since 1970."""


class Mailbox:
    """Requests and answers in a folder.

    Parameters
    ----------
    folder
        Made when the first request is left.

    Examples
    --------
    >>> import tempfile
    >>> box = Mailbox(Path(tempfile.mkdtemp()) / "commands")
    >>> ticket = box.ask("pause", {"stages": ["spots"]})
    >>> [letter] = box.collect()
    >>> letter.command, dict(letter.arguments)
    ('pause', {'stages': ['spots']})
    >>> box.answer(letter, {"answer": "paused"})
    >>> box.fetch(ticket)
    {'answer': 'paused'}
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask(self, command: str, arguments: Mapping[str, Any]) -> str:
        """Leave a request; its ticket."""
        try:
            text = json.dumps({"command": command, "arguments": dict(arguments)})
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"the request to {command} cannot be sent to the process that runs the project: "
                f"{error}; give plain numbers, texts and lists"
            ) from error
        try:
            self.folder.mkdir(exist_ok=True)
            ticket = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
            _appear(self.folder / f"{ticket}.json", text)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be written to ({error.strerror}): whoever runs the project "
                "cannot be reached from here"
            ) from error
        return ticket

    def collect(self) -> Iterator[Letter]:
        """Requests that nobody has taken yet, the oldest first; they are taken now."""
        try:
            names = sorted(path.name for path in self.folder.glob("*.json"))
        except OSError:
            return
        for name in names:
            taken = (self.folder / name).with_suffix(".taken")
            try:
                (self.folder / name).rename(taken)
            except OSError:
                continue  # taken back by who had left it
            try:
                about = taken.lstat()
                if not stat.S_ISREG(about.st_mode):
                    raise ValueError("it is no plain file")
                if about.st_size > LARGEST:
                    raise ValueError(f"it is larger than {LARGEST} bytes")
                asked = json.loads(taken.read_text(encoding="utf-8"))
                letter = Letter(
                    taken, str(asked["command"]), dict(asked["arguments"]), int(name[:19]) / 1e9
                )
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                self._reply(taken, {"error": f"the request cannot be read: {error}"})
                continue
            yield letter

    def answer(self, letter: Letter, reply: Mapping[str, Any]) -> None:
        """Answer a request."""
        self._reply(letter.path, reply)

    def _reply(self, taken: Path, reply: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            _appear(taken.with_suffix(".answer"), json.dumps(reply, default=str))
            taken.unlink()

    def fetch(self, ticket: str) -> dict[str, Any] | None:
        """The answer to a request, once; None while there is none."""
        path = self.folder / f"{ticket}.answer"
        try:
            reply = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        path.unlink(missing_ok=True)
        return dict(reply)

    def take_back(self, ticket: str) -> bool:
        """Take a request back that nobody has taken; False if somebody has."""
        try:
            (self.folder / f"{ticket}.json").unlink()
        except FileNotFoundError:
            return False
        return True

    def clear(self) -> None:
        """Remove what an earlier coordinator took and never answered, and forgotten answers."""
        try:
            entries = list(os.scandir(self.folder))
        except OSError:
            return
        for entry in entries:
            with contextlib.suppress(OSError):
                old = time.time() - entry.stat().st_mtime > OLD_S
                if entry.name.endswith(".taken") or (old and not entry.name.endswith(".json")):
                    Path(entry.path).unlink()


def _appear(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
