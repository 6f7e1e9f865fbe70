"""What a project's pages show: looked at once for all who look, in a thread, as it changes.

A run leaves its states in status arrays (a byte a unit) and its attempts in the journal, each
with a number. So a look costs a few `stat` calls, a read of the states of stages that have
changed, and the attempts since the last look; no state of a running project is derived here. Where
nothing runs the project, its states are taken from the journal whenever that has changed.
"""

import logging
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import LatticeworkError
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.lattice.views import on_grid
from latticework.project.following import Following, read_following
from latticework.project.gauging import free_bytes
from latticework.project.keeping_up import KeepingUp, keeping_up
from latticework.project.outage import read_outage
from latticework.project.pipeline import SOURCE
from latticework.project.pool_facts import PoolFacts, read_pools
from latticework.project.preview_rules import layout_of
from latticework.project.settings import Settings
from latticework.stages.lattices import TILES
from latticework.stages.paths import status_folder
from latticework.viz.dashboard.recent import RecentAttempts
from latticework.viz.dashboard.status_files import StatusFiles
from latticework.viz.dashboard.which_project import Which, which_project

if TYPE_CHECKING:
    from latticework.project.pipeline import Node
    from latticework.project.project import Project

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks, at least; a look takes at most a tenth of the time."""
IDLE_S = 60.0
"""Seconds without anybody who looks after which nothing is looked at any more."""
EVENTS = 30
"""Events that a snapshot has."""
STATES = len(State)


@dataclass(frozen=True, slots=True)
class StageNow:
    """A stage at one moment."""

    name: str
    """Its name."""
    number: int
    """Its number in the journal."""
    key: str
    """Key of the lattice of its units."""
    parents: tuple[str, ...]
    """Names of what it reads."""
    lattice: Lattice
    """The lattice of its units."""
    states: np.ndarray = field(repr=False)
    """State of every unit on the lattice's grid, uint8; 0 in holes."""
    counts: tuple[int, ...]
    """Units in each state, by the state's number; holes are not counted."""
    version: int
    """Grows whenever its states have changed."""
    makes: str | None = None
    """``"array"``, ``"table"``, ``"record"``, ``"files"`` or ``"nothing"``; None while unknown."""
    pictured: bool = False
    """Whether there are previews of what it makes, that can lie on a map of y and x."""

    @property
    def by_state(self) -> dict[State, int]:
        """Units in each state that occurs."""
        return {State(number): n for number, n in enumerate(self.counts) if n}

    @property
    def units(self) -> int:
        """Units that take part."""
        return sum(self.counts) - self.counts[State.ABSENT]

    def count(self, state: State) -> int:
        """Units in one state."""
        return self.counts[state]


@dataclass(frozen=True, slots=True)
class Happened:
    """An event, for people to read."""

    at: float
    """When, in seconds since 1970."""
    kind: str
    """Of which kind (`latticework.project.events.KINDS`)."""
    stage: str
    """Name of the stage that it is about; empty if it is about none."""
    message: str
    """What happened."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A project at one moment; nothing in it changes any more."""

    number: int
    """Grows with every look."""
    at: float
    """When, in seconds since 1970."""
    name: str
    """Name of the project."""
    path: Path
    """Its folder."""
    running: bool
    """Whether something runs it."""
    lattice: Lattice
    """The tiles of the acquisition."""
    stages: tuple[StageNow, ...]
    """Its stages, parents first."""
    settings: Settings
    """What users have set."""
    structure: int
    """Grows whenever stages or tiles have come, gone or changed."""
    outline: int = 0
    """Grows whenever stages have come, gone or been renamed."""
    life: int = 0
    """Grows whenever another project, or another journal, has taken the place of this one."""
    gauge: KeepingUp | None = None
    """Rates, times left, and room on the disk."""
    pools: tuple[PoolFacts, ...] = ()
    """Workers of the run."""
    outage: str = ""
    """Why it cannot write now; empty if it can."""
    following: Following | None = None
    """How the acquisition is followed, if it is."""
    events: tuple[Happened, ...] = ()
    """What happened last, the latest first."""
    trouble: str = ""
    """Why the project cannot be looked at now; empty if it can."""
    source: StageNow | None = None
    """The tiles of the acquisition as if they were a stage's, for their previews."""

    @property
    def pictured(self) -> tuple[StageNow, ...]:
        """The acquisition and the stages of which there are previews."""
        known = self.stages if self.source is None else (self.source, *self.stages)
        return tuple(stage for stage in known if stage.pictured)

    def stage(self, name: str) -> StageNow | None:
        """The stage of this name, if there is one."""
        return next((stage for stage in self.stages if stage.name == name), None)


