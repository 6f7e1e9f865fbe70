"""Callables as stages: what they are called, what they take, what code they are."""

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from latticework.errors import StageError
from latticework.stages.files import is_file_module, load_file
from latticework.stages.reached import reached

ARRAY_LIBRARIES = ("numpy", "scipy", "skimage", "cupy", "cucim", "cv2", "numba", "SimpleITK")
"""Libraries whose functions take and return NumPy arrays."""


DEEPEST = 12
"""Containers inside containers whose content counts."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a callable comes from and which code it is."""

    module: str
    """Module, such as ``scipy.ndimage``."""
    qualname: str
    """Name in the module, dotted."""
    code: str
    """Hash of its source; for installed libraries, their version."""
    importable: bool
    """Whether another process can import it; if not, it travels by value and is not kept."""
    file: str | None = None
    """For code outside installed packages, the file it stands in."""
    command: Mapping[str, Any] | None = None
    """A command (`latticework.stages.command.Command`) as plain values, which is all of it."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        values = asdict(self)
        if self.command is None:
            del values["command"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From `to_json`."""
        return cls(**values)

    def load(self) -> Callable[..., Any]:
        """Import the callable.

        Raises
        ------
        StageError
            If it cannot be imported, with what to do.
        """
        self.check()
        if self.command is not None:
            from latticework.stages.command import Command

            return Command.from_json(self.command)
        try:
            found: Any = self._module()
            for part in self.qualname.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise StageError(
                f"cannot import {self.qualname} from {self.module}: {error}; "
                "install it, or add the stage again from where it is defined"
            ) from error
        callable_: Callable[..., Any] = getattr(found, "function", found)
        return callable_

    def check(self) -> None:
        """Refuse what cannot be loaded, as far as one sees without running any code.

        Raises
        ------
        StageError
            With what to do.
        """
        if not self.importable:
            raise StageError(
                f"{self.qualname} was defined in a notebook or script and is not kept in the "
                "project: run that again (project.add with the same name picks up where it was)"
            )
        if is_file_module(self.module) and self.file is not None and not Path(self.file).exists():
            raise StageError(f"{self.file} is not there any more: say where it is now")

    def _module(self) -> Any:
        if is_file_module(self.module) and self.file is not None:
            return load_file(self.file)
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            root = self._root()
            mine = f"{self.module}.".startswith(f"{error.name}.")  # not what it imports
            if root is None or str(root) in sys.path or not mine:
                raise
            sys.path.append(str(root))  # it was imported from a folder that is not known here
            importlib.invalidate_caches()
            return importlib.import_module(self.module)

    def _root(self) -> Path | None:
        """The folder from which its module is imported; None where there is none now."""
        path, parts = Path(self.file or ""), tuple(self.module.split("."))
        path = path.parent if path.stem == "__init__" else path.with_suffix("")
        found = self.file is not None and path.parts[-len(parts) :] == parts
        return path.parents[len(parts) - 1] if found and Path(self.file or "").exists() else None


def name_of(function: Callable[..., Any]) -> str:
    """Name of a callable, as a stage is called by default."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    return "stage" if name == "<lambda>" else str(name)


def reference_to(function: Callable[..., Any]) -> Reference:
    """Where a callable comes from; see `Reference`."""
    own = getattr(function, "reference", None)
    if isinstance(own, Reference):
        return own
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    module = getattr(inner, "__module__", None) or type(inner).__module__
    qualname = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    if isinstance(inner, np.ufunc):
        module, qualname = "numpy", inner.__name__
    importable = inner is function and _imports_back(module, qualname, function)
    return Reference(
        module, qualname, _code(function, inner, module), importable, _file(inner, module)
    )


def _imports_back(module: str, qualname: str, function: Callable[..., Any]) -> bool:
    if module == "__main__" or "<" in qualname:
        return False
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is function or getattr(found, "function", None) is function


def _code(function: Callable[..., Any], inner: Any, module: str) -> str:
    digest = hashlib.blake2b(digest_size=8)
    partial = function
    while isinstance(partial, functools.partial):
        digest.update(content((partial.args, partial.keywords)).encode())
        partial = partial.func
    version = _version(module)
    if version is not None:
        owner = getattr(inner, "__self__", None)
        if owner is not None and not inspect.ismodule(owner):
            digest.update(content(owner).encode())  # a method: the object that it belongs to
            return f"{version} {digest.hexdigest()}"
        return f"{version} {digest.hexdigest()}" if inner is not function else version
    digest.update(_source(inner).encode())
    digest.update(content(_held_by(inner)).encode())
    for name, value in reached(inner).items():
        text = _source(value) if inspect.isclass(value) else content(value)
        digest.update(f"{name} {text}".encode())
    return digest.hexdigest()


def _version(module: str) -> str | None:
    """Library and version of a callable that is installed for good; None for code one edits."""
    package = module.partition(".")[0]
    if package == "latticework" or not (module == "numpy" or _is_installed(module)):
        return None
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        version = getattr(sys.modules.get(package), "__version__", None)
        return None if version is None else f"{package} {version}"


def _is_installed(module: str) -> bool:
    """Whether a module lies among installed packages (not an editable install of one's own)."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _source(inner: Any) -> str:
    """Source of a callable without comments and layout; of a lambda its code."""
    target = inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner)
    code = getattr(inner, "__code__", None)
    if code is not None and code.co_name == "<lambda>":
        return _bytecode(code)  # its source is that of the whole line
    try:
        text = textwrap.dedent(inspect.getsource(target))
    except (OSError, TypeError):
        return repr(type(inner)) if code is None else _bytecode(code)
    try:
        return ast.unparse(ast.parse(text))
    except SyntaxError:
        return text


