"""The folder of the demo: what lies in it, and when it may be used again."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latticework.errors import ProjectError

DEFAULT = "latticework-demo"
"""Name of the folder where none is given."""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Paths below the demo's folder."""

    path: Path
    """The folder."""

    @property
    def marker(self) -> Path:
        """Says that the folder is a demo's, and how it was made."""
        return self.path / "demo.json"

    @property
    def acquisition(self) -> Path:
        """Simulated OME-TIFF files."""
        return self.path / "acquisition"

    @property
    def project(self) -> Path:
        """The project."""
        return self.path / "brain.lw"

    @property
    def pipeline(self) -> Path:
        """The pipeline file."""
        return self.path / "pipeline.py"

    @property
    def pictures(self) -> tuple[Path, Path, Path]:
        """Overview, status and mosaic."""
        overview, status, mosaic = (
            self.path / f"{n}.png" for n in ("overview", "status", "mosaic")
        )
        return overview, status, mosaic

    @property
    def ours(self) -> bool:
        """Whether a demo made the folder."""
        return self.marker.is_file()

    def facts(self) -> dict[str, Any]:
        """How it was made.

        Raises
        ------
        ProjectError
            If the marker cannot be read.
        """
        try:
            return dict(json.loads(self.marker.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ProjectError(
                f"{self.marker} cannot be read ({error}): choose another folder"
            ) from error

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Make the folder and note how."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.marker.write_text(json.dumps(dict(facts), indent=2) + "\n", encoding="utf-8")

    def clear(self, pipeline: str) -> None:
        """Remove what an earlier demo made, and nothing else; a changed pipeline is put aside."""
        from latticework.project import open_project
        from latticework.stages.paths import project_file

        if project_file(self.project).is_file() and open_project(self.project).is_run():
            raise ProjectError(
                f"{self.project} is running now: wait for it, or choose another folder"
            )
        if self.pipeline.is_file() and self.pipeline.read_text(encoding="utf-8") != pipeline:
            self.pipeline.replace(self.pipeline.with_name("pipeline-changed.py"))
        for folder in (self.acquisition, self.project):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.pipeline, *self.pictures, self.marker):
            file.unlink(missing_ok=True)


def choose_folder(given: Path | None) -> DemoFolder:
    """The folder to use: the given one, or a free name beside us.

    Raises
    ------
    ProjectError
        If the given one holds something that no demo made.
    """
    if given is not None:
        folder = DemoFolder(given.expanduser().resolve())
        if folder.ours or not taken(folder.path):
            return folder
        raise ProjectError(
            f"{folder.path} holds something else: give a folder that is empty or not there yet"
        )
    number = 1
    while True:
        name = DEFAULT if number == 1 else f"{DEFAULT}-{number}"
        folder = DemoFolder(Path(name).resolve())
        if folder.ours or not taken(folder.path):
            return folder
        number += 1


def taken(path: Path) -> bool:
    """Whether something is there already."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))