class ProjectFeed:
    """Snapshots of one project, for any number of pages.

    Parameters
    ----------
    path
        Folder of the project.

    Examples
    --------
    >>> import tempfile
    >>> from latticework import Lattice, create
    >>> tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    >>> project = create(tempfile.mkdtemp() + "/tiny.lw", tiles)
    >>> _ = project.add(np.negative)
    >>> feed = ProjectFeed(project.path)
    >>> [(stage.name, stage.by_state) for stage in feed.look().stages]
    [('negative', {<State.WAITING: 1>: 4})]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recent = RecentAttempts()
        self.trouble = ""
        """Why the project could not be looked at the last time; empty if it could."""
        self._snapshot: Snapshot | None = None
        self._project: Project | None = None
        self._files: dict[str, StatusFiles] = {}
        self._structure: tuple[object, ...] = ()
        self._which: Which | None = None
        self._looks = self._structures = self._outlines = self._lives = 0
        self._versions = 0
        self._derived: object = None
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asked = -IDLE_S
        self._event = 0
        self._over = threading.Event()

    # ---------------------------------------------------------------- for pages

    @property
    def snapshot(self) -> Snapshot | None:
        """The last one; None before the first look. Asking keeps the looking alive."""
        self._asked = time.monotonic()
        self.warm()
        return self._snapshot

    def warm(self) -> None:
        """Look once, so that the first page finds something."""
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def _start(self) -> None:
        with self._mutex:
            if self._over.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(
                target=self._keep_looking, name="latticework-feed", daemon=True
            )
            self._thread.start()

    def _keep_looking(self) -> None:
        try:
            self._look_again_and_again()
        finally:
            if self._over.is_set():
                self._let_go()

    def _look_again_and_again(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            try:
                self.look()
            except (LatticeworkError, OSError) as error:
                self._trouble(str(error))
            except Exception as error:
                log.exception("%s cannot be looked at", self.path)
                self._trouble(f"{type(error).__name__}: {error}")
            if self._over.wait(max(LOOK_S, 10 * (time.monotonic() - begun))):
                return
            if time.monotonic() - self._asked > IDLE_S:
                return

    def _trouble(self, text: str) -> None:
        self._let_go()
        self.trouble = text
        if self._snapshot is not None:
            self._looks += 1
            self._snapshot = replace(
                self._snapshot, number=self._looks, trouble=text, at=time.time()
            )

    def _let_go(self) -> None:
        """Close the project's files; the next look opens them again."""
        project, self._project = self._project, None
        if project is not None:
            project.let_go()

    # ---------------------------------------------------------------- looking

    def look(self) -> Snapshot:
        """Look now, in this thread; one thread at a time."""
        project = self._open()
        running = project.is_run()
        structure = self._structure_now(project)
        same = structure == self._structure
        old = self._snapshot
        if not same or old is None or not running:
            stages = self._from_journal(project, same=same)
        else:
            stages = old.stages
        source = (
            old.source
            if old is not None and stages is old.stages
            else self._stage(project, project.pipeline[SOURCE], None)
        )
        if running:
            stages = self._from_files(stages)
        self._structure = structure
        self.recent.look(project._journal)  # noqa: SLF001 - read only, and of this thread
        self._looks += 1
        self._structures += not same
        if old is None or _outline(stages) != _outline(old.stages):
            self._outlines += 1
        self._snapshot = Snapshot(
            number=self._looks,
            at=time.time(),
            name=project.name,
            path=self.path,
            running=running,
            lattice=project.lattice,
            stages=stages,
            settings=project.settings,
            structure=self._structures,
            outline=self._outlines,
            life=self._lives,
            gauge=self._gauge(project, stages, running=running),
            pools=read_pools(self.path) if running else (),
            outage=read_outage(self.path) if running else "",
            following=read_following(self.path) if running else None,
            events=self._see_events(project),
            source=source,
        )
        self.trouble = ""
        return self._snapshot

    def _open(self) -> "Project":
        which = which_project(self.path)
        if which != self._which:
            self._begin_anew(which)
        if self._project is None:
            from latticework.project.creating import open_project

            self._project = open_project(self.path)
            self._structure, self._derived, self._files, self._event = (), None, {}, 0
        return self._project

    def _begin_anew(self, which: Which) -> None:
        """Another project is at the path, or another journal: nothing known of the last one holds.

        Pages tell what is new by numbers, so those go on growing.
        """
        self._let_go()
        self._snapshot, self._which = None, which
        self.recent = RecentAttempts()
        self._lives += 1

    @staticmethod
    def _structure_now(project: "Project") -> tuple[object, ...]:
        """What tells whether stages or tiles are other ones."""
        sql = (
            "select group_concat(id || name || fingerprint || coalesce(output, '')) from stages "
            "where removed is null"
        )
        from latticework.project.facts import read_project_file

        version = read_project_file(project.path)["lattice_version"]
        return (*project.query(sql)[0], version)

    def _from_journal(self, project: "Project", *, same: bool) -> tuple[StageNow, ...]:
        """Stages with the states that follow from the journal, taken anew if that has changed."""
        pipeline = project.pipeline
        old = self._snapshot
        if same and old is not None and self._derived is pipeline:
            return old.stages
        self._derived = pipeline
        self._files = {}
        # states that are the same on another lattice are to be drawn anew all the same
        known = {stage.name: stage for stage in old.stages} if same and old is not None else {}
        return tuple(self._stage(project, node, known.get(node.name)) for node in pipeline)

    def _stage(self, project: "Project", node: "Node", known: StageNow | None) -> StageNow:
        states = np.asarray(on_grid(node.lattice, node.units.state[node.lattice.ids], 0), np.uint8)
        unchanged = (
            known is not None
            and known.number == node.id
            and known.states.shape == states.shape
            and np.array_equal(known.states, states)
        )
        return StageNow(
            name=node.name,
            number=node.id,
            key=node.key,
            parents=node.parents,
            lattice=node.lattice,
            states=known.states if unchanged and known is not None else states,
            counts=_counts(states, node.lattice),
            version=known.version if unchanged and known is not None else self._next_version(),
            makes=None if node.output is None else node.output.kind,
            pictured=has_map(node.lattice) and layout_of(project.settings, node) is not None,
        )

    def _from_files(self, stages: tuple[StageNow, ...]) -> tuple[StageNow, ...]:
        """The same stages with the states that the run has left since."""
        changed: dict[str, np.ndarray] = {}
        for stage in stages:
            files = self._files.get(stage.key)
            if files is None or files.lattice is not stage.lattice:
                folder = status_folder(self.path, stage.key)
                files = self._files[stage.key] = StatusFiles(folder, stage.lattice)
        for files in self._files.values():
            changed |= files.look()
        return tuple(self._renewed(stage, changed.get(stage.name)) for stage in stages)

    def _renewed(self, stage: StageNow, states: np.ndarray | None) -> StageNow:
        if states is None or states.shape != stage.states.shape:
            return stage
        if np.array_equal(states, stage.states):
            return stage
        counts = _counts(states, stage.lattice)
        return replace(stage, states=states, counts=counts, version=self._next_version())

    def _next_version(self) -> int:
        self._versions += 1
        return self._versions

    def _see_events(self, project: "Project") -> tuple[Happened, ...]:
        """The last events, read again only where there are new ones."""
        known = () if self._snapshot is None else self._snapshot.events
        if not project.query("select 1 from sqlite_master where type='table' and name='events'"):
            return ()
        newest = project.query("select coalesce(max(id), 0) from events")[0][0]
        if newest == self._event:
            return known
        self._event = newest
        rows = project.query(
            "select at, kind, coalesce(stage, ''), message from events order by id desc limit ?",
            (EVENTS,),
        )
        return tuple(Happened(*row) for row in rows)

    def _gauge(
        self, project: "Project", stages: tuple[StageNow, ...], *, running: bool
    ) -> KeepingUp:
        tiles = next((stage.units for stage in stages if stage.key == TILES), len(project.lattice))
        recent = self.recent
        now = (
            time.time()
            if running
            else max(
                [flow.last for flow in recent.completed.values() if flow.last is not None],
                default=time.time(),
            )
        )
        return keeping_up(
            now,
            tiles,
            recent.arrived,
            {s.name: recent.completed[s.number] for s in stages if s.number in recent.completed},
            {stage.name: stage.by_state for stage in stages},
            disk_free_bytes=free_bytes(self.path),
        )


def _outline(stages: tuple[StageNow, ...]) -> tuple[tuple[int, str], ...]:
    """Which stages there are: what they read, how, and what they make may still change."""
    return tuple((stage.number, stage.name) for stage in stages)


def has_map(lattice: Lattice) -> bool:
    """Whether a lattice has planes of y and x, on which pictures of its tiles can lie."""
    return {"tile_y", "tile_x"} <= set(lattice.dims)


def _counts(states: np.ndarray, lattice: Lattice) -> tuple[int, ...]:
    """Units in each state; holes of the lattice are no units."""
    counts = np.bincount(states.reshape(-1), minlength=STATES)[:STATES]
    counts[State.ABSENT] -= states.size - len(lattice)
    return tuple(map(int, counts))
