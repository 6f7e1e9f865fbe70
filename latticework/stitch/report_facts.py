"""What a stitching came to, as tables and numbers: the part of its report without pixels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.lattice.loops import in_no_loop
from latticework.stitch.placement import Placement
from latticework.stitch.tiles import NO_OVERLAP, Places, places_of
from latticework.viz.words import plain

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.project import Project


@dataclass(frozen=True)
class Findings:
    """What was found where, as tables; pixels only through the lattice's source.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> found = Findings("brain", tiles, place(tiles, register(tiles)))
    >>> found.n_trusted, found.alone.empty, found.groups
    (4, True, [4])
    """

    name: str
    """Of the volume."""
    nominal: Lattice
    """Tiles at the positions that the stage gives, with pixels."""
    placement: Placement
    """Where they were found."""
    levels: "pd.DataFrame | None" = None
    """As `latticework.stitch.seams.level_tiles` gives them."""
    light: np.ndarray | None = None
    """Estimated share of light by pixel, ``y x`` or ``c y x``."""
    dark: tuple[float, ...] = ()
    """What the camera counts without light, by channel; empty if not known."""
    given: frozenset[str] = frozenset()
    """What was given rather than estimated: ``"dark"``, ``"light"``."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """What was asked for of ``light`` and ``gains``: ``"auto"``, ``"yes"`` or ``"no"``."""
    image: Path | None = None
    """The volume, where there is one."""
    channel: int = 0
    """Number of the channel that was compared."""
    reach: tuple[float, ...] | None = None
    """How far tiles were looked for, in pixels along their dims; None if not known."""
    took_s: float | None = None
    """How long it took."""
    project: Path | None = None
    """Folder of the project, where there is one."""

    # ---------------------------------------------------------------- tables

    @cached_property
    def places(self) -> Places:
        """Where the tiles were found, in pixels."""
        return places_of(self.placement.lattice)

    @cached_property
    def dims(self) -> tuple[str, ...]:
        """Spatial dims of the tiles."""
        return self.places.dims

    @property
    def links(self) -> "pd.DataFrame":
        """All links."""
        return self.placement.links

    @cached_property
    def trusted(self) -> np.ndarray:
        """Which links are trusted."""
        return self.links["trusted"].to_numpy(bool)

    @property
    def n_trusted(self) -> int:
        """How many links are trusted."""
        return int(self.trusted.sum())

    @cached_property
    def residuals(self) -> np.ndarray:
        """Pixels by which each link is not fulfilled; NaN where nothing was found."""
        return self.links["residual_px"].to_numpy("f8")

    @cached_property
    def looped(self) -> np.ndarray:
        """Which trusted links are part of a loop: the others are contradicted by nothing."""
        good = np.flatnonzero(self.trusted)
        lattice, of = self.placement.lattice, self.links.iloc[good]
        ends = [lattice.rows_of(of[name].to_numpy(np.int64)) for name in ("first", "second")]
        found = np.zeros(len(self.links), bool)
        found[good] = ~in_no_loop(len(lattice), *ends)
        return found

    @property
    def rms_px(self) -> float:
        """Root mean square of what links in loops leave; NaN without any."""
        of = self.residuals[self.looped]
        of = of[np.isfinite(of)]
        return float(np.sqrt(np.square(of).mean())) if len(of) else math.nan

    @cached_property
    def tiles(self) -> "pd.DataFrame":
        """A row for each tile of the lattice, in its order.

        ``id``, ``name``, ``links`` (trusted ones), ``group``, ``placed_by``, ``why`` (it is not
        placed by links), ``moved_x_px`` and so on by dim, and ``gain``.
        """
        import pandas as pd

        lattice = self.placement.lattice
        ids = lattice.ids
        known = self.placement.tiles.rename(columns={"tile": "id"}).set_index("id")
        moved = [f"moved_{dim}_px" for dim in self.dims]
        table = known.reindex(ids)[["links", "group", "placed_by", *moved]].reset_index(names="id")
        table.insert(1, "name", list(lattice.names))
        table["links"] = table["links"].fillna(0).astype(np.int64)
        table["group"] = table["group"].fillna(-1).astype(np.int64)
        table["placed_by"] = table["placed_by"].astype(object).fillna("stage model")
        apart = (lattice.position_um - self.nominal.position_um)[:, self.places.columns]
        lost = table[moved[0]].isna().to_numpy() if moved else np.zeros(len(ids), bool)
        if lost.any():
            table.loc[lost, moved] = (apart / self.places.size_um)[lost]
        gain = None if self.levels is None else self.levels.set_index("id")["gain"].reindex(ids)
        table["gain"] = 1.0 if gain is None else gain.fillna(1.0).to_numpy()
        table.insert(5, "why", _why(table, self.links, lattice.problems))
        return pd.DataFrame(table)

    @property
    def anchored(self) -> "pd.DataFrame":
        """Rows of `tiles` whose places were given."""
        return self.tiles[self.tiles["placed_by"] == "anchor"]

    @cached_property
    def alone(self) -> "pd.DataFrame":
        """Tiles that were read, and that the model of the stage alone placed."""
        return self.tiles[_alone(self.tiles, self.placement.lattice.problems)]

    @cached_property
    def unread(self) -> "pd.DataFrame":
        """Tiles that could not be read: the volume is made without them."""
        return self.tiles[_unread(self.tiles, self.placement.lattice.problems)]

    @cached_property
    def groups(self) -> list[int]:
        """Tiles in each group of two and more that trusted links join, the largest first."""
        found = self.tiles.loc[
            self.tiles["placed_by"].isin(["links", "anchor"]), "group"
        ].value_counts()
        return [int(n) for n in found.to_numpy() if n > 1]

    @property
    def no_overlap(self) -> bool:
        """Whether no two tiles overlap at all."""
        return len(self.links) > 0 and bool((self.links["why"] == NO_OVERLAP).all())

    # ---------------------------------------------------------------- light

    @property
    def light_used(self) -> bool:
        """Whether the flat-field was taken out."""
        levels = self.levels
        return levels is not None and len(levels) > 0 and bool(levels["even"].iloc[0])

    @property
    def gains_used(self) -> bool:
        """Whether tiles were levelled."""
        levels = self.levels
        return levels is not None and bool((np.abs(levels["gain"] - 1) > 1e-9).any())

    def apart(self, what: str) -> float:
        """By how much neighbours differ, as a share; see `level_tiles`. NaN if not known."""
        if self.levels is None or not len(self.levels) or what not in self.levels:
            return math.nan
        return float(np.expm1(self.levels[what].iloc[0]))

    def overlaps(self, what: str) -> int | None:
        """How many overlaps decided, or still show a step; see `level_tiles`. None if not known."""
        if self.levels is None or not len(self.levels) or what not in self.levels:
            return None
        return int(self.levels[what].iloc[0])

    def name_of(self, id: int) -> str:
        """Name of a tile."""
        return str(self._names.get(int(id), id))

    @cached_property
    def _names(self) -> Mapping[int, str]:
        lattice = self.placement.lattice
        return dict(zip(lattice.ids.tolist(), lattice.names, strict=True))


def _unread(table: "pd.DataFrame", problems: Mapping[int, str]) -> np.ndarray:
    """Which tiles could not be read, or were not there."""
    return np.asarray(table["id"].isin(list(problems)) | (table["placed_by"] == "neighbours"))


def _alone(table: "pd.DataFrame", problems: Mapping[int, str]) -> np.ndarray:
    """Which tiles lie where the model of the stage has them."""
    return np.asarray((table["placed_by"] == "stage model") & ~_unread(table, problems))


def _why(table: "pd.DataFrame", links: "pd.DataFrame", problems: Mapping[int, str]) -> list[str]:
    """For each tile that links do not place, what became of its links; empty for the others."""
    import pandas as pd

    by_none = _alone(table, problems) | _unread(table, problems)
    alone = set(table.loc[by_none, "id"].tolist())
    said: dict[int, list[str]] = {}
    if alone and len(links):
        both = pd.concat(
            [
                pd.DataFrame({"tile": links[end].to_numpy(), "why": links["why"].to_numpy()})
                for end in ("first", "second")
            ]
        )
        both = both[both["tile"].isin(alone)]
        counted = both.groupby(["tile", "why"], sort=True).size().sort_values(ascending=False)
        for (tile, why), n in zip(counted.index.tolist(), counted.tolist(), strict=True):
            times = f"{n} links: " if n > 1 else ""
            said.setdefault(int(tile), []).append(f"{times}{why}")
    found = []
    for id in table["id"].tolist():
        if id not in alone:
            found.append("")
        elif id in problems:
            found.append(f"it cannot be read: {plain(problems[id], 160)}")
        else:
            found.append("; ".join(said.get(id, ["no link to a neighbour was looked at"])))
    return found


# -------------------------------------------------------------------- from a project


def findings_in(project: "Project", name: str) -> Findings:
    """What the stages of `latticework.stitch.stitch` found.

    Parameters
    ----------
    project
        In which the stages up to ``levels`` are complete.
    name
        Of the volume.
    """
    from latticework.stitch.pairs import reach_px
    from latticework.stitch.pipeline import placement_in

    placement = placement_in(project)
    params = _params(project, "pairs")
    places = places_of(project.lattice)
    shape = [project.lattice.tile_shape[dim] for dim in places.dims]
    reach = params.get("reach") or reach_px(shape, places.dims)
    light = None
    if "light" in project.stages:
        light = np.asarray(project["light"].data, np.float32)
    return Findings(
        name,
        project.lattice,
        placement,
        levels=project["levels"].data,
        light=light,
        dark=tuple(map(float, project["dark"].data["dark"])),
        given=_given(project),
        asked={what: _params(project, "levels").get(what, "auto") for what in ("light", "gains")},
        image=_image_of(project),
        channel=int(params.get("channel") or 0),
        reach=tuple(float(r) for r in reach),
        took_s=_took_s(project),
        project=project.path,
    )


def _params(project: "Project", stage: str) -> Mapping[str, Any]:
    """Parameters of a stage; none if there is no such stage."""
    if stage not in project.stages:
        return {}
    return dict(project.pipeline[stage].definition["params"])


def _given(project: "Project") -> frozenset[str]:
    """What was given rather than estimated."""
    given = {"dark": _params(project, "dark").get("given"), "light": _params(project, "light")}
    return frozenset(name for name, value in given.items() if value not in (None, {}))


def _image_of(project: "Project") -> Path | None:
    from latticework.errors import ProjectError

    if "image" not in project.stages:
        return None
    try:
        made: Any = project["image"].data
    except ProjectError:
        return None
    path = Path(str(made["image"]))
    return path if path.exists() else None


def _took_s(project: "Project") -> float | None:
    """Seconds from the first attempt to the last, without the pauses between runs."""
    attempts = project.attempts()[["session", "started", "ended"]].dropna()
    if attempts.empty:
        return None
    spans = attempts.groupby("session").agg({"started": "min", "ended": "max"})
    return float((spans["ended"] - spans["started"]).dt.total_seconds().sum())


__all__ = ["Findings", "findings_in"]
