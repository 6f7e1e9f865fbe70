"""Python files as modules: stages that are defined in a file which nobody can import by name.

A pipeline file (``latticework run --pipeline brain.py``) may lie anywhere. Its functions travel to
the workers by value; a process that opens the project later loads the file again.
"""

import re
import sys
import traceback
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import cloudpickle

from latticework.errors import StageError

PREFIX = "pipeline_file_"
"""Begins the names of modules that are files. Not the folder's name: a file may move."""


def load_file(path: Path | str) -> ModuleType:
    r"""Run a Python file as a module, whose functions then travel to workers by value.

    Modules beside the file can be imported by it. A file is run once; it is run again when it has
    changed.

    Parameters
    ----------
    path
        The file, in UTF-8 or as it declares.

    Raises
    ------
    StageError
        If it is not there, or does not run; names the line.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "brain.py")
    >>> _ = file.write_text("def double(tile):\n    return 2 * tile\n")
    >>> load_file(file).double(21)
    42
    """
    path = Path(path).expanduser().resolve()
    name = PREFIX + re.sub(r"\W", "_", path.stem)
    try:
        source = path.read_bytes()
    except FileNotFoundError as error:
        raise StageError(f"{path} is not there any more: say where it is now") from error
    except OSError as error:
        raise StageError(f"{path} cannot be read: {error.strerror}") from error
    known = sys.modules.get(name)
    if known is not None and vars(known).get("__source__") == (str(path), source):
        return known
    module = module_from_spec(ModuleSpec(name, None, origin=str(path)))
    module.__file__ = str(path)
    vars(module)["__source__"] = (str(path), source)
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102  the user's own file
    except (Exception, SystemExit) as error:
        if known is None:
            del sys.modules[name]
        else:
            sys.modules[name] = known
        raise StageError(f"{path} does not run{line_of(error, path)}: {told(error)}") from error
    cloudpickle.register_pickle_by_value(module)
    return module


def is_file_module(name: str) -> bool:
    """Whether a module's name is that of a file."""
    return name.startswith(PREFIX)


def line_of(error: BaseException, path: Path) -> str:
    """`` (line 7)``: the last line of a file that an error went through; empty if none."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f" (line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f" (line {lines[-1]})" if lines else ""


def told(error: BaseException) -> str:
    """Type and message of an error, on one line."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
