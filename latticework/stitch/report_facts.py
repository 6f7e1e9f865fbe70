"""What a stitching came to, in numbers and plain words: the parts of its report without pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.stitch.levelling import MOST
from latticework.stitch.placement import DOUBTFUL, LEAST_DOUBTFUL, Placement
from latticework.stitch.tiles import Places, places_of
from latticework.viz.words import plain, plural

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project.project import Project

Mood = Literal["good", "look", "bad"]
APART = "the tiles do not overlap"
SHOWN_NAMES = 6
"""Names in a sentence; the rest are counted."""
FAR_PX = 1.0
"""Residual from which on a trusted link is worth a look."""
MANY = 0.05
"""Share of trusted links from which on so large residuals are said."""
NEAR_REACH = 0.9
"""Share of the reach beyond which a link may have wanted to go further."""


class Verdict(NamedTuple):
    """What to think of a stitching."""

    mood: Mood
    """``"good"``: nothing stands out; ``"look"``: see the notes; ``"bad"``: positions are not measured."""
    word: str
    """In a word or two."""
    text: str
    """In a sentence or two."""


@dataclass(frozen=True)
class Findings:
    """What was found where, as tables; pixels only through the lattice's source.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> found = Findings("brain", tiles, place(tiles, register(tiles)))
    >>> found.n_trusted, found.alone.empty, verdict(found).mood
    (4, True, 'good')
    """

    name: str
    """Of the volume."""
    nominal: Lattice
    """Tiles at the positions that the stage gives, with pixels."""
    placement: Placement
    """Where they were found."""
    levels: "pd.DataFrame | None" = None
    """As `latticework.stitch.evening.level_tiles` gives them."""
    light: np.ndarray | None = None
    """Estimated share of light by pixel, ``y x`` or ``c y x``."""
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

    @property
    def rms_px(self) -> float:
        """Root mean square of what trusted links leave; NaN without any."""
        of = self.residuals[self.trusted]
        return float(np.sqrt(np.square(of).mean())) if len(of) else math.nan

    @cached_property
    def tiles(self) -> "pd.DataFrame":
        """A row for each tile of the lattice, in its order: ``id``, ``name``, ``links``, ``group``,
        ``placed_by``, ``why`` (not by links), ``moved_x_px`` ... and ``gain``.
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

    @cached_property
    def alone(self) -> "pd.DataFrame":
        """Tiles that no trusted link reaches."""
        return self.tiles[self.tiles["placed_by"] != "links"]

    @cached_property
    def groups(self) -> list[int]:
        """Tiles in each group of two and more that trusted links join, the largest first."""
        found = self.tiles.loc[self.tiles["placed_by"] == "links", "group"].value_counts()
        return [int(n) for n in found.to_numpy() if n > 1]

    @property
    def no_overlap(self) -> bool:
        """Whether no two tiles overlap at all."""
        return len(self.links) > 0 and bool((self.links["why"] == APART).all())

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

    def name_of(self, id: int) -> str:
        """Name of a tile."""
        return str(self._names.get(int(id), id))

    @cached_property
    def _names(self) -> Mapping[int, str]:
        lattice = self.placement.lattice
        return dict(zip(lattice.ids.tolist(), lattice.names, strict=True))


def _why(
    table: "pd.DataFrame", links: "pd.DataFrame", problems: Mapping[int, str]
) -> list[str]:
    """For each tile that links do not place, what became of its links; empty for the others."""
    import pandas as pd

    alone = set(table.loc[table["placed_by"] != "links", "id"].tolist())
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
        for (tile, why), n in counted.items():  # type: ignore[misc]
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


# -------------------------------------------------------------------- in words


