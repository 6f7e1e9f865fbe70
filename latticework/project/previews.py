"""Looking at previews: those that workers made, and those that are made because somebody looks."""

import contextlib
import math
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import LatticeworkError, ProjectError
from latticework.io.preview_files import Preview, PreviewWriter, waiting_name
from latticework.io.preview_layout import PreviewLayout
from latticework.io.preview_store import PreviewStore, waiting_folder
from latticework.io.tile_array import TileArray
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.outputs import open_reader
from latticework.project.pipeline import SOURCE, Node
from latticework.project.preview_rules import layout_of
from latticework.stages.bench import ArrayInput
from latticework.stages.outputs import Output
from latticework.stages.paths import array_folder, previews_folder
from latticework.stages.previewing import preview_of, source_stamps

if TYPE_CHECKING:
    from latticework.project.folder import ProjectFolder

SHARED_S = 2.0
"""Seconds for which a shared contrast is kept."""
MOST_BLOCKS = 128
"""Shards from which it is worked out."""
MOST_BYTES = 2**31
"""Bytes of a tile that is read to make a preview of it."""
THREADS = 4
"""Tiles that are read at once to make previews of them."""
GROUP = 32
"""Previews that are made before the time is looked at."""
KEPT = 256
"""Previews that could not be written, which are kept in memory."""


