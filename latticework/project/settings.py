"""What users have set while a project lives: pauses, skipped planes, a region, priorities."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from latticework.errors import ProjectError
from latticework.lattice.lattice import Lattice
from latticework.lattice.offsets import lattice_dim

KEY = "settings"
"""Under which the journal keeps them."""
ORDERS = ("acquisition", "planes")


@dataclass(frozen=True, slots=True)
class Priority:
    """Which units go first."""

    order: str = "acquisition"
    """``"acquisition"``: as tiles were taken; ``"planes"``: plane by plane."""
    axis: str | None = None
    """Lattice dim of the planes."""
    preview: int | None = None
    """Every n-th tile before the others."""
    region: Mapping[str, Any] = field(default_factory=dict)
    """Tiles with these labels before the others, by lattice dim."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Durable settings of a project; changed by `replace`, kept as JSON in the journal.

    Examples
    --------
    >>> settings = Settings(paused_stages=("spots",))
    >>> Settings.from_json(settings.to_json()) == settings
    True
    >>> settings.holds("spots"), settings.holds("clean")
    (True, False)
    """

    paused: bool = False
    """Whether the whole project is paused."""
    paused_stages: tuple[str, ...] = ()
    """Stages that are paused, each by itself: a project's resume leaves them so."""
    skipped: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Labels of skipped planes, by lattice dim."""
    region: Mapping[str, Any] = field(default_factory=dict)
    """Bounds by lattice dim: (first, last) labels, both included, or a list of labels."""
    priority: Priority = field(default_factory=Priority)
    """Which units go first."""
    live: bool = False
    """Whether tiles may be added: then they are stored by their ids."""
    ended: bool = True
    """Whether the acquisition has ended: nothing waits for tiles that are not there."""
    extents: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """First and last label along lattice dims, where it is known how far the acquisition goes."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The project's own parameters, for commands."""
    self_paused: Mapping[str, str] = field(default_factory=dict)
    """Why stages among `paused_stages` have paused themselves."""
    patience: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """How many units may fail before a stage does: `latticework.project.patience`."""
    set_aside: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    """Hosts that are given no work: since when (seconds since 1970), and why."""
    previews: str = "max"
    """How workers make previews of stages that do not say: ``"max"``, ``"mean"``, ``"none"``."""

    def holds(self, stage: str) -> bool:
        """Whether units of a stage are held back."""
        return self.paused or stage in self.paused_stages

    @property
    def gave_up(self) -> dict[str, str]:
        """Stages that have paused themselves, and why."""
        return {name: why for name, why in self.self_paused.items() if name in self.paused_stages}

    @property
    def open(self) -> bool:
        """Whether more tiles may come."""
        return self.live and not self.ended

    @property
    def over(self) -> bool:
        """Whether tiles came for a while, and no more will."""
        return self.live and self.ended

    @property
    def deciding(self) -> tuple[Any, ...]:
        """What decides about states of units, and not just about when they run."""
        return self.skipped, self.region, self.open, self.over, self.extents, self.parameters

    def replace(self, **changes: Any) -> "Settings":
        """The settings with some changed."""
        return replace(self, **changes)

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """From `to_json`; the usual ones for None."""
        if text is None:
            return cls()
        values = json.loads(text)
        values["paused_stages"] = tuple(values["paused_stages"])
        values["skipped"] = {dim: tuple(labels) for dim, labels in values["skipped"].items()}
        values["extents"] = {dim: tuple(ends) for dim, ends in values.get("extents", {}).items()}
        values["patience"] = {n: tuple(got) for n, got in values.get("patience", {}).items()}
        values["set_aside"] = {n: tuple(got) for n, got in values.get("set_aside", {}).items()}
        values["region"] = {dim: _bounds(given) for dim, given in values["region"].items()}
        values["priority"] = Priority(
            **{
                **values["priority"],
                "region": {
                    dim: _bounds(given) for dim, given in values["priority"]["region"].items()
                },
            }
        )
        return cls(**values)


def _bounds(given: Any) -> Any:
    return {key: tuple(value) for key, value in given.items()}


