"""What a project tells by itself, and how it deals with stages and hosts that fail too much."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from latticework.project.events import Event
from latticework.project.folder import ProjectFolder
from latticework.project.hooks import Hook

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.moments import Moment


class Alerting(ProjectFolder):
    """The part of `Project` that calls for help."""

    # ---------------------------------------------------------------- events

    def on(self, kinds: str | Iterable[str] | None, function: Callable[[Event], object]) -> None:
        """Call a function when something happens while this object runs the project.

        It is called once for each event, in a thread of its own: a function that raises, or does
        not return, harms neither the run nor other functions. What it raises is logged once. At the
        end of a run, functions that are still busy are given a few seconds.

        Parameters
        ----------
        kinds
            Kinds of events (`latticework.project.events.KINDS`), one or several; all if None.
        function
            Takes an `Event`. Ready ones: `latticework.email` and `latticework.webhook`.

        Raises
        ------
        ProjectError
            If there is no such event, or the function cannot be called.

        Examples
        --------
        ``project.on("stage complete", lambda event: print(event.message))``
        """
        chosen = [kinds] if isinstance(kinds, str) else kinds
        self.hooks.add(Hook(function, chosen))

    def off(self, function: Callable[[Event], object]) -> int:
        """Do not call a function any more; how often it had been given to `on`."""
        return self.hooks.remove(function)

    def events(
        self,
        kind: str | None = None,
        *,
        stage: str | None = None,
        since: "Moment | None" = None,
        limit: int | None = None,
    ) -> "pd.DataFrame":
        """What has happened, as a table; the journal keeps the last 10,000 events.

        Parameters
        ----------
        kind
            Only events of this kind, such as ``"node set aside"``.
        stage
            Only those about this stage.
        since
            From this time on: a `datetime`, a text, or how long ago.
        limit
            The last so many.

        Returns
        -------
        pandas.DataFrame
            ``time`` (UTC), ``event``, ``stage``, ``tiles`` (names of the first ones), ``host``,
            ``message`` and ``counts``, a row for each event in their order.
        """
        from latticework.project.events import events_table

        return events_table(self, kind, stage=stage, since=since, limit=limit)

    # ---------------------------------------------------------------- stages

    def set_patience(self, *stages: str, after: int | None = 10, share: float = 0.5) -> None:
        """How many of the first units of a stage may fail before it pauses itself.

        Parameters
        ----------
        *stages
            Names of stages; all, also those that have something of their own, if none is named.
        after
            Units that must have come to an end first; None: it never pauses itself.
        share
            It pauses itself when more than this share of them have failed.

        Notes
        -----
        A stage that has paused itself goes on with `resume`, with `retry` of its failed units, or
        when its code or parameters are changed; its count begins anew then.
        """
        asked = {"stages": list(stages) or None, "after": after, "share": share}
        self.ask("patience", asked)

    # ---------------------------------------------------------------- hosts

    def nodes(self) -> "pd.DataFrame":
        """The hosts (nodes of a cluster) on which work was done, and how it went there.

        Returns
        -------
        pandas.DataFrame
            By ``host``: ``attempts``, ``failed``, one column for each kind of failure that there
            was (``exception``, ``worker lost``, ...), ``set_aside`` (since when, UTC) and ``why``.
        """
        from latticework.project.node_table import nodes_table

        return nodes_table(self)

    def set_aside(self, host: str, why: str = "a user said so") -> None:
        """Give a host no more work; what had failed there in this run is tried again elsewhere.

        A run does this by itself with a host that fails much more than the others. Where no worker
        is left on another host, the host is used all the same.

        Parameters
        ----------
        host
            Its name, as in `nodes`.
        why
            A reason, for those who look later.
        """
        self.ask("set aside", {"host": host, "why": why})

    def take_back(self, host: str) -> None:
        """Give a host that was set aside work again; it is judged anew.

        Raises
        ------
        ProjectError
            If it is not set aside.
        """
        self.ask("take back", {"host": host})
