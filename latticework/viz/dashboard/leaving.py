"""When a tab is closed its tasks end, and its document goes without a full collection of garbage.

Bokeh collects garbage, all of it, whenever a session ends: for some tenths of a second in a process
with many objects, such as a scheduler, in which nothing else happens. What a session leaves is
found by the next ordinary collection as well.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document


class PageHandler(FunctionHandler):  # type: ignore[misc]  # Bokeh is Any to the checker
    """Fills new documents, and is told when their sessions end.

    Parameters
    ----------
    fill
        Fills a document; returns what to call when its session has ended.
    """

    def __init__(self, fill: Callable[[Document], Callable[[], None]]) -> None:
        self._leave: dict[str, Callable[[], None]] = {}

        def open_document(document: Document) -> None:
            leave = fill(document)
            context = document.session_context
            if context is not None:
                self._leave[context.id] = leave
                _destroy_quickly(document)

        super().__init__(open_document)

    async def on_session_destroyed(self, session_context: Any) -> None:
        """A session has ended: Bokeh calls this."""
        leave = self._leave.pop(session_context.id, None)
        if leave is not None:
            leave()


def _destroy_quickly(document: Document) -> None:
    """Have a document destroyed without a full collection of garbage."""
    destroy = document.destroy

    def quickly(session: Any) -> None:
        with nothing_to_collect():
            destroy(session)

    document.destroy = quickly


@contextlib.contextmanager
def nothing_to_collect() -> Iterator[None]:
    """Make ``gc.collect()`` find nothing to look at, but for what is made inside.

    Examples
    --------
    >>> with nothing_to_collect():
    ...     gc.get_freeze_count() > 0
    True
    >>> gc.get_freeze_count()
    0
    """
    if gc.get_freeze_count():  # somebody has frozen objects for good: leave it so
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