def bounds_of(lattice: Lattice, labels: Mapping[str, Any]) -> dict[str, Any]:
    """A region as it is kept: ``{"tile_z": {"within": (1, 2)}}`` or ``{"among": (1, 4)}``.

    Parameters
    ----------
    lattice
        The lattice.
    labels
        By axis: a slice of labels (both ends included, None for open), one label, or several.

    Raises
    ------
    ProjectError
        If an axis is not of the lattice, or a label cannot be one of that axis.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> bounds_of(lattice, {"y": slice(1, None), "x": 0})
    {'tile_y': {'within': (1, None)}, 'tile_x': {'among': (0,)}}
    """
    found: dict[str, Any] = {}
    for axis, given in labels.items():
        dim = lattice_dim(axis)
        if dim not in lattice.dims:
            raise ProjectError(
                f"there is no lattice axis {axis!r}; there are {', '.join(lattice.dims)}"
            )
        if isinstance(given, slice):
            if given.step is not None:
                raise ProjectError(f"{axis}={given}: a range of labels has no step")
            found[dim] = {"within": (_plain(given.start), _plain(given.stop))}
        elif isinstance(given, str) or np.ndim(given) == 0:
            found[dim] = {"among": (_plain(given),)}
        else:
            found[dim] = {"among": tuple(_plain(label) for label in given)}
    check_region(lattice, found)
    return found


def check_region(lattice: Lattice, region: Mapping[str, Any]) -> None:
    """Refuse a region with labels that the axes of a lattice cannot have, now or later.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> check_region(lattice, {"tile_y": {"within": ("b", None)}})
    Traceback (most recent call last):
    ...
    latticework.errors.ProjectError: 'b' is no label along tile_y: those are numbers, such as 0
    """
    for dim, bounds in region.items():
        if dim not in lattice.dims:
            continue
        labels = lattice.labels[dim]
        numbers = labels.dtype.kind in "iufb"
        for label in (*bounds.get("among", ()), *bounds.get("within", ())):
            if label is None and "within" in bounds:
                continue
            number = isinstance(label, int | float) and not math.isnan(label)
            if not (number if numbers else isinstance(label, str)):
                such = f", such as {labels.tolist()[0]!r}" if len(labels) else ""
                raise ProjectError(
                    f"{label!r} is no label along {dim}: those are "
                    f"{'numbers' if numbers else 'texts'}{such}"
                )


def check_settings(lattice: Lattice, settings: Settings) -> None:
    """Refuse settings that a project with this lattice could not live with.

    Raises
    ------
    ProjectError
        Saying what is wrong.
    """
    check_region(lattice, settings.region)
    check_region(lattice, settings.priority.region)
    check_region(lattice, {dim: {"among": got} for dim, got in settings.skipped.items()})
    preview = settings.priority.preview
    number = isinstance(preview, int) and not isinstance(preview, bool)
    if preview is not None and not (number and 1 <= preview < 2**31):
        raise ProjectError(f"preview={preview!r}: give a number of tiles, such as 10, or None")
    try:
        settings.to_json().encode()
        json.dumps(settings.parameters, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise ProjectError(
            f"these settings cannot be kept: {error}; give plain numbers, texts and lists"
        ) from error


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def inside(lattice: Lattice, region: Mapping[str, Any]) -> np.ndarray:
    """For each tile, whether it lies in a region of `bounds_of`."""
    found = np.ones(len(lattice), dtype=bool)
    for dim, bounds in region.items():
        if dim not in lattice.dims:
            continue
        labels = lattice.labels[dim]
        good = np.ones(len(labels), dtype=bool)
        if "among" in bounds:
            good &= np.isin(labels, list(bounds["among"]))
        else:
            first, last = bounds["within"]
            good &= True if first is None else labels >= first
            good &= True if last is None else labels <= last
        found &= good[lattice.index[:, lattice.dims.index(dim)]]
    return found


def scope_of(lattice: Lattice, settings: Settings) -> np.ndarray | None:
    """For each tile, whether it takes part; None if all do."""
    if not settings.region and not settings.skipped:
        return None
    taking_part = inside(lattice, settings.region)
    for dim, labels in settings.skipped.items():
        if dim in lattice.dims:
            taking_part &= ~inside(lattice, {dim: {"among": labels}})
    return taking_part


def ranks_of(lattice: Lattice, priority: Priority) -> np.ndarray | None:
    """For each unit a number, smaller for what goes first; None for the order of ids.

    Examples
    --------
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> ranks_of(lattice, Priority(preview=2)).tolist()
    [0, 2, 1, 3]
    >>> ranks_of(lattice, Priority(region=bounds_of(lattice, {"y": 1}))).tolist()
    [2, 3, 0, 1]
    """
    if priority == Priority():
        return None
    n = len(lattice)
    keys = [np.arange(n)]
    if priority.order == "planes" and priority.axis in lattice.dims:
        keys.append(lattice.index[:, lattice.dims.index(priority.axis)])
    if priority.preview:
        keys.append(np.arange(n) % priority.preview != 0)
    if priority.region and lattice.dims:
        keys.append(~inside(lattice, priority.region))
    rank = np.empty(n, dtype=np.int64)
    rank[np.lexsort(keys)] = np.arange(n)
    return rank
