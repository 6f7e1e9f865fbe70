"""What a coordinator looks after beside sending work and taking it in.

::

    failed units ──> waits before the next attempt      (`latticework.project.delays`)
    ended units  ──> stages that pause themselves       (`latticework.project.patience`)
    hosts        ──> hosts that are set aside           (`latticework.project.node_counts`)
    all of these ──> events: journal, hooks, progress   (`latticework.project.events`, `hooks`)
"""

import contextlib
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from latticework.lattice.states import State
from latticework.project.delays import Delays
from latticework.project.dispatch import Batch
from latticework.project.events import Event, EventLog, Gathering, check_kind
from latticework.project.ledger import CHARGED, COMPLETE
from latticework.project.patience import Trials, patience_with
from latticework.project.placing_work import Placing
from latticework.project.settings import Settings

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator
    from latticework.project.pipeline import Node

FAILURES_EVERY_S = 60.0
"""Seconds between two events about units of one stage that failed."""
LOST_EVERY_S = 30.0
"""Seconds between two events about lost workers of one host."""
_NUMBER = re.compile(r"\d+")
"""Numbers of jobs make no other reason."""
LOOK_S = 0.5
"""Seconds between two looks at what may have come to an end."""


class Care:
    """Looks after one run of a project; called by the coordinator's thread alone.

    Parameters
    ----------
    coordinator
        The coordinator.
    clock
        Seconds since 1970.
    """

    def __init__(self, coordinator: "Coordinator", clock: Callable[[], float] = time.time) -> None:
        self._of, self._clock = coordinator, clock
        self.delays = Delays(coordinator, clock)
        self.trials = Trials()
        self.placing = Placing(coordinator)
        self.notes: list[str] = []
        """What whoever watches the run is to be told, in order."""
        self._log = EventLog(coordinator.journal)
        self._refused: set[tuple[str, str]] = set()
        self._unkept: deque[Event] = deque()
        self._user_paused = coordinator.settings.paused
        self._failures = Gathering(FAILURES_EVERY_S, clock)
        self._lost = Gathering(LOST_EVERY_S, clock)
        self._failed_stages: set[str] = set()
        self._complete: set[str] = set()
        self._was_open = coordinator.settings.open
        self._next_look = 0.0

    # ---------------------------------------------------------------- events

    def emit(
        self,
        kind: str,
        message: str,
        *,
        stage: str | None = None,
        tiles: Iterable[str] = (),
        host: str | None = None,
        counts: Mapping[str, int] | None = None,
        say: bool = False,
        later: bool = False,
    ) -> None:
        """Something has happened: hooks are told at once, and the journal when it can be written.

        Parameters
        ----------
        kind
            One of `latticework.project.events.KINDS`.
        message
            What happened, in a sentence.
        stage, tiles, host, counts
            Fields of `Event`.
        say
            Whether the progress display says it too.
        later
            Whether the journal cannot be written at this moment, as it is being written.
        """
        event = Event(
            check_kind(kind),
            message,
            str(self._of.project.path),
            stage=stage,
            tiles=tuple(tiles),
            host=host,
            at=self._clock(),
            counts=dict(counts or {}),
        )
        self._of.project.hooks.tell(event)
        if say:
            self.notes.append(message)
        self._unkept.append(event)
        if not later:
            self._keep()

    def _keep(self) -> None:
        """Write events to the journal, in order; while the disk is full they wait."""
        while self._unkept and not self._of.outage.on:
            self._log.keep(self._unkept[0])
            self._unkept.popleft()

    def outage_changed(self, text: str, counts: Mapping[str, int]) -> None:
        """The project has paused itself because of this, or goes on if there is no such text."""
        if text:
            self.emit("project paused", _paused_itself(text), counts=counts, later=True)
        else:
            message = f"the project goes on by itself: {self._of.project.path} can be written again"
            self.emit("project resumed", message, counts=counts, later=True)

    def pauses_changed(self) -> None:
        """Users have paused or resumed something; the whole project is told of."""
        paused = self._of.settings.paused
        if paused != self._user_paused:
            self._user_paused = paused
            kind, what = ("project paused", "paused") if paused else ("project resumed", "resumed")
            self.emit(kind, f"the project was {what} by a user", counts=self._counts())

    # ---------------------------------------------------------------- a run

    def begin(self) -> None:
        """The run begins, and all states are known."""
        self.delays.begin()
        self._complete = set(self._complete_now())
        self._keep_what_the_last_run_could_not()
        self.emit("run begun", "a run has begun", counts=self._counts())

    def _keep_what_the_last_run_could_not(self) -> None:
        """That it had paused itself: hooks were told, but there was no room to keep it."""
        if self._of.outage.before is None:
            return
        since, text = self._of.outage.before
        sql = "select 1 from events where kind = 'project paused' and abs(at - ?) < 2"
        if not self._of.journal.query(sql, (since,)):
            message, path = _paused_itself(text), str(self._of.project.path)
            self._unkept.append(Event("project paused", message, path, at=since))

    def look(self) -> None:
        """What is to be done now; costs next to nothing when nothing is."""
        self.delays.release()
        self._keep()
        now = self._clock()
        if now < self._next_look <= now + LOOK_S:  # a clock may be set back
            return
        self._next_look = now + LOOK_S
        self._tell_failures()
        self._see_ends()
        self._see_refused()
        self.placing.ask_new(self._of.pools)
        flying = self._of.flying
        for number in {*self.placing.stranded(flying), *self._of.nearness.left_behind(flying)}:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                flying[number][1].cancel()

    def _see_refused(self) -> None:
        """Tell of pools that get no workers, once for each reason."""
        for pool in self._of.pools:
            why = pool.refused()
            key = pool.name, _NUMBER.sub("#", why)
            if why and key not in self._refused:
                self._refused.add(key)
                message = f"SLURM takes no job of pool {pool.name!r}: {why}; it is asked again"
                self.emit("pool refused", message)

    def end(self) -> None:
        """The run is over; called before the journal is closed."""
        self._tell_failures(all_of_them=True)
        self._see_ends()
        counts = self._counts()
        said = ", ".join(f"{n:,} {state}" for state, n in counts.items()) or "nothing to do"
        self.emit("run ended", f"the run has ended: {said}", counts=counts)
        while self._unkept:  # the disk is full still: what is in the journal's own room is kept
            self._log.keep(self._unkept.popleft())

    def _counts(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for node in self._of.pipeline:
            for state, n in node.units.count().items():
                total[state.label] = total.get(state.label, 0) + n
        return total

    def _complete_now(self) -> list[str]:
        """Stages of which everything that there is is complete."""
        return [
            node.name
            for node in self._of.pipeline
            if node.units.present and node.units.present == node.units.tally[State.COMPLETE]
        ]

    def _see_ends(self) -> None:
        """Tell of stages that are complete now, and of an acquisition that has ended."""
        of = self._of
        is_open = of.settings.open
        if self._was_open and not is_open:
            n = of.pipeline["source"].units.present
            self.emit("acquisition ended", f"the acquisition has ended, with {n:,} tiles")
        self._was_open = is_open
        if is_open:  # more may come: nothing is complete yet
            return
        complete = self._complete_now()
        for name in complete:
            if name not in self._complete:
                n = of.pipeline[name].units.present
                message = f"stage {name!r} is complete: {n:,} units"
                self.emit("stage complete", message, stage=name, counts={"complete": n})
        self._complete = set(complete)

    # ---------------------------------------------------------------- what came back

    def came_back(self, node: "Node", units: np.ndarray, outcome: np.ndarray) -> None:
        """Units came back, and their states have been settled."""
        complete = outcome == COMPLETE
        failed = units[np.isin(outcome, CHARGED)]  # of others nobody is told: they just run again
        if not len(failed):
            self.trials.see(node.name, complete=int(complete.sum()), failed=0)
            return
        self.delays.failed(node, failed)
        for_good = failed[node.units.mark[failed] == State.FAILED]
        self._first_failure(node, failed)
        self.failed_for_good(node, for_good)
        self._judge(node, int(complete.sum()), for_good)

    def failed_for_good(self, node: "Node", units: np.ndarray) -> None:
        """These are not tried again: to be told of, together with others."""
        if len(units):
            self._failures.add(node.name, self._tiles(node, units))

    def _first_failure(self, node: "Node", failed: np.ndarray) -> None:
        if node.name in self._failed_stages:
            return
        self._failed_stages.add(node.name)
        unit = int(failed[0])
        again = "" if node.units.mark[unit] else " (it is tried again)"
        (tile,) = self._tiles(node, failed[:1])
        message = f"stage {node.name!r} failed at {tile}{again}: {self._error(node, unit)}"
        self.emit("first failure", message, stage=node.name, tiles=[tile])

    def _judge(self, node: "Node", complete: int, for_good: np.ndarray) -> None:
        """Let a stage pause itself if too many of its units failed."""
        of, name = self._of, node.name
        complete, failed = self.trials.see(name, complete=complete, failed=len(for_good))
        settings = of.settings
        lost = patience_with(settings.patience, name).is_lost(complete=complete, failed=failed)
        if not lost or not len(for_good) or name in settings.paused_stages:
            return
        error = self._error(node, int(for_good[-1]))
        why = f"{failed:,} of its first {complete + failed:,} units failed, the last with {error}"
        of.use(
            settings.replace(
                paused_stages=tuple(sorted({*settings.paused_stages, name})),
                self_paused={**settings.gave_up, name: why},
            )
        )
        of.pauses_changed()
        message = f"stage {name!r} has paused itself: {why}"
        counts = {"complete": complete, "failed": failed}
        self.emit("stage paused itself", message, stage=name, counts=counts, say=True)

    def _tell_failures(self, *, all_of_them: bool = False) -> None:
        for stage, n, tiles in self._failures.due(all_of_them=all_of_them):
            units = "unit has" if n == 1 else "units have"
            message = f"{n:,} {units} failed in stage {stage!r}"
            node = self._of.pipeline.nodes.get(stage)
            if node is not None:
                bad = np.flatnonzero(node.units.state == State.FAILED)
                message += f", the last with {self._error(node, int(bad[-1]))}" if len(bad) else ""
            self.emit("units failed", message, stage=stage, tiles=tiles, counts={"failed": n})
        for (host, cause), n, _ in self._lost.due(all_of_them=all_of_them):
            workers = "a worker was" if n == 1 else f"{n:,} workers were"
            message = f"{workers} lost on {host}"
            if cause:
                message += (
                    f": SLURM ended the job ({cause}); nothing is charged, what ran is made again"
                )
            self.emit("worker lost", message, host=host, counts={"lost": n})

    def _error(self, node: "Node", unit: int) -> str:
        return self._of.project.last_error(node, unit)

    def _tiles(self, node: "Node", units: np.ndarray) -> list[str]:
        """Names of units; of many, the first ones stand for the others by number only."""
        if node.reduction:
            return ["all tiles"] * len(units)
        return [str(name) for name in node.lattice.names[units].tolist()]

    # ---------------------------------------------------------------- hosts

    def reported(
        self, node: "Node", worker: str, host: str, units: np.ndarray, good: np.ndarray
    ) -> None:
        """A worker has reported on units; for each, whether it is complete."""
        self.placing.learn(worker, host)
        counts = self.placing.counts
        if good.any():
            counts.completed(host, node.id, units[good])
        if not good.all():
            bad = units[~good]
            counts.failed(host, node.id, bad)
            self._failed_on(host, node, bad)

    def worker_lost(self, batch: Batch, error: BaseException) -> int | None:
        """A worker died with what it had begun; its id in the journal, where it is known."""
        address = str(getattr(getattr(error, "last_worker", None), "address", "") or "")
        host = self.placing.host_of(address)
        self._lost.add((host, ""), [address])
        if self.placing.knows(address):  # else it would count for a host of another name
            self.placing.counts.failed(host, batch.node.id, batch.units)
            self._failed_on(host, None, batch.units)
        return self._of.record.worker(address, host) if address else None

    def worker_taken(self, error: BaseException, cause: str) -> None:
        """SLURM has ended the job of a worker with what it had begun: nobody is to blame."""
        address = str(getattr(getattr(error, "last_worker", None), "address", "") or "")
        self._lost.add((self.placing.host_of(address), cause), [address])

    def _failed_on(self, host: str, node: "Node | None", bad: np.ndarray) -> None:
        """Failures on a host that is set aside are not charged; others may show that it is bad."""
        placing = self.placing
        if host in placing.avoided_hosts():
            if node is not None and placing.has_others():
                self._of.change_units(node, "retry", bad)
                self._of.start_afresh([node.name])
            return
        for name, why in placing.outliers().items():
            self.set_aside(name, why)

    def set_aside(self, host: str, why: str) -> None:
        """A host is given no more work, and what failed there is tried again elsewhere."""
        settings = self._of.settings
        aside = {**settings.set_aside, host: (self._clock(), why)}
        self._of.use(settings.replace(set_aside=aside))
        self.hosts_changed(settings)

    def hosts_changed(self, old: Settings) -> None:
        """Hosts were set aside, or taken back, since the settings were these."""
        of, now = self._of, self._of.settings.set_aside
        self.placing.counts.forget(host for host in old.set_aside if host not in now)
        for host, (_, why) in now.items():
            if host in old.set_aside:
                continue
            again = 0
            failed = self.placing.counts.failed_on(host)
            for node in [node for node in of.pipeline if node.id in failed]:
                units = failed[node.id][failed[node.id] < len(node.units)]
                charged = units[node.units.tries[units] > 0]
                of.change_units(node, "retry", charged)
                of.start_afresh([node.name])
                again += len(charged)
            message = f"host {host!r} is set aside: {why}"
            self.emit(
                *("node set aside", message), host=host, counts={"tried again": again}, say=True
            )


def _paused_itself(text: str) -> str:
    return f"the project has paused itself: {text}"
