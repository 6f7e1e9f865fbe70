"""What to think of a stitching, in plain words: a verdict, what to look at first, and why."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from latticework.stitch.levelling import MOST
from latticework.stitch.placement import DOUBTFUL, LEAST_DOUBTFUL
from latticework.stitch.report_facts import Findings
from latticework.viz.words import plain, plural

Mood = Literal["good", "look", "bad"]
SHOWN_NAMES = 6
"""Names in a sentence; the rest are counted."""
FAR_PX = 1.0
"""Residual from which on a trusted link is worth a look."""
MANY = 0.05
"""Share of trusted links from which on so large residuals are said."""
FAR_ANCHOR = 0.25
"""Share of a tile's size by which a tile that was placed by hand may lie elsewhere than others."""
NOTHING = 0.001
"""Difference in brightness that is none."""
SEEN = 0.02
"""Difference in brightness from which on a seam is seen, if one looks for it."""
NEAR_REACH = 0.9
"""Share of the reach beyond which a link may have wanted to go further."""


class Verdict(NamedTuple):
    """What to think of a stitching."""

    mood: Mood
    """``"good"``: nothing stands out; ``"look"``: see the notes; ``"bad"``: not measured."""
    word: str
    """In a word or two."""
    text: str
    """In a sentence or two."""


