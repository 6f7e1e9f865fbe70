"""What users have set and what arrives, in words: pauses, a region, the gauge, files held back."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from latticework.cli.words import spoken

if TYPE_CHECKING:
    from latticework.project.following import Following
    from latticework.project.keeping_up import KeepingUp
    from latticework.project.settings import Priority, Settings

LISTED = 5
"""Files held back that are named."""


def bounds_text(bounds: Mapping[str, Any]) -> str:
    """A region as it is typed.

    Examples
    --------
    >>> bounds_text({"tile_z": {"within": (1, None)}, "tile_y": {"among": (3, 5)}})
    'z=1: y=3,5'
    """
    parts = []
    for dim, given in bounds.items():
        if "within" in given:
            text = ":".join("" if end is None else str(end) for end in given["within"])
        else:
            text = ",".join(map(str, given["among"]))
        parts.append(f"{dim.removeprefix('tile_')}={text}")
    return " ".join(parts)


def skipped_text(settings: "Settings") -> str:
    """Skipped planes as they are typed; empty if none are."""
    return bounds_text({dim: {"among": labels} for dim, labels in settings.skipped.items()})


def priority_text(priority: "Priority") -> str:
    """What goes first; empty for the usual order.

    Examples
    --------
    >>> from latticework.project.settings import Priority
    >>> priority_text(Priority(order="planes", axis="tile_z", preview=10))
    'every 10th tile, then plane by plane along z'
    """
    parts = [bounds_text(priority.region)] if priority.region else []
    if priority.preview:
        parts.append(f"every {ordinal(priority.preview)} tile")
    if priority.order == "planes" and priority.axis:
        parts.append(f"plane by plane along {priority.axis.removeprefix('tile_')}")
    return ", then ".join(parts)


def ordinal(n: int) -> str:
    """A number as a place in a row.

    Examples
    --------
    >>> [ordinal(n) for n in (2, 3, 10, 11, 21)]
    ['2nd', '3rd', '10th', '11th', '21st']
    """
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def parameter_lines(values: Mapping[str, Any]) -> list[str]:
    """Parameters, a line for each."""
    width = max(map(len, values), default=0)
    return [f"{name:<{width}}  {json.dumps(value)}" for name, value in sorted(values.items())]


def settings_lines(settings: "Settings") -> list[str]:
    """What is not as usual, a line for each.

    Examples
    --------
    >>> from latticework.project.settings import Settings
    >>> settings_lines(Settings(paused_stages=("spots",), skipped={"tile_z": (3, 4)}))
    ['Paused: spots', 'Skipped: z=3,4']
    """
    paused = ["the whole project"] if settings.paused else []
    paused += [name for name in settings.paused_stages if name not in settings.gave_up]
    found = {
        "Paused": ", ".join(paused),
        "Paused itself": "; ".join(f"{name}, as {why}" for name, why in settings.gave_up.items()),
        "Hosts set aside": "; ".join(f"{h}: {why}" for h, (_, why) in settings.set_aside.items()),
        "Skipped": skipped_text(settings),
        "Only": bounds_text(settings.region),
        "First": priority_text(settings.priority),
    }
    return [f"{what}: {text}" for what, text in found.items() if text]


def settings_json(settings: "Settings") -> dict[str, Any]:
    """What is set, as plain values."""
    found = json.loads(settings.to_json())
    assert isinstance(found, dict)
    return found


def live_lines(gauge: "KeepingUp | None", following: "Following | None") -> list[str]:
    """What arrives, whether stages keep up, and what is not read yet and why."""
    from latticework.viz.words import plural

    lines = [] if gauge is None else str(gauge).splitlines()
    lines[:1] = [line[:1].upper() + line[1:] for line in lines[:1]]
    lines[:0] = [] if following is None else trouble_lines(following)
    if following is not None and following.n_held:
        lines.append(f"{plural(following.n_held, 'file')} seen but not read yet:")
        lines += held_lines(following)
    return lines


def trouble_lines(following: "Following", now: float | None = None) -> list[str]:
    """What is wrong with what is watched, and since when, a line for each.

    Examples
    --------
    >>> from latticework.project.following import Following
    >>> gone = Following(True, (), 0, (), (("/scan cannot be looked into", 1e9),))
    >>> trouble_lines(gone, now=1e9 + 300)[0].partition(" (")[2]
    'for 5 min 00 s): /scan cannot be looked into'
    """
    from latticework.viz.words import plain, time_left

    now = time.time() if now is None else now
    lines = [
        f"Since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(since))} "
        f"(for {time_left(max(0.0, now - since))}): {plain(spoken(text))}"
        for text, since in following.troubles[:LISTED]
    ]
    more = len(following.troubles) - LISTED
    return [*lines, f"  and {more:,} more"] if more > 0 else lines


def held_lines(following: "Following") -> list[str]:
    """The first files that are held back, a line for each, and how many more there are."""
    from pathlib import Path

    from latticework.viz.words import plain

    lines = [
        f"  {plain(Path(path).name, 60)}: {plain(spoken(why))}"
        for path, why in following.held[:LISTED]
    ]
    more = following.n_held - LISTED
    return [*lines, f"  and {more:,} more"] if more > 0 else lines


def gauge_json(gauge: "KeepingUp | None") -> dict[str, Any] | None:
    """The keep-up gauge as plain values."""
    if gauge is None:
        return None
    values = {**asdict(gauge), "keeps_up": gauge.keeps_up, "time_left_s": gauge.time_left_s}
    values["disk_full_s"] = gauge.disk_full_s
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