def _bytecode(code: Any) -> str:
    consts = [_bytecode(c) if hasattr(c, "co_code") else content(c) for c in code.co_consts]
    return repr((code.co_code, consts, code.co_names))


def _held_by(inner: Any) -> list[Any]:
    """Values that a callable carries: its defaults, what it closes over, its object's state."""
    held = [getattr(inner, "__defaults__", None), getattr(inner, "__kwdefaults__", None)]
    for cell in getattr(inner, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            held.append("empty")
    owner = getattr(inner, "__self__", None)
    if owner is not None and not inspect.ismodule(owner):
        held.append(owner)  # a method: the object that it belongs to
    elif not inspect.isroutine(inner) and not inspect.isclass(inner):
        held.append(vars(inner) if hasattr(inner, "__dict__") else repr(type(inner)))
    return held


def content(value: Any, depth: int = 0) -> str:
    """A text that is the same for equal values, in every process."""
    if value is None or isinstance(value, str | bytes | bool | int | float | complex):
        return repr(value)
    if depth > (DEEPEST if isinstance(value, list | tuple | set | frozenset | Mapping) else 6):
        return type(value).__qualname__
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        data = content(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
        digest = hashlib.blake2b(data, digest_size=8).hexdigest()
        return f"array {array.dtype} {np.shape(value)} {digest}"
    if isinstance(value, list | tuple):
        inside = ", ".join(content(item, depth + 1) for item in value)
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(content(item, depth + 1) for item in value))}}}"
    if isinstance(value, Mapping):
        items = (f"{content(k, depth + 1)}: {content(v, depth + 1)}" for k, v in value.items())
        return f"{{{', '.join(sorted(items))}}}"
    kind = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    name = f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', kind)}"
    if hasattr(value, "__code__"):
        return f"{name} {_source(value)} {content(_held_by(value), depth + 1)}"
    if kind is not value:
        with contextlib.suppress(Exception):  # what cannot be copied is known by its type alone
            return f"{name} {content(value.__reduce_ex__(2)[1:3], depth + 1)}"
    return name


def _file(inner: Any, module: str) -> str | None:
    try:
        path = inspect.getsourcefile(inner)
    except TypeError:
        return None
    if path is None or "site-packages" in path or module.startswith("latticework"):
        return None
    return str(Path(path).resolve())


def takes_numpy(function: Callable[..., Any]) -> bool:
    """Whether a callable wants NumPy arrays: by its annotation, else by its library."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    annotation = _first_annotation(inner)
    if annotation is not None and "DataArray" in annotation:
        return False  # also where it takes NumPy arrays as well: the labels say more
    if annotation is not None:
        return "ndarray" in annotation or "ArrayLike" in annotation or "NDArray" in annotation
    if isinstance(inner, np.ufunc):
        return True
    module = getattr(inner, "__module__", None) or type(inner).__module__ or ""
    return module.partition(".")[0].lstrip("_") in ARRAY_LIBRARIES


def _first_annotation(inner: Any) -> str | None:
    hints = getattr(inner, "__annotations__", None) or {}
    try:
        first = next(iter(inspect.signature(inner).parameters), None)
    except (TypeError, ValueError):
        return None
    hint = hints.get(first)
    if hint is None:
        return None
    return hint if isinstance(hint, str) else getattr(hint, "__name__", "") + repr(hint)


def check_call(
    function: Callable[..., Any], n_inputs: int, params: Mapping[str, Any], name: str
) -> None:
    """Refuse parameters that a callable does not take, before anything runs.

    Raises
    ------
    StageError
        Listing what it takes.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some functions written in C cannot be asked
    try:
        signature.bind(*([None] * n_inputs), **params)
    except TypeError as error:
        takes = ", ".join(str(p) for p in signature.parameters.values())
        raise StageError(
            f"stage {name!r} cannot be called with {n_inputs} input(s) and the parameters "
            f"{sorted(params)}: {error}; {name_of(function)} takes ({takes})"
        ) from error
