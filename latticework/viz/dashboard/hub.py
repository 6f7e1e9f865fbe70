"""The projects that pages can show: those that were put here, and no others."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from latticework.viz.dashboard.feed import ProjectFeed
from latticework.viz.dashboard.questions import Questions


@dataclass(slots=True)
class Shown:
    """A project that pages show."""

    key: str
    """By which a page's address names it."""
    name: str
    """Its folder's name."""
    feed: ProjectFeed
    """What all pages show of it."""
    questions: Questions
    """Whatever takes longer."""

    @property
    def path(self) -> Path:
        """Folder of the project."""
        return self.feed.path

    def close(self) -> None:
        """Show it no more."""
        self.feed.close()
        self.questions.close()


@dataclass(slots=True)
class Hub:
    """Projects by their keys; the last one that was put here is shown where none is named."""

    dask_pages: bool = False
    """Whether Dask's own pages are beside these."""
    shown: dict[str, Shown] = field(default_factory=dict)
    """Projects by key, the latest last."""

    def put(self, path: Path) -> Shown:
        """Show a project from now on; its first look begins at once."""
        key = project_key(path)
        known = self.shown.pop(key, None)
        if known is None:
            known = Shown(key, path.name, ProjectFeed(path), Questions(path))
        self.shown = {**self.shown, key: known}
        known.feed.warm()
        return known

    def get(self, key: str | None) -> Shown | None:
        """The project with a key; the latest where none is given; None if there is none."""
        if key is None:
            return next(reversed(self.shown.values()), None)
        return self.shown.get(key)

    def close(self) -> None:
        """Show nothing more."""
        for shown in self.shown.values():
            shown.close()
        self.shown = {}


def project_key(path: Path) -> str:
    """A short name for a folder, for addresses: it does not tell where the folder is.

    Examples
    --------
    >>> project_key(Path("/data/brain.lw"))
    '4fa704e1'
    """
    return hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