class StagePreviews:
    """The previews of a stage, for whoever looks; any number of threads may.

    Whatever is not there, though the stage has made that tile, is made from its output and kept,
    where the project's folder can be written to.

    Parameters
    ----------
    project
        The project.
    name
        Name of the stage, or ``"source"``.
    layout
        Of its previews.
    """

    def __init__(self, project: "ProjectFolder", name: str, layout: PreviewLayout) -> None:
        self.project, self.name, self.layout = project, name, layout
        node = self.node
        self.folder = previews_folder(project.path, name)
        self.number = node.id
        self._store = PreviewStore(self.folder, layout, node.id)
        self._lock = threading.RLock()
        file = waiting_folder(self.folder) / waiting_name(node.id, f"reader{os.getpid()}")
        self._writer = PreviewWriter(file, layout)
        self._reader: tuple[tuple[object, ...], ArrayInput] | None = None
        self._made: dict[int, tuple[int, Preview]] = {}
        self._prints: tuple[object, np.ndarray] | None = None
        self._lattice: tuple[Lattice, Output | None, Lattice] | None = None
        self._shared: tuple[float, np.ndarray] = (0.0, np.zeros((0, 2)))

    @property
    def node(self) -> Node:
        """The stage."""
        return self.project.pipeline[self.name]

    @property
    def made_lattice(self) -> Lattice:
        """The lattice of the stage's units with what it makes of them."""
        node = self.node
        known = self._lattice
        if known is None or known[0] is not node.lattice or known[1] != node.output:
            known = self._lattice = node.lattice, node.output, node.made_lattice()
        return known[2]

    # ---------------------------------------------------------------- which there are

    def expected(self, units: np.ndarray) -> np.ndarray:
        """Stamps that the previews of some units should have; 0 where there is no tile."""
        node = self.node
        if self.name != SOURCE:
            published = node.units.published
            found = np.zeros(len(units), "u8")
            known = units < len(published)
            found[known] = published[units[known]]
            return found
        source = node.lattice.source
        if source is None:
            return np.zeros(len(units), "u8")
        if self._prints is None or self._prints[0] is not source:
            self._prints = source, source_stamps(source, len(node.lattice))
        there = node.presence is None or node.presence[units] == State.COMPLETE
        bad = np.isin(units, list(node.lattice.problems)) if node.lattice.problems else False
        stamps = self._prints[1][units]
        return np.where(there & np.logical_not(bad), stamps, 0).astype("u8")

    def missing(self, units: np.ndarray) -> np.ndarray:
        """Those of some units that are made, but have no preview of what they are now."""
        with self._lock:
            self._store.look()
            wanted = self.expected(units)
            lacking: np.ndarray = units[(wanted > 0) & ~self._there(units, wanted)]
            return lacking

    def _there(self, units: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        there: np.ndarray = self._store.stamps(units) == wanted
        for k in np.flatnonzero(np.isin(units, list(self._made))).tolist() if self._made else []:
            there[k] |= self._made[int(units[k])][0] == int(wanted[k])
        return there & (wanted > 0)

    # ---------------------------------------------------------------- looking

    def contrast(self, units: np.ndarray) -> np.ndarray:
        """Percentiles of the previews that there are, (unit, c, bound); else NaN."""
        with self._lock:
            self._store.look()
            found = self._store.contrast(units)
            found[~self._there(units, self.expected(units))] = np.nan
            for k, preview in self._in_memory(units):
                found[k] = preview.contrast
            return found

    def shared_contrast(self) -> np.ndarray:
        """Black and white of all pictures of the stage, (c, bound): few tiles are beyond.

        Of stages with very many tiles, from a part of them; worked out every few seconds at most.
        """
        with self._lock:
            at, known = self._shared
            if time.monotonic() < at + SHARED_S and len(known):
                return known
            n, block = len(self.node.units), self.layout.per_shard
            blocks = np.unique(np.linspace(0, max(0, n - 1) // block, MOST_BLOCKS).astype(int))
            units = (blocks[:, None] * block + np.arange(block)).ravel()
            found = self.contrast(units[units < n])
            shared = np.tile([0.0, 1.0], (self.layout.channels, 1))
            for channel in range(self.layout.channels):
                there = found[:, channel][np.isfinite(found[:, channel, 0])]
                if len(there):
                    shared[channel] = np.percentile(there[:, 0], 5), np.percentile(there[:, 1], 98)
            self._shared = time.monotonic(), shared  # until others are made
            return shared

    def read(
        self, units: np.ndarray, *, small: bool = False, make_s: float = float("inf")
    ) -> "Found":
        """Previews of some units; those that are missing are made, for so many seconds at most.

        Parameters
        ----------
        units
            Ids.
        small
            Whether small pictures will do (16 pixels at most).
        make_s
            Seconds for making what is missing.
        """
        with self._lock:
            self._store.look()
            wanted = self.expected(units)
            there = self._there(units, wanted)
            if small:
                pixels = self._store.small(units)
            else:
                shape = (len(units), *self.layout.shape)
                pixels = np.full(shape, self.layout.blank, self.layout.dtype)
                for k in np.flatnonzero(there).tolist():
                    found = self._store.read(int(units[k]))
                    if found is not None:
                        pixels[k] = found
                    else:
                        there[k] = int(units[k]) in self._made
            began = time.monotonic()
            lacking = np.flatnonzero((wanted > 0) & ~there)
            there[self._make(units, wanted, lacking, began + make_s)] = True
            self._writer.close()
            for k, preview in self._in_memory(units):
                pixels[k] = preview.small if small else preview.pixels
            pixels[~there] = self.layout.blank
            missing = int(((wanted > 0) & ~there).sum())
            return Found(pixels, there, missing, time.monotonic() - began)

    def one(self, unit: int) -> Preview:
        """The preview of a unit that is made.

        Raises
        ------
        LatticeworkError
            If its output cannot be read, where it has none yet.
        """
        with self._lock:
            found = self.read(np.array([unit]), make_s=0.0)
            wanted = int(self.expected(np.array([unit]))[0])
            if found.there[0]:
                contrast = self.contrast(np.array([unit]))[0]
                return Preview(found.pixels[0], found.pixels[0], contrast)
            preview = self._made_now(unit)
            self._keep(unit, wanted, preview)
            self._writer.close()
            return preview

    def _in_memory(self, units: np.ndarray) -> list[tuple[int, Preview]]:
        if not self._made:
            return []
        places = np.flatnonzero(np.isin(units, list(self._made))).tolist()
        wanted = self.expected(units[places])
        return [
            (k, self._made[int(units[k])][1])
            for k, stamp in zip(places, wanted.tolist(), strict=True)
            if self._made[int(units[k])][0] == stamp
        ]

    # ---------------------------------------------------------------- making

    def _make(
        self, units: np.ndarray, wanted: np.ndarray, lacking: np.ndarray, until: float
    ) -> list[int]:
        """Make previews that are lacking, until a time; the places of those that were made."""
        made: list[int] = []

        def attempt(k: int) -> Preview | None:
            if time.monotonic() >= until:
                return None
            try:
                return self._made_now(int(units[k]))
            except (LatticeworkError, OSError, ValueError):
                return None  # project.verify() says what is wrong with it

        if not len(lacking) or time.monotonic() >= until:
            return made
        with ThreadPoolExecutor(THREADS, thread_name_prefix="latticework-previews") as pool:
            for start in range(0, len(lacking), GROUP):
                if time.monotonic() >= until:
                    break
                group = lacking[start : start + GROUP].tolist()
                for k, preview in zip(group, pool.map(attempt, group), strict=True):
                    if preview is not None:
                        self._keep(int(units[k]), int(wanted[k]), preview)
                        made.append(k)
        return made

    def _made_now(self, unit: int) -> Preview:
        node = self.node
        version = (node.generation, id(node.lattice), node.output)
        reader = self._reader
        if reader is None or reader[0] != version:
            reader = version, open_reader(self.project, node)  # type: ignore[arg-type]
            self._reader = reader
        output = node.output
        assert output is not None
        assert output.dims is not None
        assert output.shape is not None
        nbytes = math.prod(output.shape) * np.dtype(output.dtype).itemsize
        if nbytes > MOST_BYTES:
            raise ProjectError(
                f"a tile of {self.name!r} has {nbytes / 1e9:.1f} GB: its preview is made by the "
                "worker that makes it, not for who looks"
            )
        if node.reduction:
            pixels = TileArray.open(array_folder(self.project.path, self.name)).read(())
        else:
            pixels = reader[1].read_box(unit, None)
        return preview_of(pixels, output.dims, self.layout)

    def _keep(self, unit: int, stamp: int, preview: Preview) -> None:
        """Keep it for those who look later, and in memory in any case."""
        self._made[unit] = stamp, preview
        self._shared = 0.0, self._shared[1][:0]
        while len(self._made) > KEPT:
            self._made.pop(next(iter(self._made)))
        with contextlib.suppress(OSError):
            self._writer.add(unit, stamp, preview)


class Found:
    """Previews that were looked for.

    Parameters
    ----------
    pixels
        Dims (unit, c, y, x).
    there
        For each unit, whether there is one.
    missing
        How many could be made that were not.
    made_s
        Seconds that making others took.
    """

    __slots__ = ("made_s", "missing", "pixels", "there")

    def __init__(self, pixels: np.ndarray, there: np.ndarray, missing: int, made_s: float) -> None:
        self.pixels, self.there, self.missing, self.made_s = pixels, there, missing, made_s


def previews_of(project: "ProjectFolder", name: str) -> StagePreviews:
    """The previews of a stage, opened once for as long as the stage makes the same.

    Raises
    ------
    ProjectError
        If its results are no pictures, or there are none yet.
    """
    node = project.pipeline[name]
    layout = layout_of(project.settings, node)
    if layout is None:
        made = "nothing yet" if node.output is None else f"{node.output.kind} {_shape(node)}"
        raise ProjectError(
            f"stage {name!r} makes {made}: previews are of arrays of numbers with the dims y and x"
        )
    known: StagePreviews | None = project.previews_open.get(name)
    if known is None or (known.number, known.layout) != (node.id, layout):
        known = project.previews_open[name] = StagePreviews(project, name, layout)
    return known


def _shape(node: Node) -> Mapping[str, int] | str:
    output = node.output
    if output is None or output.dims is None or output.shape is None:
        return ""
    return dict(zip(output.dims, output.shape, strict=True))


__all__ = ["Found", "StagePreviews", "previews_of"]
