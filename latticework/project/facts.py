"""What a project knows of itself and of its stages, as text."""

import json
from pathlib import Path
from typing import Any

from latticework.errors import ProjectError, ProjectNotFoundError
from latticework.project.pipeline import Node
from latticework.stages import paths

FORMAT = 1
"""Version of the project folder's format."""


def output_text(node: Node) -> str | None:
    """What a stage makes, and for which of its definitions, as the journal keeps it."""
    if node.output is None or node.settled_for is None:
        return None
    return json.dumps({"output": node.output.to_json(), "fingerprint": f"{node.settled_for:016x}"})


def read_project_file(path: Path) -> dict[str, Any]:
    """Facts of ``project.json``.

    Raises
    ------
    ProjectNotFoundError
        If there is none.
    ProjectError
        If it is not one of ours, or of a later format.
    """
    file = paths.project_file(path)
    try:
        facts = json.loads(file.read_text())
        number = int(facts["latticework_project"])
    except FileNotFoundError as error:
        raise ProjectNotFoundError(
            f"there is no project at {path} (no {file.name}): make one with latticework.create, "
            "or 'latticework init'"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{file} is not the file of a latticework project: {error!r}") from error
    if number > FORMAT:
        raise ProjectError(f"{path} has format {number}, this latticework reads up to {FORMAT}")
    return dict(facts)


def write_project_file(path: Path, facts: dict[str, Any]) -> None:
    """Put other facts into ``project.json``, at once."""
    file = paths.project_file(path)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(facts, indent=2) + "\n")
    partial.replace(file)
