"""Numbers, lengths, times and rates as people read them."""

import math
import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def plain(text: object, limit: int = 200) -> str:
    r"""`text` on one line of at most `limit` characters, without control characters.

    Names of tiles and messages of exceptions come from anywhere: what could move the cursor of a
    terminal or turn the direction of text is replaced by a blank.

    Examples
    --------
    >>> plain("a\nb\x1b[31m", 10)
    'a b [31m'
    >>> plain("much too long", 8)
    'much to…'
    """
    line = _CONTROL.sub(" ", str(text)[: 4 * limit]).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shortened(text: object, limit: int) -> str:
    """`text` on one line of at most `limit` characters; of a longer one its begin and its end.

    Names of files differ in the numbers at their ends, so more is left of that.

    Examples
    --------
    >>> shortened("C3-BrainSection0009.tif", 15), shortened("z0_y3_x0", 15)
    ('C3-Br…n0009.tif', 'z0_y3_x0')
    """
    line = plain(text, 4000)
    if len(line) <= limit:
        return line
    begin = max(0, limit - 1) * 2 // 5
    return f"{line[:begin]}…{line[len(line) - (limit - 1 - begin) :]}"


def seconds(value: float | None) -> str:
    """A duration.

    Examples
    --------
    >>> [seconds(s) for s in (0.0123, 4.26, 75, 3700, 190_000, None)]
    ['12 ms', '4.3 s', '1 min 15 s', '1 h 01 min', '2 d 4 h', '?']
    """
    if value is None or not math.isfinite(value) or value < 0:
        return "?"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def time_left(value: float | None) -> str:
    """A guess of the time left: no finer than a second, since it is a guess.

    Examples
    --------
    >>> [time_left(s) for s in (0.2, 42.4, 75, 190_000, None)]
    ['1 s', '42 s', '1 min 15 s', '2 d 4 h', '?']
    """
    if value is None or not math.isfinite(value) or value < 0:
        return "?"
    return f"{max(1, round(value))} s" if value < 59.5 else seconds(value)


def rate(per_second: float | None) -> str:
    """Tiles per second, or seconds per tile where that reads better.

    Examples
    --------
    >>> [rate(r) for r in (14_210.0, 3.14159, 0.25, 0.001, 0.0, None)]
    ['14,210 tiles/s', '3.1 tiles/s', '4.0 s/tile', '16 min 40 s/tile', '-', '-']
    """
    if per_second is None or not math.isfinite(per_second) or per_second <= 0:
        return "-"
    if per_second >= 100:
        return f"{per_second:,.0f} tiles/s"
    if per_second >= 0.995:
        return f"{per_second:.1f} tiles/s"
    return f"{seconds(1 / per_second)}/tile"


def length(micrometres: float) -> str:
    """A length in the unit that suits it.

    Examples
    --------
    >>> [length(um) for um in (0.4065, 12.5, 2048.0, 13_200.0)]
    ['0.4065 µm', '12.5 µm', '2048 µm', '13.2 mm']
    """
    if abs(micrometres) >= 10_000:
        return f"{micrometres / 1000:.4g} mm"
    return f"{micrometres:.4g} µm"


def size(n_bytes: float) -> str:
    """Bytes with three digits.

    Examples
    --------
    >>> [size(b) for b in (512, 33_030_144, 5.2e12)]
    ['512 B', '33 MB', '5.2 TB']
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} PB"


def percent(part: float, whole: float) -> str:
    """A share that says 100 % only when nothing is missing.

    Examples
    --------
    >>> percent(9_999, 10_000), percent(10, 10), percent(0, 0)
    ('99 %', '100 %', '0 %')
    """
    return f"{math.floor(100 * part / whole) if whole else 0} %"


def plural(n: int, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> plural(1, "tile"), plural(1200, "tile")
    ('1 tile', '1,200 tiles')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
