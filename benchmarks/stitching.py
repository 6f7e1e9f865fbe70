"""(g) From tiles to a volume: registration and fusion, beside other stitching programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from shutil import which

from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows, unrest
from benchmarks.measure import Contestant, Standing, contest
from benchmarks.table import Row
from benchmarks.tilesets import TileSet, made, real_section, real_volume, shared_data

SYSTEMS = "benchmarks.stitching_systems"
PEERS = {
    "multiview": ("multiview-stitcher", "multiview_stitcher"),
    "ashlar": ("ashlar", "ashlar"),
    "m2stitch": ("m2stitch", "m2stitch"),
}
"""Peers, by the end of their functions' names: package, module."""
FLAT, DEEP = ((9, 7), (512, 512)), ((3, 2), (64, 384, 384))
TOY_FLAT, TOY_DEEP = ((2, 3), (128, 128)), ((1, 2), (12, 96, 96))
SIDES, TOY_SIDES = (10, 100), (2, 4)
SMALL_TILE, TOY_TILE = 128, 64


@dataclass(frozen=True, slots=True)
class Part:
    """One of the tables of this benchmark."""

    rows: Sequence[Row]
    standings: Sequence[Standing]


def report(settings: Settings) -> Report:
    """Seconds to register, accuracy, voxels a second to fuse, memory."""
    flat, deep, section, volume = _tiles(settings)
    parts = [
        _registration("2-D", section, ("multiview", "ashlar", "m2stitch"), settings),
        _registration("3-D", volume, ("multiview",), settings),
        _fusion("2-D", flat, 20.0, settings),
        _fusion("3-D", deep, 15.0, settings),
        _many(settings),
    ]
    standings = [standing for part in parts for standing in part.standings]
    notes = [*NOTES, *unrest(standings)]
    here = [package for key, (package, _) in PEERS.items() if _is_here(key)]
    if here:
        notes.append(f"peers: {', '.join(f'{package} {version(package)}' for package in here)}")
    missing = [package for key, (package, _) in PEERS.items() if not _is_here(key)]
    if missing:
        notes.append(
            f"not installed, so not measured: {', '.join(missing)}; "
            "pip install 'latticework[bench]' has them (ashlar needs Java)"
        )
    if shared_data() is None or settings.toy:
        notes.append("tiles to register are made ones: the real acquisitions are not here")
    rows = [row for part in parts for row in part.rows]
    ours = [s for s in standings if s.contestant.system.startswith("latticework")]
    notes += [
        f"could not be measured: {' '.join(s.problem.split()[-30:])}"
        for s in standings
        if s.problem and s not in ours
    ]
    return Report(rows, notes, problems(ours))


def _is_here(key: str) -> bool:
    """Whether a peer is installed, with what it needs."""
    return find_spec(PEERS[key][1]) is not None and (key != "ashlar" or which("java") is not None)


def _tiles(settings: Settings) -> tuple[TileSet, TileSet, TileSet, TileSet]:
    settings.say("stitching: making tiles")
    flat = made(settings.scratch / "flat", *(TOY_FLAT if settings.toy else FLAT))
    deep = made(settings.scratch / "deep", *(TOY_DEEP if settings.toy else DEEP))
    folder = None if settings.toy else shared_data()
    if folder is None:
        return flat, deep, flat, deep
    return flat, deep, real_section(folder), real_volume(folder)


def _contestants(
    what: str, peers: Sequence[str], arguments: Mapping[str, object]
) -> list[Contestant]:
    chosen = [key for key in peers if _is_here(key)]
    found = [Contestant("latticework", f"{SYSTEMS}:{what}_ours", arguments)]
    return found + [
        Contestant(PEERS[key][0], f"{SYSTEMS}:{what}_{key}", arguments) for key in chosen
    ]


def _contest(contestants: Sequence[Contestant], settings: Settings) -> list[Standing]:
    return contest(contestants, settings.scratch, repeats=settings.repeats, say=settings.say)


def _figures(standings: Sequence[Standing], figure: str) -> list[tuple[str, float]]:
    return [(s.contestant.system, s.median(figure)) for s in standings]


def _memory(title: str, standings: Sequence[Standing]) -> list[Row]:
    peaks = [(name, value / 1e6) for name, value in _figures(standings, "peak_bytes")]
    return ratio_rows(f"{title}, memory", "MB", peaks)


