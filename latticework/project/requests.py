"""Requests to whoever runs a project: from its own process, or through the mailbox."""

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latticework import errors
from latticework.errors import LatticeworkError, ProjectError
from latticework.io.mailbox import Letter, Mailbox
from latticework.project.steering import carry_out

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator
    from latticework.project.folder import ProjectFolder

PATIENCE_S = 60.0
"""Seconds to wait for an answer from another process."""
LATE_S = 1.0
"""Seconds that an answer may need to be seen, after the process that gave it has ended."""


@dataclass(slots=True)
class Request:
    """Something that another thread of this process asks for."""

    command: str
    """What is asked; see `latticework.project.steering`."""
    arguments: Mapping[str, Any]
    """With what."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set when it has been carried out or refused."""
    answer: Any = None
    """What came of it."""
    error: BaseException | None = None
    """Why it was refused."""


class Requests:
    """What a running coordinator is asked.

    Parameters
    ----------
    coordinator
        The coordinator.
    mailbox
        Where other processes leave their requests.
    """

    def __init__(self, coordinator: "Coordinator", mailbox: Mailbox) -> None:
        self.coordinator, self.mailbox = coordinator, mailbox
        self._queue: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._open = True
        mailbox.clear()

    def ask(self, command: str, arguments: Mapping[str, Any]) -> Any:
        """Have something done by the coordinator's thread; its answer."""
        if threading.get_ident() == self.coordinator.thread:
            return carry_out(self.coordinator, command, arguments)
        request = Request(command, arguments)
        self._queue.put(request)
        self.coordinator.wake()
        project = self.coordinator.project
        while not request.done.wait(0.2):
            over = not self._open or project.coordinator is not self.coordinator
            if over and not request.done.is_set():
                while project.coordinator is self.coordinator:  # it is landing
                    time.sleep(0.02)
                return project.ask(command, arguments)
        if request.error is not None:
            raise request.error
        return request.answer

    def collect(self) -> None:
        """Carry out what is in the mailbox."""
        for letter in self.mailbox.collect():
            self.mailbox.answer(letter, self._reply(letter))

    def _reply(self, letter: Letter) -> dict[str, Any]:
        try:
            return {"answer": carry_out(self.coordinator, letter.command, letter.arguments)}
        except LatticeworkError as error:
            return {"error": str(error), "type": type(error).__name__}
        except Exception as error:  # a request that makes no sense does not end the run
            return {"error": f"{type(error).__name__}: {error}", "type": "ProjectError"}

    def carry_out(self) -> None:
        """Carry out what other threads of this process asked."""
        while True:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return
            try:
                request.answer = carry_out(self.coordinator, request.command, request.arguments)
            except Exception as error:
                request.error = error
            request.done.set()

    def close(self) -> None:
        """The coordinator ends: what was not carried out is left to whoever asked."""
        self._open = False


def ask_elsewhere(project: "ProjectFolder", command: str, arguments: Mapping[str, Any]) -> Any:
    """Have something done by the process that runs the project.

    Raises
    ------
    ProjectError
        If it does not answer, or refuses (then with its message).
    """
    box = project.mailbox
    ticket, patience = box.ask(command, arguments), time.monotonic() + PATIENCE_S
    pause = 0.01
    while time.monotonic() < patience:
        reply = box.fetch(ticket)
        if reply is not None:
            return _open_reply(reply)
        if not project.is_run():
            if box.take_back(ticket):
                return NOBODY
            time.sleep(LATE_S)  # it was taken: the answer may have come meanwhile
            reply = box.fetch(ticket)
            if reply is not None:
                return _open_reply(reply)
            raise ProjectError(
                f"the process that ran {project.path} ended while it was to {command}: look "
                "whether it was done, and ask again if not"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    fate = "was taken back" if box.take_back(ticket) else "may still be carried out"
    raise ProjectError(
        f"the process that runs {project.path} ({project.lock().holder()}) did not answer within "
        f"{PATIENCE_S:.0f} s: it may be stopped; the request {fate}"
    )


NOBODY = object()
"""The answer when the run ended before it took the request."""


def _open_reply(reply: Mapping[str, Any]) -> Any:
    if "error" not in reply:
        return reply.get("answer")
    kind = getattr(errors, str(reply.get("type")), ProjectError)
    if not (isinstance(kind, type) and issubclass(kind, LatticeworkError)):
        kind = ProjectError
    raise kind(str(reply["error"]))
