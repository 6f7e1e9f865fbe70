"""Questions that pages ask of a project, and what users have it do, in threads of their own.

Pages are served by one event loop, often the scheduler's: nothing may block it. Whatever needs the
journal, the pipeline or pixels is a function of a `Project`, and is called in a thread that has a
`Project` of its own. One thread answers questions; another one asks for changes, which may take as
long as whoever runs the project lets it wait.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from latticework.errors import LatticeworkError
from latticework.project.pipeline import Pipeline
from latticework.project.project import Project
from latticework.viz.dashboard.which_project import Which, which_project

Answer = TypeVar("Answer")
FRESH_S = 1.0
"""Seconds for which the states that questions are answered from are good, at least."""


class LookedAt(Project):
    """A project whose states are not derived anew at every look, however much goes on in it.

    Parameters
    ----------
    path
        Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.which: Which = which_project(path)
        """Which project it is: another one may take its place."""
        super().__init__(path)
        self._good_until = 0.0

    @property
    def pipeline(self) -> Pipeline:
        """Stages and the states of their units, as of a moment ago."""
        begun = time.monotonic()
        if self._pipeline is not None and begun < self._good_until:
            return self._pipeline
        pipeline = super().pipeline
        now = time.monotonic()
        self._good_until = now + max(FRESH_S, 10 * (now - begun))
        return pipeline

    def renew(self) -> None:
        """Look again at the next question: something was changed."""
        self._good_until = 0.0


class Questions:
    """Has functions of a project called in threads, for an event loop that awaits the answers.

    Parameters
    ----------
    path
        Folder of the project.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from latticework import Lattice, create
    >>> tiles = Lattice.from_array(np.ones((8, 8), "u1"), block={"y": 4, "x": 4})
    >>> project = create(tempfile.mkdtemp() + "/tiny.lw", tiles)
    >>> _ = project.add(np.negative)
    >>> questions = Questions(project.path)
    >>> asyncio.run(questions.ask(lambda project: project.why("negative", y=0, x=1)))
    'ready to run: nothing runs this project now'
    >>> questions.close()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()
        self._changes = 0
        self._closed = False
        self._ask = ThreadPoolExecutor(1, thread_name_prefix="latticework-questions")
        self._change = ThreadPoolExecutor(1, thread_name_prefix="latticework-changes")

    async def ask(self, question: Callable[[Project], Answer], *, fresh: bool = False) -> Answer:
        """What a function says of the project; it must change nothing.

        Parameters
        ----------
        question
            The function.
        fresh
            Whether states of a moment ago will not do.
        """
        if fresh:
            self._changes += 1
        return await self._asked(self._ask, question)

    async def change(self, action: Callable[[Project], Answer]) -> Answer:
        """Have a function change the project; what it returns."""
        try:
            return await self._asked(self._change, action)
        finally:
            self._changes += 1

    async def _asked(
        self, thread: ThreadPoolExecutor, function: Callable[[Project], Answer]
    ) -> Answer:
        if self._closed:
            raise LatticeworkError(f"the pages of {self.path} are closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(thread, self._answer, function)

    def _answer(self, function: Callable[[Project], Answer]) -> Answer:
        if self._closed:
            raise LatticeworkError(f"the pages of {self.path} are closed")
        project: LookedAt | None = getattr(self._own, "project", None)
        if project is not None and project.which != which_project(self.path):
            self._let_go()
            project = None
        if project is None:
            project = self._own.project = LookedAt(self.path)
            self._own.changes = self._changes
        if self._own.changes != self._changes:
            self._own.changes = self._changes
            project.renew()
        return function(project)

    def _let_go(self) -> None:
        """Close the files of this thread's project."""
        project: LookedAt | None = getattr(self._own, "project", None)
        self._own.project = None
        if project is not None:
            project.let_go()

    def close(self) -> None:
        """Answer no more; what is being answered is not waited for."""
        if not self._closed:
            self._closed = True
            for thread in (self._ask, self._change):
                thread.submit(self._let_go)
                thread.shutdown(wait=False)
