"""Projects of acquisitions that go on: made from the first tiles, run while others arrive."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticework.errors import ProjectError
from latticework.io.mouselight import find_input
from latticework.io.notices import Held, some
from latticework.io.watching import Watcher, tiles_of_grid, watch_folder, watch_list
from latticework.project.background import Run
from latticework.project.creating import create, open_project
from latticework.project.feeding import Feed
from latticework.project.list_facts import ListFacts, follow_list
from latticework.project.running import PATIENCE_S, Going, run_project
from latticework.stages.paths import project_file

if TYPE_CHECKING:
    from latticework.project.project import Project
    from latticework.project.summary import RunSummary

LATELY = "it changed lately"
"""Why files are held that nothing is the matter with."""
WATCHED = "watched"
"""Under which the journal keeps what is watched, and how."""


def watch_project(
    project: "Project",
    folder: Path | str | None,
    where: Any,
    *,
    interval_s: float,
    stages: Iterable[str] | None,
    progress: Any,
    background: bool,
    options: Mapping[str, Any],
) -> "RunSummary | Run":
    """See `Project.watch`."""
    watched, options = _watched(project, folder, options)
    feed = Feed(
        watcher_of(watched, options),
        interval_s=interval_s,
        then=ListFacts(watched).apply,
        extents=extents_of(options),
    )
    if background:
        return Run(project, where, stages=stages, progress=progress, stay=False, feed=feed)
    return run_project(project, where, stages=stages, progress=progress, going=Going(feed=feed))


def extents_of(options: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """How far the tiles will go, as far as ``grid=`` says: first and last label by axis."""
    grid = options.get("grid") or {}
    return {axis: (0, int(n) - 1) for axis, n in grid.items()}


def watcher_of(path: Path, options: Mapping[str, Any]) -> Watcher:
    """What watches a path: a folder that fills, or a list that grows (also one in the folder)."""
    listed = path if path.is_file() else find_input(path)
    if listed is not None:
        return watch_list(listed, **options)
    return watch_folder(path, **options)


def _watched(
    project: "Project", folder: Path | str | None, options: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """What is to be watched, and how: as given, else as it was the last time."""
    found = project.query("select value from meta where key=?", (WATCHED,))
    kept = json.loads(found[0][0]) if found else {"folder": None, "options": {}}
    if folder is None:
        if not found:
            raise ProjectError(
                f"{project.path} has not been watched yet: say which folder its tiles arrive in"
            )
        return Path(kept["folder"]), {**kept["options"], **options}
    path = Path(folder).expanduser().resolve()
    if kept["folder"] == str(path):
        options = {**kept["options"], **options}
    with project.lock().held(patience_s=PATIENCE_S):
        text = json.dumps({"folder": str(path), "options": _plain(options)})
        journal = project.writable_journal()
        journal.write("insert or replace into meta (key, value) values (?, ?)", (WATCHED, text))
        project.close_writer()
    return path, dict(options)


def end_of(project: "Project") -> str | int | None:
    """What ends the acquisition of a project that was watched: a file, or a number of tiles."""
    found = project.query("select value from meta where key=?", (WATCHED,))
    if not found:
        return None
    options = json.loads(found[0][0])["options"]
    end: str | int | None = options.get("end")
    return tiles_of_grid(options.get("grid"), options.get("pattern")) if end is None else end


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that can be kept as text; others have to be given again."""
    kept = {}
    for name, value in options.items():
        try:
            json.dumps(value)
        except TypeError:
            continue
        kept[name] = value
    return kept


def held_lines(held: Iterable[Held], most: int = 3) -> list[str]:
    """Files that are there but are no tiles yet, a line for each reason.

    Examples
    --------
    >>> held_lines([Held(Path("a.tif"), "it grows"), Held(Path("b.tif"), "it grows")])
    ['2 files are there (a.tif, b.tif), but it grows']
    """
    by_reason: dict[str, list[str]] = {}
    for one in held:
        if one.announced:  # there is no file that anything could be said of
            continue
        why = LATELY if one.why.startswith(LATELY) else one.why
        by_reason.setdefault(why, []).append(one.path.name)
    return [
        f"{f'{len(names):,} files are' if len(names) > 1 else '1 file is'} there ({some(names)}), "
        f"but {why}"
        for why, names in list(by_reason.items())[:most]
    ]


def create_watched(
    path: Path | str,
    folder: Path | str,
    *,
    name: str | None = None,
    interval_s: float = 2.0,
    timeout: float | None = None,
    waiting: Callable[[str], None] = lambda _note: None,
    **options: Any,
) -> "Project":
    """The project of an acquisition that goes on; waits for its first tiles.

    Add stages to it, then `Project.watch`. A project that is there already is opened.

    Parameters
    ----------
    path
        Folder of the project to make.
    folder
        Where the tiles arrive; it need not be there yet.
    name
        Name of the project.
    interval_s
        Seconds between looks.
    timeout
        Seconds to wait for the first tile; as long as it takes if not given.
    waiting
        Called with what there is to say while it waits.
    **options
        Options of `latticework.io.watch_folder`.

    Raises
    ------
    ProjectError
        If no tile has arrived in time.
    """
    path = Path(path).expanduser().resolve()
    if project_file(path).exists():
        project = open_project(path)
        _watched(project, folder, options)
        return project
    watcher = watcher_of(Path(folder).expanduser().resolve(), options)
    begun, said = time.monotonic(), set[str]()

    def say(text: str) -> None:
        if text not in said:
            said.add(text)
            waiting(text)

    try:
        while True:
            found = watcher.poll(None)
            for note in found.notes:
                say(note)
            if found.growth is not None and found.growth.tiles is not None:
                break
            if timeout is not None and time.monotonic() > begun + timeout:
                held = "; ".join(held_lines(found.held))
                raise ProjectError(
                    f"no tile arrived in {folder} within {timeout:g} s" + (held and f": {held}")
                )
            say(f"waiting for the first tile in {folder}")
            for line in held_lines([one for one in found.held if LATELY not in one.why]):
                reason = line.partition(", but ")[2]
                if reason not in said:  # not anew with each file
                    said.add(reason)
                    waiting(line)
            watcher.wait(interval_s)
    finally:
        watcher.close()
    project = create(path, found.growth.tiles, name=name)
    project.ask("open acquisition", {"extents": extents_of(options)})
    follow_list(project, Path(folder).expanduser().resolve())
    _watched(project, folder, options)
    return project
