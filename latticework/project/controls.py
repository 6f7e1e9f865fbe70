"""Steering a project, while it runs and when it does not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latticework.errors import ProjectError
from latticework.project.folder import ProjectFolder
from latticework.project.selecting import check_labels
from latticework.project.settings import bounds_of

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.changes import Changes
    from latticework.project.pipeline import Node
    from latticework.stages.stage import Stage

Names = str | Iterable[str]


class Controls(ProjectFolder):
    """The part of `Project` that steers.

    Every method works whether the project runs or not: if it does, in this process or another
    one, also on another host, the run does it at once; else it is done here. It is durable when
    the method returns.
    """

    # ---------------------------------------------------------------- pausing

    def pause(self, *stages: str) -> None:
        """Send no more units of some stages, or of the whole project if none is named.

        What runs is finished; what waits goes on queueing. `run` waits for what is paused while
        it runs, until it is resumed; what was paused before it began does not hold it.
        """
        self.ask("pause", {"stages": list(stages) or None})

    def resume(self, *stages: str) -> None:
        """Go on with some stages, or with the project if none is named.

        Stages that were paused by themselves stay so when the project is resumed.
        """
        self.ask("resume", {"stages": list(stages) or None})

    # ---------------------------------------------------------------- units

    def retry(
        self,
        stage: Names | None = None,
        id: int | str | None = None,
        /,
        *,
        failed: bool = True,
        states: Names | None = None,
        **labels: Any,
    ) -> int:
        """Let failed and cancelled units run again.

        Parameters
        ----------
        stage
            Name of the stage, or several; all stages if not given.
        id, **labels
            Only this tile (its id or name), or only those with these labels: one, a list, or a
            slice, both ends included (``z=slice(2, 4)``).
        failed
            False: complete ones too, which makes them run again, and then everything that read
            them.
        states
            Which states are meant instead, such as ``"cancelled"`` or ``["complete", "stale"]``.

        Returns
        -------
        int
            Units that will run again.

        Raises
        ------
        TileNotFoundError
            If there are no such labels, with those that there are.
        """
        if states is None:
            states = ["failed", "cancelled"] + ([] if failed else ["complete", "stale"])
        wanted = [states] if isinstance(states, str) else list(states)
        return int(self.ask("retry", {**self._meant(stage, id, labels), "states": wanted}))

    def cancel(
        self, stage: Names | None = None, id: int | str | None = None, /, **labels: Any
    ) -> int:
        """Cancel units that wait or run; programs that run for them are ended.

        They stay cancelled until `retry`. Parameters as for `retry`.

        Returns
        -------
        int
            Units that were cancelled.
        """
        return int(self.ask("cancel", self._meant(stage, id, labels)))

    def verify(
        self, stage: Names | None = None, *, thorough: bool = False, mark: bool = True
    ) -> "pd.DataFrame":
        """See whether everything that complete units have made is still there, and whole.

        What is damaged is stale from then on: the next run, or the one that goes on, makes it
        again, and then what read it. No file is touched here.

        Parameters
        ----------
        stage
            Name of the stage, or several; all stages if not given.
        thorough
            Whether everything is also read and decoded, not only looked at: checksums are
            compared where there are some. This takes as long as reading all of it.
        mark
            False: only tell.

        Returns
        -------
        pandas.DataFrame
            A row for each unit whose output is damaged: ``stage``, ``unit``, ``tile``, ``file``,
            ``problem``, and ``waits`` for damage that was found before: it waits to be made again.
        """
        from latticework.project.verifying import verify

        names = [stage] if isinstance(stage, str) else stage
        return verify(self, names, thorough=thorough, mark=mark)

    def _meant(
        self, stage: Names | None, id: int | str | None, labels: Mapping[str, Any]
    ) -> dict[str, Any]:
        names = [stage] if isinstance(stage, str) else stage
        meant: dict[str, Any] = {"stages": None if names is None else list(names)}
        if id is not None:
            lattice = self.pipeline[meant["stages"][0]].lattice if names else self.lattice
            meant["unit"] = self._tile_id(id, lattice)
            if names is None:  # a tile: not units of the same number that are no tiles
                meant["stages"] = [n.name for n in self.pipeline if n.key == "tiles"]
        elif labels:
            meant["bounds"] = bounds_of(self._lattice_of(labels), labels)
            named = [] if names is None else [self.pipeline[name] for name in meant["stages"]]
            check_labels((node.lattice for node in named or self.pipeline), labels)
            if named and not any(set(meant["bounds"]) <= set(node.lattice.dims) for node in named):
                raise ProjectError(_without_axes(named[0], meant["bounds"]))
        return meant

    def _lattice_of(self, labels: Mapping[str, Any]) -> Any:
        """The first lattice that has these axes, for the message the project's if none has."""
        from latticework.lattice.offsets import lattice_dim

        dims = {lattice_dim(axis) for axis in labels}
        lattices = [self.lattice, *(node.lattice for node in self.pipeline)]
        return next((found for found in lattices if dims <= set(found.dims)), self.lattice)

    # ---------------------------------------------------------------- stages

    def change(
        self,
        stage: str,
        function: "Callable[..., Any] | Stage | None" = None,
        /,
        *,
        after: Any = None,
        params: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Change a stage: its callable, parents, parameters or options.

        What it had made is stale, as is what was made from that; everything else stays.

        Parameters
        ----------
        stage
            Its name.
        function
            Another callable.
        after
            Other parents.
        params, **options
            Parameters of the callable, which replace those of the same names, and options of
            `Project.add`.

        Examples
        --------
        ``project.change("clean", size=7)``; ``project.change("spots", after="sharp")``
        """
        from latticework.project.changing import changed_stage, to_be_asked

        request = changed_stage(self, stage, function, after, params or {}, options)
        self.ask("add", to_be_asked(self, request))

    def remove(
        self, stage: str, /, *, children: str | None = None, outputs: bool = False
    ) -> dict[str, str | None]:
        """Remove a stage; its attempts stay in the history.

        Parameters
        ----------
        stage
            Its name.
        children
            What becomes of the stages that read it: ``"reparent"`` lets them read its parents
            instead, ``"remove"`` removes them too.
        outputs
            Whether what it made is deleted; else it is kept in the project's folder ``removed``.

        Returns
        -------
        dict
            For each stage that was removed, where its outputs are now; None where they are gone.

        Raises
        ------
        ProjectError
            If other stages read it and `children` is not given.
        """
        asked = {"stage": stage, "children": children, "outputs": outputs}
        return dict(self.ask("remove", asked))

    def explain_changes(
        self,
        stage: str | None = None,
        function: "Callable[..., Any] | Stage | None" = None,
        /,
        **change: Any,
    ) -> "Changes":
        """What would run again after a change, before it is made.

        Parameters
        ----------
        stage, function, **change
            As for `change`, or for `remove` with ``remove=True``; ``skip=``, ``unskip=`` and
            ``region=`` (mappings of axis to labels) instead of a stage. Without anything: what
            the next run does, also because code or files have changed.

        Returns
        -------
        Changes
            A table: for each stage, units that run again, run for the first time, or go.
        """
        from latticework.project.changes import explain

        return explain(self, stage, function, change)

    # ---------------------------------------------------------------- which tiles, in which order

    def skip(self, **planes: Any) -> None:
        """Skip planes: ``project.skip(z=[3, 4])``; neighbours step over them."""
        self.ask("skip", {"planes": _lists(planes)})

    def unskip(self, **planes: Any) -> None:
        """Skip planes no more; ``z=None`` means all that are skipped along z, nothing means all."""
        self.ask("unskip", {"planes": _lists(planes)})

    def choose_region(self, **labels: Any) -> int:
        """Let only these tiles take part, as if there were no others; all again without labels.

        Parameters
        ----------
        **labels
            By axis: a slice (both ends included), a label, or several.

        Returns
        -------
        int
            Tiles that take part.
        """
        return int(self.ask("region", {"bounds": bounds_of(self.lattice, labels)}))

    def prioritise(
        self,
        *,
        order: str = "acquisition",
        axis: str | None = None,
        preview: int | None = None,
        **region: Any,
    ) -> None:
        """Which units go first, within each stage; deeper stages always go before others.

        Parameters
        ----------
        order
            ``"acquisition"``: as tiles were taken; ``"planes"``: plane by plane along `axis`.
        axis
            Axis of the planes, such as ``"z"``.
        preview
            Every so many tiles one before all others, for a quick first look.
        **region
            Tiles with these labels before all others.
        """
        from latticework.lattice.offsets import lattice_dim

        asked = {
            "order": order,
            "axis": lattice_dim(axis) if axis is not None else None,
            "preview": preview,
            "region": bounds_of(self.lattice, region),
        }
        self.ask("prioritise", asked)

    def set_parameters(self, **values: Any) -> dict[str, Any]:
        """Set the project's own parameters, which commands can use; None removes one."""
        return dict(self.ask("parameters", {"values": values}))

    def set_previews(self, projection: str = "max") -> None:
        """How workers make small pictures of what they make, for stages that do not say themselves.

        Parameters
        ----------
        projection
            What lies along z is seen by its ``"max"`` or its ``"mean"``. ``"none"``: workers make
            none; those that somebody wants to see are made then.
        """
        self.ask("previews", {"projection": projection})

    # ---------------------------------------------------------------- the acquisition

    def end_acquisition(self) -> None:
        """No more tiles will come: units that wait for missing neighbours run without them."""
        self.ask("end acquisition", {})

    def withdraw(self, id: int | str | None = None, /, **labels: Any) -> int:
        """Tiles leave the project, as if they had not been acquired; how many."""
        return int(self.ask("withdraw", self._tiles_meant(id, labels)))

    def reinstate(self, id: int | str | None = None, /, **labels: Any) -> int:
        """Tiles that were withdrawn come back; how many."""
        return int(self.ask("reinstate", self._tiles_meant(id, labels)))

    def _tiles_meant(self, id: int | str | None, labels: Mapping[str, Any]) -> dict[str, Any]:
        if id is None and not labels:
            raise ProjectError("say which tiles: an id, a name, or labels as in z=3")
        meant = self._meant(None, id, labels)
        return {key: value for key, value in meant.items() if key != "stages"}

    def stop(self) -> None:
        """End the run, in whichever process it is, when what is out has come back."""
        self.ask("stop", {})


def _without_axes(node: "Node", axes: Iterable[str]) -> str:
    """The message for labels of axes that a stage's units do not have."""
    own = node.lattice.dims
    what = f"its units have {', '.join(own)}" if own else "it has one unit for all tiles"
    missing = ", ".join(axis for axis in axes if axis not in own)
    return f"stage {node.name!r} has no axis {missing}: {what}; leave that label out"


def _lists(planes: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    found: dict[str, Sequence[Any]] = {}
    for axis, labels in planes.items():
        if labels is None:
            found[axis] = []
        elif isinstance(labels, str) or not hasattr(labels, "__iter__"):
            found[axis] = [labels]
        else:
            found[axis] = [getattr(label, "item", lambda label=label: label)() for label in labels]
    return found