def names_in_words(names: Sequence[str], most: int = SHOWN_NAMES) -> str:
    """Some names, and how many more there are.

    Examples
    --------
    >>> names_in_words(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(plain(name, 60) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def verdict(found: Findings) -> Verdict:
    """What to think of it, in plain words."""
    n = len(found.tiles)
    notes = warnings(found)
    if n == 1:
        return Verdict("good" if not notes else "look", "One tile", "A single tile: nothing to place.")
    if found.no_overlap:
        text = "The tiles do not overlap, so nothing could be measured: nominal positions kept."
        return Verdict("bad", "Nominal positions kept", text)
    if not found.n_trusted:
        text = "No link between tiles could be trusted: tiles lie where the stage says."
        return Verdict("bad", "Not measured", text)
    text = (
        f"{found.n_trusted:,} of {plural(len(found.links), 'link')} are trusted and agree to "
        f"{found.rms_px:.2f} px (rms)."
    )
    n_alone = len(found.alone)
    if n_alone:
        text += f" {plural(n_alone, 'tile')} of {n:,} no trusted link reaches."
    else:
        text += " Every tile is placed by links."
    if notes:
        return Verdict("look", "See the notes", text)
    return Verdict("good", "Nothing stands out", text)


def warnings(found: Findings) -> list[str]:
    """What a person should look at before using the volume, the gravest first; plain text."""
    return [
        *_unreadable(found),
        *_not_measured(found),
        *_doubtful(found),
        *_split(found),
        *_loose(found),
        *_beyond(found),
        *_strange_gains(found),
    ]


def remarks(found: Findings) -> list[str]:
    """What is good to know besides, and no cause for concern; plain text."""
    return [*_contradictions(found), *_assumed(found)]


def _unreadable(found: Findings) -> list[str]:
    problems = found.nominal.problems
    if not problems:
        return []
    names = [found.name_of(id) for id in problems]
    return [
        f"{plural(len(names), 'tile')} could not be read and left holes: {names_in_words(names)}."
    ]


def _not_measured(found: Findings) -> list[str]:
    if found.no_overlap:
        return [
            "Tiles do not overlap: nominal positions kept. If they should overlap, the pixel size "
            "or the step between tiles is not as given."
        ]
    if len(found.tiles) > 1 and not len(found.links):
        return ["No tile has a neighbour to be compared with: nominal positions kept."]
    if len(found.links) and not found.n_trusted:
        return ["No link is trusted: nominal positions kept. See why in the table of links."]
    return []


def _doubtful(found: Findings) -> list[str]:
    links = found.links
    axes = [
        str(axis)
        for axis, of in links[links["correlation"].notna()].groupby("axis")
        if len(of) >= LEAST_DOUBTFUL and of["trusted"].mean() < DOUBTFUL
    ]
    if not axes or not found.n_trusted:
        return []
    return [
        f"Hardly a link along {' and '.join(axes)} is trusted: are order and corner of the grid "
        "right?"
    ]


def _split(found: Findings) -> list[str]:
    notes = []
    if len(found.groups) > 1:
        sizes = ", ".join(f"{n:,}" for n in found.groups[:8])
        more = "" if len(found.groups) <= 8 else " ..."
        notes.append(
            f"Trusted links join the tiles to {len(found.groups)} groups ({sizes}{more} tiles). How "
            "groups lie to each other is known from the stage alone: look at the seams between them."
        )
    readable = found.alone[~found.alone["id"].isin(list(found.nominal.problems))]
    if len(readable) and found.n_trusted:
        names = readable["name"].tolist()
        notes.append(
            f"{plural(len(names), 'tile')} {'lies' if len(names) == 1 else 'lie'} where the stage "
            f"should have driven, since no trusted link reaches {'it' if len(names) == 1 else 'them'}: "
            f"{names_in_words(names)}."
        )
    return notes


def _contradictions(found: Findings) -> list[str]:
    n = int((found.links["why"] == "contradicts its loops").sum())
    if not n:
        return []
    return [
        f"{plural(n, 'link')} contradicted the others and {'was' if n == 1 else 'were'} left out."
    ]


def _loose(found: Findings) -> list[str]:
    n = int((found.residuals[found.trusted] > FAR_PX).sum())
    if n <= MANY * found.n_trusted:
        return []
    return [
        f"{plural(n, 'trusted link')} {'leaves' if n == 1 else 'leave'} more than {FAR_PX:g} px: "
        "see the worst links."
    ]


def _beyond(found: Findings) -> list[str]:
    if found.reach is None or not found.n_trusted:
        return []
    links = found.links[found.trusted]
    apart = [
        (links[f"offset_{dim}_px"] - links[f"nominal_{dim}_px"]).abs().to_numpy() / max(reach, 1e-9)
        for dim, reach in zip(found.dims, found.reach, strict=True)
    ]
    n = int((np.max(apart, axis=0) > NEAR_REACH).sum())
    if not n:
        return []
    reach = ", ".join(f"{dim} {r:g}" for dim, r in zip(found.dims, found.reach, strict=True))
    return [
        f"{plural(n, 'trusted link')} {'lies' if n == 1 else 'lie'} at the end of what was searched "
        f"({reach} px): others may lie beyond it. Stitch again with a larger reach=."
    ]


def _strange_gains(found: Findings) -> list[str]:
    gains = found.tiles["gain"].to_numpy("f8")
    n = int(((gains > MOST) | (gains < 1 / MOST)).sum())
    if not n:
        return []
    return [
        f"{plural(n, 'tile')} {'needs' if n == 1 else 'need'} a gain beyond {MOST:g}, or below "
        f"{1 / MOST:g}: more than a camera or a lamp explains."
    ]


def _assumed(found: Findings) -> list[str]:
    if found.nominal.known_pixel_size_um:
        return []
    return ["Nothing says how large a pixel is: 1 µm is assumed."]


def light_in_words(found: Findings) -> list[str]:
    """Whether flat-field and gains were used, and why; plain text."""
    before, even, level = (found.apart(what) for what in ("apart", "apart_even", "apart_level"))
    if math.isnan(before):
        seen = "No overlap shows enough to compare brightness"
        if found.light_used or found.gains_used:
            return [f"{seen}; flat-field or gains were asked for, and used."]
        return [f"{seen}: the light is left as it is."]
    said = [f"Where two tiles show the same place they differ by {before:.1%} (median)."]
    if found.light is not None and not math.isnan(even):
        used = "used" if found.light_used else "not used"
        said.append(f"With the estimated flat-field by {even:.1%}: {used}.")
    if found.gains_used:
        said.append(f"Whole overlaps still differ by {level:.1%} with a gain for each tile: used.")
    else:
        said.append("Gains would not make neighbours more alike, or were not asked for: not used.")
    return said


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
    from latticework.stitch.stitching import placement_in

    placement = placement_in(project)
    params = project.pipeline["pairs"].definition["params"]
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
        image=_image_of(project),
        channel=int(params.get("channel") or 0),
        reach=tuple(float(r) for r in reach),
        took_s=_took_s(project),
        project=project.path,
    )


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


__all__ = [
    "Findings",
    "Verdict",
    "findings_in",
    "light_in_words",
    "names_in_words",
    "remarks",
    "verdict",
    "warnings",
]
