"""What a MouseLight list says beside its tiles: planes to skip, parameters of the project."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticework.errors import SourceError
from latticework.io.mouselight import find_input, read_mouselight_input
from latticework.lattice.offsets import lattice_dim
from latticework.project.desk import Desk

if TYPE_CHECKING:
    from latticework.project.project import Project

LISTED = "listed parameters"
"""Under which the journal keeps the parameters that the list had."""


class ListFacts:
    """Keeps a project in step with its list's plane markers and custom parameters.

    Parameters
    ----------
    path
        The list, or the folder that has it; any other folder has nothing to say.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._skipped: Mapping[str, Any] | None = None

    def apply(self, desk: Desk) -> None:
        """Take over what has changed in the list since the last time.

        Only then: planes that a user skips or takes in again by hand stay so.
        """
        file = self.path if self.path.is_file() else find_input(self.path)
        if file is None:
            return
        try:
            stat = file.stat()
            if self._seen == (stat.st_mtime_ns, stat.st_size):
                return
            listed = read_mouselight_input(file)
        except (OSError, SourceError):
            return  # half written: it is looked at again
        self._seen = stat.st_mtime_ns, stat.st_size
        settings = desk.settings
        markers = {
            lattice_dim(axis): tuple(labels)
            for axis, labels in listed.skipped.items()
            if labels and lattice_dim(axis) in desk.pipeline.lattice.dims
        }
        if markers != self._skipped:
            before, self._skipped = self._skipped or {}, markers
            dims = {*markers, *before, *settings.skipped}
            skipped = {dim: _moved(settings.skipped, before, markers, dim) for dim in dims}
            settings = settings.replace(
                skipped={d: labels for d, labels in skipped.items() if labels}
            )
        parameters = self._parameters(desk, listed.parameters)
        settings = settings.replace(parameters=parameters)
        if settings != desk.settings:
            desk.use(settings)

    def _parameters(self, desk: Desk, listed: Mapping[str, Any]) -> dict[str, Any]:
        """The project's parameters with the list's: new ones, and other values of those it has.

        What a user has set or removed, and the list has not changed since, stays. So what the list
        said is kept in the journal.
        """
        kept = dict(desk.settings.parameters)
        found = desk.journal.query("select value from meta where key=?", (LISTED,))
        before = dict(json.loads(found[0][0])) if found else {}
        for name, value in listed.items():
            news = value != before[name] if name in before else name not in kept
            if news:
                kept[name] = value
        text = json.dumps({**before, **listed}, sort_keys=True)
        if not found or found[0][0] != text:
            sql = "insert or replace into meta (key, value) values (?, ?)"
            desk.journal.write(sql, (LISTED, text))
        return kept


def _moved(
    skipped: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any], dim: str
) -> tuple[Any, ...]:
    """Skipped labels along a dim: the list's new ones too, without those that it has no more."""
    kept = set(skipped.get(dim, ())) - (set(before.get(dim, ())) - set(now.get(dim, ())))
    return tuple(sorted(kept | set(now.get(dim, ()))))


def follow_list(project: "Project", path: Path) -> None:
    """Take over what the list of a new project says."""
    with project.lock().held():
        ListFacts(path).apply(Desk(project))
        project.close_writer()
    project.seen_now()
