"""Pipeline files: Python files with a function ``pipeline(project)``; projects remember theirs."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latticework.errors import LatticeworkError, ProjectError, StageError
from latticework.project import Project
from latticework.project.outputs import StageOutputs
from latticework.stages.files import line_of, load_file, told

EXAMPLE = """\
    from scipy.ndimage import median_filter

    def pipeline(project):
        project.add(median_filter, size=3, overlap=1)
"""


class PipelineProject(Project):
    """A project that remembers which stages a pipeline file added.

    Parameters
    ----------
    path
        The project folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.expanduser().resolve())
        self.added: list[str] = []

    def add(self, *args: Any, **options: Any) -> StageOutputs:
        """See `Project.add`."""
        made = super().add(*args, **options)
        self.added.append(made.name)
        return made


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
    """Stages of the project that the file does not have."""


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


def apply(project: PipelineProject, file: Path) -> Applied:
    """Add the stages of a pipeline file to a project; nothing changes where nothing is new.

    Raises
    ------
    LatticeworkError
        Naming the file, and the line where that is known.
    """
    function = pipeline_function(file)
    before = {node.name: node.fingerprint for node in project.pipeline}
    project.added.clear()
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
        tuple(name for name in stages if name not in before),
        tuple(name for name in stages if name in before and now[name] != before[name]),
        tuple(name for name in now if name not in stages),
    )


def note_file(project: Path) -> Path:
    """Where a project keeps which file its pipeline is."""
    return project / "pipeline.json"


def remember(project: Path, file: Path) -> None:
    """Keep in a project which file its pipeline is."""
    file = file.expanduser().resolve()
    note = {"file": str(file), "from_project": os.path.relpath(file, project)}
    target = note_file(project)
    temporary = target.with_suffix(".new")
    temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    temporary.replace(target)


def remembered(project: Path) -> Path | None:
    """The pipeline file that a project knows, whether it is still there or not; None without one.

    A file that has moved together with the project is found.
    """
    target = note_file(project)
    try:
        note = json.loads(target.read_text(encoding="utf-8"))
        file, beside = Path(note["file"]), Path(os.path.normpath(project / note["from_project"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ProjectError(
            f"{target} does not say which file the pipeline is ({told(error)}): give --pipeline"
        ) from error
    return beside if not file.is_file() and beside.is_file() else file
