"""The project's pages on the Dask dashboard of a run, by default; see `latticework.viz.dashboard`.

Dask's configuration ``latticework.dashboard.pages`` set to False, or
``DASK_LATTICEWORK__DASHBOARD__PAGES=False``, leaves them out.
"""

import contextlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import dask

if TYPE_CHECKING:
    from latticework.project.pools import Pool


class PageLinks:
    """Puts pages on the schedulers of a run, in a thread: the run does not wait for them.

    Parameters
    ----------
    project
        Folder of the project.
    pools
        Pools of the run.
    """

    def __init__(self, project: Path, pools: "Iterable[Pool]") -> None:
        self.links: tuple[str, ...] = ()
        """Addresses of the first page, one for each scheduler that has them."""
        self.settled = threading.Event()
        """Set when there are no more to come."""
        self._told = 0
        if not dask.config.get("latticework.dashboard.pages", True):
            self.settled.set()
            return
        clients = list({id(pool.client): pool.client for pool in pools}.values())

        def work() -> None:
            from latticework.viz.dashboard.serving import show_on

            for client in clients:
                with contextlib.suppress(Exception):  # the run has ended meanwhile
                    link = show_on(client, project)
                    if link and link not in self.links:
                        self.links = (*self.links, link)
            self.settled.set()

        threading.Thread(target=work, name="latticework-page-links", daemon=True).start()

    def news(self) -> tuple[str, ...]:
        """Addresses that have not been told yet, once."""
        new = self.links[self._told :]
        self._told += len(new)
        return new
