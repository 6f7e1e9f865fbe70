"""Pipeline files: Python files with a function ``pipeline(project)``; projects remember theirs."""

import importlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latticework.errors import LatticeworkError, ProjectError, StageError
from latticework.project import Project
from latticework.project.adding import definition_of
from latticework.project.outputs import StageOutputs
from latticework.project.pipeline import SOURCE
from latticework.stages.files import line_of, load_file, told
from latticework.stages.stage import Stage, as_stage

EXAMPLE = """\
    from scipy.ndimage import median_filter

    def pipeline(project):
        project.add(median_filter, size=3, overlap=1)
"""


class PipelineProject(Project):
    """A project that remembers which stages a pipeline file added, and what it said of them.

    A stage that was changed or removed since by a command stays so while the file says of it what
    it said before.

    Parameters
    ----------
    path
        The project folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.expanduser().resolve())
        self.added: list[str] = []
        self.left: list[str] = []
        """Stages that commands have changed or removed."""
        self.says: dict[str, str] = {}
        """What the file says of each stage."""
        self.said: Mapping[str, str] = {}
        """What it said before."""

    def add(self, function: Any, /, *, after: Any = None, **options: Any) -> StageOutputs:
        """See `Project.add`."""
        stage, parents = stage_and_parents(function, after, options)
        name = stage.name
        says = self.says[name] = said_of(definition_of(stage, parents))
        self.added.append(name)
        node = self.pipeline.nodes.get(name)
        if self.said.get(name) == says and (node is None or said_of(node.definition) != says):
            self.left.append(name)
            return StageOutputs(self, name)
        return super().add(function, after=after, **options)


def stage_and_parents(
    function: Any, after: Any, options: Mapping[str, Any]
) -> tuple[Stage, tuple[str, ...]]:
    """The stage that `Project.add` would make, and the names of its parents."""
    of_stage = {key: value for key, value in options.items() if key in Stage.__slots__}
    params = {**(of_stage.pop("params", None) or {})}
    params |= {key: value for key, value in options.items() if key not in Stage.__slots__}
    several = after if isinstance(after, list | tuple) else [SOURCE if after is None else after]
    names = [
        parent if isinstance(parent, str) else getattr(parent, "name", "?") for parent in several
    ]
    return as_stage(function, **of_stage, params=params), tuple(map(str, names))


def said_of(definition: Mapping[str, Any]) -> str:
    """What is said of a stage where it is added, as text: all but its code itself."""
    function = {key: definition["function"].get(key) for key in ("module", "qualname", "command")}
    return json.dumps({**definition, "function": function}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a pipeline file did to a project."""

    stages: tuple[str, ...]
    """The file's stages."""
    new: tuple[str, ...]
    """Those that the project did not have."""
    changed: tuple[str, ...]
    """Those whose code, parameters or parents are others than before."""
    others: tuple[str, ...]
    """Stages of the project that the file does not have any more."""
    left: tuple[str, ...]
    """Stages that were changed or removed with commands since, and stay so."""
    all: tuple[str, ...]
    """Stages of the project."""

    @property
    def only(self) -> list[str] | None:
        """Stages to run where some are not to be; None for all."""
        return [name for name in self.all if name not in self.others] if self.others else None


def pipeline_function(file: Path) -> Callable[[Project], Any]:
    """The function ``pipeline`` of a file.

    Raises
    ------
    StageError
        If the file is not there, does not run, or has no such function.
    """
    function = getattr(load_file(file), "pipeline", None)
    if not callable(function):
        raise StageError(f"{file} has no function 'pipeline(project)', such as\n\n{EXAMPLE}")
    return function  # type: ignore[no-any-return]


def apply(project: PipelineProject, file: Path, *, anew: bool = True) -> Applied:
    """Add the stages of a pipeline file to a project; nothing changes where nothing is new.

    Parameters
    ----------
    project
        The project.
    file
        The pipeline file.
    anew
        Whether the file counts also for stages that commands have changed or removed since.

    Raises
    ------
    LatticeworkError
        Naming the file, and the line where that is known.
    """
    function = pipeline_function(file)
    before = {node.name: node.fingerprint for node in project.pipeline}
    project.added.clear()
    project.left.clear()
    known = note_of(project.path, strict=not anew).get("said")
    project.said = {} if anew else known or {}
    project.says = {}
    try:
        function(project)
    except (Exception, SystemExit) as error:
        kind = type(error) if isinstance(error, LatticeworkError) else StageError
        what = str(error) if isinstance(error, LatticeworkError) else told(error)
        if kind in (StageError, ProjectError):
            raise kind(f"{file}{line_of(error, file.resolve())}: {what}") from error
        raise
    stages = tuple(dict.fromkeys(project.added))
    if not stages:
        raise StageError(
            f"{file}: pipeline(project) added no stage; it calls project.add, as in\n\n{EXAMPLE}"
        )
    now = {node.name: node.fingerprint for node in project.pipeline}
    return Applied(
        stages,
        tuple(name for name in stages if name not in before and name in now),
        tuple(name for name in stages if name in before and now[name] != before[name]),
        tuple(name for name in now if name not in stages and (known is None or name in known)),
        tuple(project.left),
        tuple(now),
    )


def note_file(project: Path) -> Path:
    """Where a project keeps which file its pipeline is."""
    return project / "pipeline.json"


def note_of(project: Path, *, strict: bool = True) -> dict[str, Any]:
    """What a project keeps of its pipeline file; empty without one, or if it is to be replaced.

    Raises
    ------
    ProjectError
        If the note cannot be read.
    """
    target = note_file(project)
    try:
        note = json.loads(target.read_text(encoding="utf-8"))
        return {**note, "file": str(note["file"]), "from_project": str(note["from_project"])}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        if not strict:
            return {}
        raise ProjectError(
            f"{target} does not say which file the pipeline is ({told(error)}): give --pipeline"
        ) from error


def remember(project: PipelineProject, file: Path) -> None:
    """Keep in a project which file its pipeline is, and what it said."""
    file = file.expanduser().resolve()
    target = note_file(project.path)
    said = note_of(project.path, strict=False).get("said", {})
    left = {name: text for name, text in said.items() if name in project.pipeline.nodes}
    note = {
        "file": str(file),
        "from_project": os.path.relpath(file, project.path),
        "said": {**left, **project.says},
    }
    temporary = target.with_suffix(".new")
    temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    temporary.replace(target)


def remembered(project: Path) -> Path | None:
    """The pipeline file that a project knows, whether it is still there or not; None without one.

    A file that has moved together with the project is found.
    """
    note = note_of(project)
    if not note:
        return None
    file, beside = Path(note["file"]), Path(os.path.normpath(project / note["from_project"]))
    return beside if not file.is_file() and beside.is_file() else file


def callable_at(text: str) -> Callable[..., Any]:
    """The callable at ``file.py:function`` or ``module:function``.

    Raises
    ------
    StageError
        If there is none.

    Examples
    --------
    >>> callable_at("scipy.ndimage:median_filter").__name__
    'median_filter'
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise StageError(f"{text!r}: write file.py:function or module:function")
    if place.endswith(".py"):
        home = load_file(place)
    else:
        try:
            home = importlib.import_module(place)
        except ImportError as error:
            raise StageError(
                f"there is no module {place!r} here ({error}): install it, or give file.py:function"
            ) from error
    found: Any = home
    for part in name.split("."):
        found = getattr(found, part, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    own = [key for key, value in vars(home).items() if callable(value) and not key.startswith("_")]
    raise StageError(f"{place} has no callable {name!r}; it has {', '.join(own[:12]) or 'none'}")
