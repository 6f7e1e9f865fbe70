"""Whether a file is finished: it has not changed for a while, or a marker beside it says so."""

import fnmatch
import re
from collections.abc import Collection

from latticework.errors import LatticeError
from latticework.io.filenames import strip_suffix

Stamp = tuple[int, int, int]
"""Size, time of change (ns) and inode of a file; of a Zarr image, bytes, latest change and number
of its files."""


class Settling:
    """Since when files have looked as they do.

    Parameters
    ----------
    settle_s
        How long a file must not change before it counts as finished.

    Examples
    --------
    >>> settling = Settling(2.0)
    >>> settling.settled("a.tif", (100, 1, 7), 10.0), settling.settled("a.tif", (100, 1, 7), 12.0)
    (False, True)
    >>> settling.settled("a.tif", (200, 2, 7), 13.0), settling.left("a.tif", 13.5)
    (False, 1.5)
    """

    def __init__(self, settle_s: float) -> None:
        if not settle_s >= 0:
            raise LatticeError(f"settle_s={settle_s}: expected seconds, 0 or more")
        self.settle_s = settle_s
        self._since: dict[str, tuple[Stamp, float]] = {}

    def settled(self, name: str, stamp: Stamp, now: float) -> bool:
        """Whether the file has looked like this for `settle_s` seconds, as far as we have seen."""
        known = self._since.get(name)
        if known is None or known[0] != stamp:
            self._since[name] = (stamp, now)
            return self.settle_s == 0
        return now - known[1] >= self.settle_s

    def left(self, name: str, now: float) -> float:
        """Seconds until the file is finished, if it does not change again."""
        return max(0.0, self._since[name][1] + self.settle_s - now)

    def forget(self, name: str) -> None:
        """Nothing is known of this file any more."""
        self._since.pop(name, None)


class Markers:
    """Files that say that others are finished.

    Parameters
    ----------
    marker
        ``"*.done"`` or ``"{stem}.done"`` for ``a.done`` beside ``a.tif``, ``"{name}.done"`` for
        ``a.tif.done``, or a plain name such as ``"DONE"`` for all files of its folder.

    Examples
    --------
    >>> Markers("*.done").of("a.ome.tif"), Markers("DONE").of("a.tif")
    (('a.done', 'a.ome.done', 'a.ome.tif.done'), ('DONE',))
    >>> Markers("{stem}.done").is_marker("b.done"), Markers("{stem}.done").is_marker("b.tif")
    (True, False)
    """

    def __init__(self, marker: str) -> None:
        if "/" in marker or not marker.strip("*") or re.sub(r"\{(stem|name)\}", "", marker) == "":
            raise LatticeError(
                f'done_marker={marker!r}: expected a name such as "*.done", "{{stem}}.done" or '
                '"DONE", beside the file that it is about'
            )
        if unknown := set(re.findall(r"\{(\w*)\}", marker)) - {"stem", "name"}:
            raise LatticeError(
                f"done_marker={marker!r} has {unknown}; expected {{stem}} or {{name}}"
            )
        self.marker = marker
        self._glob = re.sub(r"\{\w+\}", "*", marker)

    def is_marker(self, name: str) -> bool:
        """Whether a file is a marker."""
        return fnmatch.fnmatch(name, self._glob)

    def of(self, name: str) -> tuple[str, ...]:
        """Names of the markers, any of which would say that the file is finished."""
        stems = dict.fromkeys((strip_suffix(name), name.rpartition(".")[0] or name))
        if "*" in self.marker:
            return tuple(self.marker.replace("*", stem) for stem in (*stems, name))
        named = self.marker.replace("{name}", name)
        return tuple(dict.fromkeys(named.replace("{stem}", stem) for stem in stems))

    def says(self, name: str, markers: Collection[str]) -> bool:
        """Whether one of the markers that lie beside a file says that it is finished."""
        return any(marker in markers for marker in self.of(name))
