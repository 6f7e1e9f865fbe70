"""What a change would run again, before it is made: worked out on a copy of the states."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError
from latticework.lattice.offsets import lattice_dim
from latticework.lattice.states import ACTIVE, State
from latticework.project.adding import definition_of, node_from_request
from latticework.project.changing import changed_stage
from latticework.project.ledger import recover
from latticework.project.pipeline import SOURCE, Node, Pipeline
from latticework.project.removing import reparented
from latticework.project.settings import Settings, bounds_of, scope_of
from latticework.project.units import Units
from latticework.stages.stage import Stage, fingerprint

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.folder import ProjectFolder

OPEN = (State.WAITING, State.STALE, State.BLOCKED)


@dataclass(frozen=True, slots=True)
class StageChange:
    """What a change does to one stage."""

    stage: str
    """Its name."""
    again: int
    """Units that are complete now and would be made again because of the change."""
    new: int
    """Units that would be there, or could run, only because of it."""
    gone: int
    """Units that would be out of the project because of it."""
    to_run: int
    """Units that the next run would have to make, all in all."""
    total: int
    """Units that the stage would have; those that are absent do not count."""
    units: np.ndarray
    """Ids of those that would be made again."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change would run again; made by `Project.explain_changes`.

    Iterating gives a `StageChange` for each stage.
    """

    what: str
    """The change, in words."""
    stages: tuple[StageChange, ...]
    """Stage by stage, parents first."""

    def __iter__(self) -> Iterator[StageChange]:
        return iter(self.stages)

    def __getitem__(self, stage: str) -> StageChange:
        for change in self.stages:
            if change.stage == stage:
                return change
        names = ", ".join(change.stage for change in self.stages)
        raise ProjectError(f"there is no stage {stage!r}; there are {names}")

    @property
    def again(self) -> int:
        """Complete units that would be made again, over all stages."""
        return sum(change.again for change in self.stages)

    def table(self) -> "pd.DataFrame":
        """A row for each stage: ``again``, ``new``, ``gone``, ``to_run``, ``total``."""
        import pandas as pd

        columns = ["again", "new", "gone", "to_run", "total"]
        rows = {c.stage: [getattr(c, column) for column in columns] for c in self.stages}
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def __repr__(self) -> str:
        lines = [f"{self.what}: {self.again:,} complete units would run again"]
        width = max((len(change.stage) for change in self.stages), default=0)
        for c in self.stages:
            parts = [f"{c.again:,} of {c.total:,} again"]
            parts += [f"{c.new:,} new"] if c.new else []
            parts += [f"{c.gone:,} gone"] if c.gone else []
            lines.append(f"  {c.stage:<{width}}  {', '.join(parts)}; {c.to_run:,} to run in all")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<b>{escape(self.what)}</b>" + str(self.table().to_html())


def explain(
    project: "ProjectFolder",
    stage: str | None,
    function: Callable[..., Any] | Stage | None,
    change: Mapping[str, Any],
) -> Changes:
    """See `Project.explain_changes`."""
    before = copy_of(project.pipeline)
    before.derive()
    after = copy_of(project.pipeline)
    settings = project.settings
    change = dict(change)
    if stage is not None and change.get("remove"):
        what = f"removing {stage!r}"
        _remove(after, stage, change.get("children"))
    elif stage is not None:
        what = f"changing {stage!r}"
        parents, params = change.pop("after", None), change.pop("params", None) or {}
        request = changed_stage(project, stage, function, parents, params, change)
        node = node_from_request(after, request)
        if node is not None:
            after.add(node)
    elif change:
        what = "changing " + " and ".join(change)
        wanted = _settings(after, settings, change)
        after.follow(wanted, scope_of(after.lattice, wanted))
    else:
        what = "the next run"
        _notice(project, after)
        before = copy_of(project.pipeline)
    after.derive()
    return Changes(what, tuple(_compare(before, after)))


def copy_of(pipeline: Pipeline) -> Pipeline:
    """A pipeline with states of its own, in which nothing is on its way."""
    copy = Pipeline(pipeline.lattice)
    copy.lattices = pipeline.lattices
    copy.scope, copy.skipped = pipeline.scope, pipeline.skipped
    copy.open, copy.over = pipeline.open, pipeline.over
    copy.parameters, copy.extents = pipeline.parameters, pipeline.extents
    for name, node in pipeline.nodes.items():
        twin = Node(**{field: getattr(node, field) for field in Node.__slots__})
        twin.units = node.units.copy()
        twin.edges = list(node.edges)
        active = np.flatnonzero(np.isin(twin.units.state, ACTIVE))
        twin.units.put(active, State.WAITING)
        copy.nodes[name] = twin
    return copy


def _remove(pipeline: Pipeline, stage: str, children: str | None) -> None:
    if children == "remove":
        for name in reversed(pipeline.below(stage)):
            pipeline.remove(name)
    for node in reparented(pipeline, stage):
        pipeline.add(node)
    pipeline.remove(stage)


def _settings(pipeline: Pipeline, settings: Settings, change: Mapping[str, Any]) -> Settings:
    unknown = sorted(set(change) - {"skip", "unskip", "region"})
    if unknown:
        raise ProjectError(
            f"explain_changes({unknown[0]}=...): name a stage first, or give skip=, unskip= or "
            "region= with labels by axis"
        )
    skipped = {dim: list(labels) for dim, labels in settings.skipped.items()}
    for axis, labels in (change.get("skip") or {}).items():
        several = labels if isinstance(labels, list | tuple) else [labels]
        skipped[lattice_dim(axis)] = sorted({*skipped.get(lattice_dim(axis), []), *several})
    for axis, labels in (change.get("unskip") or {}).items():
        several = labels if isinstance(labels, list | tuple) else [labels]
        old = skipped.get(lattice_dim(axis), [])
        skipped[lattice_dim(axis)] = [label for label in old if label not in several]
    region = settings.region
    if "region" in change:
        region = bounds_of(pipeline.lattice, change["region"] or {})
    kept = {dim: tuple(labels) for dim, labels in skipped.items() if labels}
    return settings.replace(skipped=kept, region=region)


def _notice(project: "ProjectFolder", pipeline: Pipeline) -> None:
    """What the next run would notice: code that was edited, files that were replaced."""
    for node in list(pipeline):
        recover(node)
        if node.stage is None:
            continue
        values = definition_of(node.stage, node.parents)
        node.definition, node.fingerprint = values, fingerprint(values)
    source = project.lattice.source
    if source is not None and hasattr(source, "refreshed"):
        stamps = np.asarray(source.refreshed().fingerprints(), "u8")
        pipeline[SOURCE].source_stamps = stamps


def _compare(before: Pipeline, after: Pipeline) -> Iterator[StageChange]:
    for node in after:
        old = before.nodes.get(node.name)
        then = old.units if old is not None and old.key == node.key else Units.waiting(0)
        n = len(node.units)
        was = np.full(n, State.ABSENT, dtype=np.uint8)
        was[: min(len(then), n)] = then.state[:n]
        now = node.units.state
        done = was == State.COMPLETE
        again = done & np.isin(now, OPEN)
        yield StageChange(
            node.name,
            again=int(np.count_nonzero(again)),
            new=int(np.count_nonzero((was == State.ABSENT) & (now != State.ABSENT))),
            gone=int(np.count_nonzero((was != State.ABSENT) & (now == State.ABSENT))),
            to_run=int(np.count_nonzero(np.isin(now, OPEN))),
            total=int(np.count_nonzero(now != State.ABSENT)),
            units=np.flatnonzero(again),
        )