def names_in_words(names: Sequence[str], most: int = SHOWN_NAMES, limit: int = 60) -> str:
    """Some names, and how many more there are.

    Examples
    --------
    >>> names_in_words(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(plain(name, limit) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def in_px(value: float) -> str:
    """Pixels, or a dash where they are not known.

    Examples
    --------
    >>> in_px(0.123), in_px(float("nan"))
    ('0.12 px', '–')
    """
    return f"{value:.2f} px" if math.isfinite(value) else "–"


def verdict(found: Findings, notes: Sequence[str] | None = None) -> Verdict:
    """What to think of it, in plain words.

    Parameters
    ----------
    found
        What was found.
    notes
        What there is to be looked at; `warnings` if not given.
    """
    n = len(found.tiles)
    notes = warnings(found) if notes is None else notes
    if n == 1:
        return Verdict(
            "good" if not notes else "look", "One tile", "A single tile: nothing to place."
        )
    if found.no_overlap:
        text = f"The tiles do not overlap, so nothing could be measured: {_kept(found)}."
        return Verdict("bad", "Nominal positions kept", text)
    if not found.n_trusted:
        text = f"No link between tiles could be trusted: {_kept(found)}."
        return Verdict("bad", "Not measured", text)
    one = found.n_trusted == 1
    text = f"{found.n_trusted:,} of {plural(len(found.links), 'link')} "
    text += f"{'is' if one else 'are'} trusted and "
    if math.isnan(found.rms_px):
        text += f"{'forms' if one else 'form'} no loop, so that none could contradict another."
    else:
        text += f"{'agrees' if one else 'agree'} to {found.rms_px:.2f} px (rms)."
    n_alone = len(found.alone)
    if n_alone:
        text += f" No trusted link reaches {plural(n_alone, 'tile')} of {n:,}."
    else:
        which = "Every tile that was read" if len(found.unread) else "Every tile"
        given = " or lies where it was said" if len(found.anchored) else ""
        text += f" {which} is placed by links{given}."
    if _doubtful(found):
        return Verdict("bad", "Hardly measured", text)
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
        *_far_anchors(found),
        *_strange_gains(found),
        *_steps(found),
        *_uneven(found),
    ]


def remarks(found: Findings) -> list[str]:
    """What is good to know besides, and no cause for concern; plain text."""
    return [*_holes(found), *_contradictions(found), *_assumed(found)]


def _holes(found: Findings) -> list[str]:
    lattice = found.nominal
    n = math.prod(lattice.shape) - len(lattice)
    if not n:
        return []
    grid = " x ".join(str(size) for size in lattice.shape if size > 1)
    return [f"{plural(n, 'place')} of the grid of {grid} {'has' if n == 1 else 'have'} no tile."]


def _unreadable(found: Findings) -> list[str]:
    problems = found.nominal.problems
    if not problems:
        return []
    names = [f"{found.name_of(id)} ({plain(why, 160)})" for id, why in problems.items()]
    n = len(names)
    return [
        (
            f"{plural(n, 'tile')} could not be read and left {'a hole' if n == 1 else 'holes'}: "
            f"{names_in_words(names, limit=240)}."
        )
    ]


def _not_measured(found: Findings) -> list[str]:
    if found.no_overlap:
        return [
            (
                f"Tiles do not overlap: {_kept(found)}. If they should overlap, the pixel "
                "size or the step between tiles is not as given: say them (pixel_size_um= and "
                "overlap=, or --pixel-size and --overlap)."
            )
        ]
    if len(found.tiles) > 1 and not len(found.links):
        return [f"No tile has a neighbour to be compared with: {_kept(found)}."]
    if len(found.links) and not found.n_trusted:
        return [f"No link is trusted: {_kept(found)}. See why in the table of links."]
    return []


def _kept(found: Findings) -> str:
    """Where tiles lie that nothing was measured of."""
    if (found.tiles["placed_by"] == "anchor").any():
        return "but for tiles whose places were given, all lie where these and nominal steps say"
    return "nominal positions kept"


def _doubtful(found: Findings) -> list[str]:
    links = found.links
    axes = [
        str(axis)
        for axis, of in links[links["correlation"].notna()].groupby("axis")
        if len(of) >= LEAST_DOUBTFUL and of["trusted"].mean() < DOUBTFUL
    ]
    if not axes:
        return []
    return [
        (
            f"{'Hardly a' if found.n_trusted else 'No'} link along {' and '.join(axes)} is "
            "trusted: are order and corner of the grid right?"
        )
    ]


def _split(found: Findings) -> list[str]:
    notes = []
    if len(found.groups) > 1:
        sizes = ", ".join(f"{n:,}" for n in found.groups[:8])
        more = "" if len(found.groups) <= 8 else " ..."
        notes.append(
            f"Trusted links join the tiles to {len(found.groups)} groups ({sizes}{more} tiles). "
            "How groups lie to each other is known from the stage alone."
        )
    if len(found.alone) and found.n_trusted:
        names = found.alone["name"].tolist()
        notes.append(
            f"{plural(len(names), 'tile')} {'lies' if len(names) == 1 else 'lie'} where the stage "
            "should have driven, since no trusted link reaches "
            f"{'it' if len(names) == 1 else 'them'}: "
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
        (
            f"{plural(n, 'trusted link')} {'leaves' if n == 1 else 'leave'} more than "
            f"{FAR_PX:g} px: see the worst links."
        )
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
        (
            f"{plural(n, 'trusted link')} {'lies' if n == 1 else 'lie'} at the end of what was "
            f"searched ({reach} px): others may lie beyond it. Stitch again with a larger "
            "reach (reach=, --reach)."
        )
    ]


def _far_anchors(found: Findings) -> list[str]:
    tiles, dims = found.tiles, list(found.dims)
    moved = tiles[[f"moved_{dim}_px" for dim in dims]].to_numpy("f8")
    anchored = (tiles["placed_by"] == "anchor").to_numpy()
    if not anchored.any():
        return []
    usual = np.median(moved[~anchored], axis=0) if (~anchored).any() else 0.0
    far = np.linalg.norm(moved - usual, axis=1)
    sizes = [found.nominal.tile_shape[dim] for dim in ("y", "x")]
    rows = np.flatnonzero(anchored & (far > FAR_ANCHOR * min(sizes)))
    if not len(rows):
        return []
    worst = rows[far[rows].argmax()]
    return [
        (
            f"{plural(len(rows), 'tile')} {'lies' if len(rows) == 1 else 'lie'} far from where the "
            f"stage has {'it' if len(rows) == 1 else 'them'}, since that was said: "
            f"{found.name_of(tiles['id'].iloc[worst])} by {far[worst]:,.0f} px. Anchors are "
            "positions in micrometres."
        )
    ]


def _strange_gains(found: Findings) -> list[str]:
    gains = found.tiles["gain"].to_numpy("f8")
    n = int(((gains > MOST) | (gains < 1 / MOST)).sum())
    if not n:
        return []
    return [
        (
            f"{plural(n, 'tile')} {'needs' if n == 1 else 'need'} a gain beyond {MOST:g}, or below "
            f"{1 / MOST:g}: more than a camera or a lamp explains."
        )
    ]


def _assumed(found: Findings) -> list[str]:
    if found.nominal.known_pixel_size_um:
        return []
    return [
        (
            "Nothing says how large a pixel is: 1 µm is assumed. If positions are in micrometres, "
            "say it (pixel_size_um=, --pixel-size)."
        )
    ]


def _steps(found: Findings) -> list[str]:
    n = found.overlaps("steps")
    if not n:
        return []
    what = "with a gain for each tile" if found.gains_used else "and no gains were used"
    said = (
        f"{plural(n, 'overlap')} of trusted links still {'differs' if n == 1 else 'differ'} in "
        f"brightness by more than a fifth, {what}: expect steps there."
    )
    if "dark" in found.given:
        return [said]
    return [f"{said} Say what the camera counts without light (dark=, --dark), if it is known."]


def _uneven(found: Findings) -> list[str]:
    """What is left of differences in brightness, if that is seen in the volume."""
    if not found.apart("remains") > SEEN:
        return []
    corrected = " and ".join(
        what
        for what, used in (("the flat-field", found.light_used), ("the gains", found.gains_used))
        if used
    )
    said = f"{_remains(found)}, with {corrected}." if corrected else f"{_remains(found)}."
    if "light" not in found.given and found.asked.get("light") != "no":
        said += " A picture of an even specimen (light=, --light) tells more than these tiles do."
    return [said]


def _remains(found: Findings) -> str:
    """By how much neighbours still differ, as overlaps tell."""
    usual, worst = found.apart("remains"), found.apart("remains_worst")
    if worst < NOTHING:
        return "Where neighbours show the same, no difference in brightness is left"
    return (
        f"Where neighbours show the same they still differ in brightness by {usual:.1%} (median; "
        f"{worst:.1%} or more in the worst tenth)"
    )


def light_in_words(found: Findings) -> list[str]:
    """Whether flat-field and gains were used, and why; plain text."""
    before, even, level = (found.apart(what) for what in ("apart", "apart_even", "apart_level"))
    told = _dark_in_words(found)
    if math.isnan(before):
        seen = "No overlap of a trusted link shows enough to compare brightness"
        if found.light_used or found.gains_used:
            return [f"{seen}; flat-field or gains were asked for, and used.", *told]
        return [f"{seen}: the light is left as it is.", *told]
    n = found.overlaps("overlaps")
    where = "Where two tiles show the same place" if n is None else f"In {plural(n, 'overlap')}"
    pivot = _other_pivot(found)
    said = [f"{where} the two tiles differ in brightness by {before:.1%} (median)."]
    if pivot:
        said = _apart_above(found, where, pivot)
    if found.light is not None and not math.isnan(even):
        besides = found.gains_used and even < before
        no = "not used, since it does not help beside the gains" if besides else "not used"
        used = "used" if found.light_used else no
        by = "" if pivot else f" by {even:.1%}"
        said.append(f"With the flat-field{by}: {used}.")
    if found.gains_used:
        said.append(f"With a gain for each tile, whole overlaps differ by {level:.1%}: used.")
    elif found.asked.get("gains") == "no":
        said.append("A gain for each tile was not asked for.")
    else:
        said.append("A gain for each tile would not make neighbours clearly more alike: not used.")
    if not math.isnan(found.apart("remains")):
        said.append(f"{_remains(found)}.")
    return [*said, *told]


def _dark_in_words(found: Findings) -> list[str]:
    """What is taken for the camera's offset."""
    if not found.dark:
        return []
    given, pivot = "dark" in found.given, _other_pivot(found)
    how = "as given" if given else "estimated"
    counts = ", ".join(f"{value:.4g}" for value in dict.fromkeys(found.dark))
    used = [f"Gains leave a count of {pivot} as it is (estimated)."] if pivot else []
    if pivot and not given and not found.light_used:
        return used
    return [f"Without light the camera counts {counts} ({how}).", *used]


def _other_pivot(found: Findings) -> str:
    """The count that gains leave as it is, if it is another than the camera's offset; or empty."""
    if not found.gains_used or found.levels is None or "pivot" not in found.levels:
        return ""
    pivot = f"{float(found.levels['pivot'].iloc[0]):.4g}"
    return "" if pivot in {f"{value:.4g}" for value in found.dark} else pivot


def _apart_above(found: Findings, where: str, pivot: str) -> list[str]:
    """How much tiles differ above that count; nothing if that is not known."""
    whole = found.apart("apart_pivot")
    if math.isnan(whole):
        return []
    where += ", with the flat-field," if found.light_used else ""
    return [f"{where} the two tiles differ by {whole:.1%} in brightness above {pivot} (median)."]


__all__ = ["Verdict", "in_px", "light_in_words", "names_in_words", "remarks", "verdict", "warnings"]