def _registration(name: str, tiles: TileSet, peers: Sequence[str], settings: Settings) -> Part:
    settings.say(f"registration, {name}")
    path = tiles.save(settings.scratch / f"register_{name}.json")
    standings = _contest(_contestants("register", peers, {"tiles": path}), settings)
    ours = standings[0]
    pairs = ours.median("pairs")
    title = f"register {len(tiles.files)} tiles, {name}"
    seconds = _figures(standings, "seconds")
    limit = 2.0 if name == "2-D" else 0.25 * pairs
    theirs = dict(seconds).get("multiview-stitcher", float("nan"))
    aims = [
        (f"< {limit:.3g} s", at_most(seconds[0][1], limit)),
        ("10 times multiview-stitcher", at_most(10 * seconds[0][1], theirs)),
    ]
    if name == "2-D":
        ashlar = dict(seconds).get("ashlar", float("nan"))
        aims.append(("level with ashlar", at_most(seconds[0][1], ashlar)))
    rows = ratio_rows(title, "s", seconds, aims=_unless_toy(aims, settings))
    error = _figures(standings, "rms_px")
    limit_px = 0.7 if name == "2-D" else 0.05
    aim = (f"< {limit_px} px", at_most(error[0][1], limit_px))
    rows += ratio_rows(f"{title}, error", "px rms", error, aims=_unless_toy([aim], settings))
    lost = _figures(standings, "misplaced")
    aim = ("0", at_most(lost[0][1], 0))
    known = f"{title}, misplaced of {len(tiles.known)}"
    rows += ratio_rows(known, "tiles", lost, aims=_unless_toy([aim], settings))
    return Part([*rows, *_memory(title, standings)], standings)


def _fusion(name: str, tiles: TileSet, aim: float, settings: Settings) -> Part:
    settings.say(f"fusion, {name}")
    path = tiles.save(settings.scratch / f"fuse_{name}.json")
    arguments = {"tiles": path, "fraction": 0.4}
    standings = _contest(_contestants("fuse", ("multiview",), arguments), settings)
    title = f"fuse {standings[0].median('voxels') / 1e6:.3g} million voxels, {name}"
    speed = _speeds(standings)
    theirs = dict(speed).get("multiview-stitcher", float("nan"))
    aims = [
        (f"> {aim:.0f} MVox/s", at_most(aim, speed[0][1])),
        ("5 times multiview-stitcher", at_most(5 * theirs, speed[0][1])),
    ]
    rows = ratio_rows(title, "MVox/s", speed, aims=_unless_toy(aims, settings))
    return Part([*rows, *_memory(title, standings)], standings)


def _speeds(standings: Sequence[Standing]) -> list[tuple[str, float]]:
    return [
        (s.contestant.system, s.median("voxels") / 1e6 / s.median("seconds")) for s in standings
    ]


def _many(settings: Settings) -> Part:
    size = TOY_TILE if settings.toy else SMALL_TILE
    contestants = [
        Contestant(
            f"latticework, {side**2:,} tiles",
            f"{SYSTEMS}:fuse_many",
            {"side": side, "size": size},
        )
        for side in (TOY_SIDES if settings.toy else SIDES)
    ]
    standings = _contest(contestants, settings)
    speed = _speeds(standings)
    aim = ("the same", at_most(0.8 * speed[0][1], speed[1][1]))
    title = f"fuse many tiles of {size} x {size}"
    rows = ratio_rows(title, "MVox/s", speed, aims=_unless_toy([aim], settings))
    return Part([*rows, *_memory(title, standings)], standings)


def _unless_toy(
    aims: Sequence[tuple[str, bool | None]], settings: Settings
) -> list[tuple[str, bool | None]]:
    return [(aim, None if settings.toy else met) for aim, met in aims]


NOTES = (
    (
        "registration: latticework, ashlar and multiview-stitcher read tiles from disk as they "
        "need them, m2stitch gets them all at first; placing is included. multiview-stitcher with "
        "its defaults, ashlar with shifts up to 30 px, m2stitch with nominal positions and "
        "ncc_threshold=0.1 (with its default it finds no grid). Errors after taking off the median "
        "shift; misplaced: by more than 2 px. Where the 2-D tiles are is known to 0.3 to 0.5 px."
    ),
    (
        "fusion: tiles in memory, at positions between pixels, to OME-Zarr with a pyramid. "
        "Each system in a process of its own; memory is its peak, tiles included."
    ),
)
