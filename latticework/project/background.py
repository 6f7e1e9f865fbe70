"""A run in the background: the notebook stays free, and the run can be steered from it."""

import atexit
import contextvars
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from latticework.errors import ProjectError
from latticework.project.running import Going, run_project

if TYPE_CHECKING:
    from latticework.project.coordinator import Coordinator
    from latticework.project.feeding import Feed
    from latticework.project.project import Project
    from latticework.project.summary import RunSummary


LINK_S = 10.0
"""Seconds that `Run.dashboard_link` waits for the pages of a run that has just begun, at most."""


class Run:
    """A run that goes on in a thread of this process; made by `Project.start`.

    It ends when nothing is left to do (or, with ``wait=True``, when it is stopped), or with the
    process. `stop` ends it earlier, and returns when it has ended. Steer it with the project's
    methods: `Project.pause`, `Project.add` and so on.
    """

    def __init__(
        self,
        project: "Project",
        where: Any,
        *,
        stages: Iterable[str] | None,
        progress: Any,
        stay: bool,
        feed: "Feed | None",
    ) -> None:
        self._project = project
        self._begun = threading.Event()
        self._coordinator: Coordinator | None = None
        self._summary: RunSummary | None = None
        self._error: BaseException | None = None
        going = Going(stay=stay, feed=feed, begun=self._on_begun)

        def work() -> None:
            try:
                self._summary = run_project(
                    project, where, stages=stages, progress=progress, going=going
                )
            except BaseException as error:
                self._error = error
            finally:
                self._begun.set()

        _end_with_the_process(self)
        # With the context of the caller: what a notebook shows for this run, it shows in the cell
        # that started it, whichever cell is at work meanwhile.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(work,), name="latticework-run", daemon=True
        )
        self._thread.start()
        self._begun.wait()
        if self._error is not None and not self._thread.is_alive():
            raise self._error

    def _on_begun(self, coordinator: "Coordinator") -> None:
        self._coordinator = coordinator
        self._begun.set()

    @property
    def running(self) -> bool:
        """Whether it still goes on."""
        return self._thread.is_alive()

    @property
    def dashboard_link(self) -> str | None:
        """Address of the project's pages on the Dask dashboard of this run, while it goes on.

        None where there is no dashboard. The pages of a run that has just begun are waited for,
        `LINK_S` seconds at most.
        """
        pages = self._project.page_links if self.running else None
        if pages is not None:
            pages.settled.wait(LINK_S)
        return self._link()

    def _link(self) -> str | None:
        """The address, if it is known by now."""
        pages = self._project.page_links if self.running else None
        return pages.links[0] if pages is not None and pages.links else None

    def stop(self, *, wait: bool = True) -> None:
        """End it in good order: send nothing more, and let what is out be finished.

        Parameters
        ----------
        wait
            Whether to return when that is so, and `running` is False. An interrupt (Ctrl-C, or a
            notebook's button) ends the waiting, not the stopping. The run itself, and functions
            that it calls (`Project.on`), do not wait for their own end.
        """
        if self._coordinator is not None:
            self._coordinator.stop()
        if wait and not self._is_here():
            self._thread.join()

    def _is_here(self) -> bool:
        """Whether the calling thread is one that the run's end waits for."""
        return threading.current_thread() is self._thread or self._project.hooks.call_here()

    def end_soon(self) -> None:
        """Stop, and do not wait for long; what is out is done again in the next run."""
        coordinator = self._coordinator
        if coordinator is not None and self.running:
            coordinator.stop()
            coordinator.drop(after=GRACE_S)
            self._thread.join(2 * GRACE_S)

    def wait(self, timeout: float | None = None) -> "RunSummary":
        """Wait for its end; its summary.

        Raises
        ------
        ProjectError
            If it has not ended after `timeout` seconds; the run's own error, if it had one.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise ProjectError(
                f"the run of {self._project.path} still goes on after {timeout:g} s: wait longer, "
                "or stop() it"
            )
        if self._error is not None:
            raise self._error
        assert self._summary is not None
        return self._summary

    def __repr__(self) -> str:
        if self.running:
            link = self._link()
            where = f"; dashboard: {link}" if link else ""
            return f"<Run of {self._project.path}: going on{where}>"
        ended = self._error if self._summary is None else self._summary  # of failures, it is false
        return f"<Run of {self._project.path}: {ended!r}>"

    def _repr_html_(self) -> str:
        from latticework.viz.project_html import run_html

        if self._summary is not None and not self.running:
            return self._summary._repr_html_()
        return run_html(self._project, None if self.running else self._error)


GRACE_S = 5.0
"""Seconds that the end of the process gives to what is out."""
_runs: "weakref.WeakSet[Run]" = weakref.WeakSet()


def _end_with_the_process(run: Run) -> None:
    """Stop a run in good order when the process ends, while threads can still be started."""
    if not _runs:
        register = getattr(threading, "_register_atexit", atexit.register)
        register(_stop_all)
    _runs.add(run)


def _stop_all() -> None:
    for run in list(_runs):
        run.end_soon()
