"""Why a unit failed, in words that can be sent and kept whatever the stage raised."""

import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from latticework.io.trouble import Trouble, free_bytes, trouble_within
from latticework.stages.inputs import UnreadableInputError

COMPLETE, EXCEPTION, MEMORY, INPUT = 1, 2, 3, 4
CANCELLED, TIMEOUT, EXIT_CODE, OUTPUT_CHECK = 5, 6, 7, 8
UNWRITABLE = 9
"""Outcomes of a unit on a worker; journal.py adds those of units that no worker reported."""

NO_CODE = -(2**31)
"""The exit code of a unit that ran no program."""


LITTLE_BYTES = 2**20
"""Free bytes below which a program that failed is taken to have failed for want of room."""


class UnitEnd(BaseException):
    """Ends a unit's code wherever it is; not an `Exception`, so that few handlers catch it."""

    outcome = CANCELLED


class Cancelled(UnitEnd):
    """The unit was cancelled."""


class TimedOut(UnitEnd):
    """The unit ran longer than its stage allows."""

    outcome = TIMEOUT


class OutOfMemory(UnitEnd):
    """The unit took more memory than its worker has."""

    outcome = MEMORY


class CommandError(Exception):
    """A command did not do what it should."""

    outcome = EXIT_CODE

    def __init__(self, message: str, exit_code: int = NO_CODE) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.free_bytes: int | None = None
        """Bytes that were free when it had ended, before its files were removed."""


class OutputCheckError(CommandError):
    """A command ended well, but a file that it was to make is not there or not as declared."""

    outcome = OUTPUT_CHECK


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a unit failed."""

    row: int
    """Row in the report."""
    error: str
    """Type of the exception."""
    message: str
    """Its message."""
    text: str
    """The traceback, from the stage's own code on."""
    trouble: Trouble | None = None
    """What is wrong with the disk, where that is why."""


def printable(text: str) -> str:
    r"""Text that any file, terminal and database takes: lone surrogates are written out.

    Examples
    --------
    >>> printable("image-\udcff.tif")
    'image-\\udcff.tif'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def message_of(error: BaseException | None) -> str:
    """The message of an exception, even of one that cannot say it.

    Examples
    --------
    >>> message_of(ValueError("no cells"))
    'no cells'
    """
    try:
        return printable(str(error))
    except BaseException as broken:  # it is the stage's code that runs here
        return f"(its message cannot be had: str() raised {type(broken).__name__})"


def outcome_of(error: BaseException) -> int:
    """Outcome of a unit that raised this."""
    if isinstance(error, UnitEnd | CommandError):
        return error.outcome
    if isinstance(error, MemoryError):
        return MEMORY
    return INPUT if isinstance(error, UnreadableInputError) else EXCEPTION


def disk_trouble(error: BaseException, own: tuple[Path, ...]) -> Trouble | None:
    """What is wrong with the disk, where a unit failed because of that; None else.

    Parameters
    ----------
    error
        What the unit raised.
    own
        Folders of the project that workers write to.
    """
    if isinstance(error, UnitEnd | MemoryError | UnreadableInputError):
        return None
    free = getattr(error, "free_bytes", None)
    if free is not None and free < LITTLE_BYTES:  # nor could it say why
        return Trouble(True, "its program failed where no room was left", str(own[0]), free)
    found = trouble_within(error, own)
    if found is None:
        return None
    return replace(found, free_bytes=free_bytes(found.path or own[0]))


def failure_of(row: int, error: BaseException) -> Failure:
    """What is kept of an exception that a unit raised."""
    unreadable = isinstance(error, UnreadableInputError)
    shown = error.__cause__ if unreadable and error.__cause__ else error
    kind, message = printable(type(shown).__name__), message_of(error)
    if isinstance(error, UnitEnd | CommandError):  # no code of the stage's own was at fault
        return Failure(row, kind, message[:2000], f"{kind}: {message}"[-20000:])
    try:
        lines = traceback.TracebackException.from_exception(shown, max_group_depth=3)
        frames = lines.stack
        own = Path(__file__).parent
        while len(frames) > 1 and Path(frames[0].filename).parent == own:
            frames.pop(0)
        text = printable("".join(lines.format()))
    except BaseException:  # an exception that cannot be formatted
        text = f"{kind}: {message}"
    return Failure(row, kind, message[:2000], text[-20000:])
