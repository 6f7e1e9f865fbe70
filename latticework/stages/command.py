"""Commands as stages: any program, shell script or macro, with templates for its arguments."""

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from latticework.errors import StageError
from latticework.stages.callables import Reference
from latticework.stages.outputs import Output, files_output
from latticework.stages.placeholders import (
    PLACEHOLDERS,
    Template,
    check_unquoted,
    parse,
    text_of,
    unknown,
)
from latticework.stages.stage import Stage

FORMATS = ("tiff", "npy", "zarr", "csv", "parquet", "json")
"""Formats in which parents that make no files are written for a command."""
RESULTS = (".tif", ".tiff", ".npy", ".zarr", ".h5", ".hdf5", ".csv", ".parquet", ".json")
"""Endings of files that can become a stage's array, table or record."""
IN_PLACE = ("file", "log", "output", "scratch", "input", "inputs")
"""Placeholders that are full paths, so that none can be part of a declared file's."""
KEEP = ("all", "declared")
CODE_BYTES = 2**20
"""Largest script whose content is looked at without being asked to."""
AXIS = re.compile(r"(index|position_um|pixel_size_um|step_px|step_um|shape)_(\w+)")
NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class File:
    """A file that a command makes; see `file`."""

    path: str
    """Where, in its output folder; a template."""
    min_bytes: int = 0
    """Fewest bytes that it must have."""
    shape: tuple[int | None, ...] | str | None = None
    """Shape of the array in it, None for any size; ``"tile"`` for the shape of the tile."""
    dtype: str | None = None
    """Type of the array in it."""
    dataset: str | None = None
    """Array in an HDF5 file or a Zarr group, where it has several."""

    def __post_init__(self) -> None:
        parts = Path(self.path).parts
        if not parts or Path(self.path).is_absolute() or ".." in parts or "\0" in self.path:
            raise StageError(
                f"file {self.path!r} is no path in the output folder: give one relative to it, "
                "such as 'prob.h5' or '{tile}-prob.h5'"
            )
        if isinstance(self.shape, str) and self.shape != "tile":
            raise StageError(f"file {self.path!r}: shape={self.shape!r}: give sizes, or 'tile'")
        parse(self.path)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From `asdict`, by way of JSON."""
        shape = values["shape"]
        return cls(**{**values, "shape": tuple(shape) if isinstance(shape, list) else shape})


def file(
    path: str,
    *,
    min_bytes: int = 0,
    shape: Sequence[int | None] | str | None = None,
    dtype: Any = None,
    dataset: str | None = None,
) -> File:
    """Declare a file that a command makes: without it, or with other content, the unit failed.

    Parameters
    ----------
    path
        Where, relative to the command's output folder; placeholders are filled in.
    min_bytes
        Fewest bytes that it must have.
    shape, dtype
        Of the array in it (TIFF, .npy, Zarr; HDF5 where h5py is installed). None stands for any
        size, ``shape="tile"`` for the shape of the tile.
    dataset
        Which array, in an HDF5 file or Zarr group that has several.

    Examples
    --------
    >>> file("{tile}-prob.h5", dtype="uint16").dtype
    '<u2'
    """
    sizes = shape if shape is None or isinstance(shape, str) else tuple(shape)
    kind = None if dtype is None else np.dtype(dtype).newbyteorder("<").str
    return File(path, int(min_bytes), sizes, kind, dataset)


@dataclass(frozen=True, slots=True)
class Command:
    """A program with templates for its arguments; what a stage made by `command` calls."""

    argv: tuple[str, ...]
    """The program and its arguments; with a shell, its one text."""
    files: Mapping[str, File] = field(default_factory=dict)
    """Files that it makes, by name."""
    ok: tuple[int, ...] = (0,)
    """Exit codes that mean success."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables on top of the worker's."""
    cwd: str | None = None
    """Working folder; its output folder if None."""
    shell: str | None = None
    """The shell that runs it, if any."""
    result: str | None = None
    """The file that becomes the stage's array, table or record."""
    keep: str = "all"
    """Whether files that were not declared are kept: ``"all"`` or ``"declared"``."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """In which format what it reads is written for it, by parent."""
    absent: str = ""
    """What stands for a neighbour that there is not."""
    code: tuple[str, ...] | None = None
    """Scripts whose content is part of what the stage is; None: those it can tell."""

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Commands run in a project alone: they need files and a folder."""
        del inputs, params
        raise StageError(
            f"the command {self.argv[0]!r} runs in a project, where it has files to read and a "
            "folder to write to: add it with project.add"
        )

    @property
    def templates(self) -> tuple[Template, ...]:
        """All of its templates."""
        given = [*self.argv, *self.env.values(), *(f.path for f in self.files.values())]
        if self.cwd is not None:
            given.append(self.cwd)
        return tuple(parse(text) for text in given)

    @property
    def placeholders(self) -> frozenset[str]:
        """Names of all placeholders in it."""
        return frozenset(name for template in self.templates for name in template.names)

    @property
    def scripts(self) -> tuple[Path, ...]:
        """Files with its code: as declared, or the small files that its arguments name."""
        if self.code is not None:
            return tuple(map(Path, self.code))
        plain = [t for t in map(parse, self.argv) if self.shell is None and not t.names]
        return tuple(path for t in plain if _is_script(path := Path(t.fill({}))))

    @property
    def reference(self) -> Reference:
        """What it is, with the content of its scripts, as a project keeps it."""
        digest = hashlib.blake2b(digest_size=8)
        for path in self.scripts:
            try:
                content = path.read_bytes()
            except OSError as error:
                raise StageError(
                    f"the script {path} of the command cannot be read: {error.strerror or error}"
                ) from error
            digest.update(f"{path.name} {len(content)} ".encode() + content)
        return Reference(
            __name__, "Command", digest.hexdigest(), importable=True, command=self.to_json()
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            **values,
            "argv": list(self.argv),
            "ok": list(self.ok),
            "files": {name: asdict(declared) for name, declared in self.files.items()},
            "env": dict(self.env),
            "inputs": dict(self.inputs),
            "code": None if self.code is None else list(self.code),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From `to_json`."""
        code = values["code"]
        return cls(
            **{
                **values,
                "argv": tuple(values["argv"]),
                "ok": tuple(values["ok"]),
                "files": {name: File.from_json(v) for name, v in values["files"].items()},
                "code": None if code is None else tuple(code),
            }
        )


def _is_script(path: Path) -> bool:
    try:
        return path.is_absolute() and path.is_file() and path.stat().st_size <= CODE_BYTES
    except OSError:
        return False


def command(
    argv: Sequence[str | os.PathLike[str]] | str,
    *,
    name: str | None = None,
    files: Mapping[str, File | str] | None = None,
    ok: Collection[int] | int = (0,),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    shell: bool | str = False,
    params: Mapping[str, Any] | None = None,
    result: str | None = None,
    keep: str = "all",
    inputs: Mapping[str, str] | None = None,
    absent: str = "",
    code: Sequence[str | os.PathLike[str]] | None = None,
    output: Output | None = None,
    **options: Any,
) -> Stage:
    """A stage that runs a program for every unit.

    Parameters
    ----------
    argv
        The program and its arguments, each a template with placeholders (see the guide on
        commands). A placeholder that is a list (``{inputs}``, ``{neighbours}``) becomes as many
        arguments where it is an argument by itself. Nothing is split at spaces and no shell reads
        it.
    name
        Of the stage; the program's if not given.
    files
        Files that it makes in ``{output}``, by name: paths, or `file` with what is checked.
        Without any, and without `result`, the stage makes nothing that is kept.
    ok
        Exit codes that mean success.
    env
        Environment variables on top of the worker's; templates.
    cwd
        Working folder, a template; the output folder if not given.
    timeout
        Seconds that a unit may take; its processes are ended then.
    shell
        Give one text instead of a list and have ``sh`` run it (or the shell that is named:
        ``shell="bash"``). Values are quoted for the shell: write ``{input}`` without quotes.
    params
        Further placeholders with their values. A project's own parameters win over them.
    result
        Name of the file in `files` that becomes the stage's array, table or record, which other
        stages and xarray read as those of any other stage. The other files are not kept.
    keep
        ``"all"`` keeps everything that is in ``{output}`` in the end, ``"declared"`` just `files`.
    inputs
        By parent, in which format its arrays (``"tiff"``, the default, ``"npy"``, ``"zarr"``),
        tables (``"parquet"``, ``"csv"``) or records (``"json"``) are written for the program. The
        acquisition's own file is given, unless a format is named for ``"source"``.
    absent
        Text for a neighbour that there is not.
    code
        Scripts whose content counts as the stage's code: once one has changed and the stage is
        added again, its units are out of date. If not given, files of up to 1 MB that `argv`
        names by their full path.
    output
        What is made with `result`, where it is to be checked or converted: `array_output`,
        `table_output`, `record_output`.
    **options
        Further fields of `Stage`, such as ``reads`` and ``retries``.

    Examples
    --------
    >>> classify = command(
    ...     ["ilastik", "--headless", "{input}", "--out={output}/prob.h5", "--sigma", "{sigma}"],
    ...     files={"prob": "prob.h5"},
    ...     params={"sigma": 2},
    ... )
    >>> classify.name, sorted(classify.function.placeholders)
    ('ilastik', ['input', 'output', 'sigma'])
    """
    texts = _argv(argv, shell=bool(shell))
    declared = {key: f if isinstance(f, File) else file(f) for key, f in (files or {}).items()}
    made = Command(
        argv=texts,
        files=declared,
        ok=(ok,) if isinstance(ok, int) else tuple(int(number) for number in ok),
        env={str(key): _env_text(key, value) for key, value in (env or {}).items()},
        cwd=None if cwd is None else os.fspath(cwd),
        shell=("sh" if shell else None) if isinstance(shell, bool) else shell,
        result=result,
        keep=keep,
        inputs=dict(inputs or {}),
        absent=absent,
        code=None if code is None else tuple(str(Path(path).absolute()) for path in code),
    )
    params = dict(params or {})
    called = name if name is not None else _name_from(texts[0])
    _check_made(made, params, called)
    if output is None and result is None:
        output = files_output() if declared else Output("nothing")
    elif result is None and output is not None and output.kind not in ("files", "nothing"):
        raise StageError(
            f"command {called!r}: output={output.kind} needs result=..., the name of the file in "
            "which it is"
        )
    return Stage(made, called, params=params, output=output, timeout=timeout, **options)


def _argv(argv: Sequence[str | os.PathLike[str]] | str, *, shell: bool) -> tuple[str, ...]:
    if shell:
        if not isinstance(argv, str):
            raise StageError("shell=True takes one text for the shell to read, not a list")
        return (argv,)
    if isinstance(argv, str):
        raise StageError(
            f"{argv!r} is one text: give a list of arguments, such as ['fiji', '--headless', "
            "'{input}'], or shell=True"
        )
    texts = [os.fspath(text) if isinstance(text, str | os.PathLike) else text for text in argv]
    if not texts or not all(isinstance(text, str) for text in texts) or not texts[0]:
        raise StageError(f"a command is a list of texts, the program first, not {argv!r}")
    program = Path(texts[0])
    if len(program.parts) > 1 and not program.is_absolute() and program.is_file():
        texts[0] = str(program.absolute())
    return tuple(texts)


def _env_text(key: str, value: Any) -> str:
    if not key or "=" in key or "\0" in key:
        raise StageError(f"{key!r} is no name for an environment variable")
    return text_of(key, value)


def _name_from(program: str) -> str:
    words = re.sub(
        r"[^A-Za-z0-9_.\-]+", "-", Path(program.split(maxsplit=1)[0]).stem if program else ""
    )
    return words.strip("-.")[:100] or "command"


def _check_made(made: Command, params: Mapping[str, Any], name: str) -> None:
    """Refuse what can be seen to be wrong before there is a project.

    Raises
    ------
    StageError
        Naming it.
    """
    if made.shell is not None:
        check_unquoted(parse(made.argv[0]))
    if not made.ok:
        raise StageError(f"command {name!r}: ok=() lets no exit code mean success")
    if made.keep not in KEEP:
        raise StageError(f"command {name!r}: keep={made.keep!r}: give one of {KEEP}")
    _check_names(made, params, name)
    if made.result is not None:
        _check_result(made, made.result, name)
    for path_template in (parse(f.path) for f in made.files.values()):
        for placeholder in path_template.names:
            if placeholder.partition(".")[0] in IN_PLACE:
                raise StageError(
                    f"command {name!r}: the file {path_template.text!r} lies in the output folder "
                    f"already: leave {{{placeholder}}} out"
                )
    for placeholder in made.placeholders:
        base, _, of = placeholder.partition(".")
        if base == "file" and of not in made.files:
            raise unknown(placeholder, [f"file.{known}" for known in made.files])


def _check_names(made: Command, params: Mapping[str, Any], name: str) -> None:
    for parent, form in made.inputs.items():
        if form not in FORMATS:
            raise StageError(
                f"command {name!r}: inputs={{{parent!r}: {form!r}}} names no format: use one of "
                f"{', '.join(FORMATS)}"
            )
    for key in [*made.files, *params]:
        if not NAME.fullmatch(key):
            raise StageError(
                f"command {name!r}: {key!r} cannot be a placeholder: use letters, digits and _"
            )
    for key in params:
        if key in PLACEHOLDERS or AXIS.fullmatch(key):
            raise StageError(
                f"command {name!r}: {{{key}}} already stands for the {PLACEHOLDERS.get(key, key)}: "
                "call the parameter something else"
            )


def _check_result(made: Command, result: str, name: str) -> None:
    if result not in made.files:
        raise StageError(
            f"command {name!r}: result={result!r} is none of its files "
            f"({', '.join(made.files) or 'there are none'})"
        )
    path = made.files[result].path
    if not path.lower().endswith(RESULTS):
        raise StageError(
            f"command {name!r}: {path!r} cannot be read as a result: it must end in one of "
            f"{', '.join(RESULTS)}"
        )


__all__ = ["Command", "File", "command", "file"]
