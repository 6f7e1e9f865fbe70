"""The states that a run leaves for whoever looks, read again only where they have changed."""

from pathlib import Path

import numpy as np

from latticework.errors import StoreError
from latticework.io.plain_zarr import read_group
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State


class StatusFiles:
    """The status array of the stages on one lattice, for whoever looks at it again and again.

    A stage's states are one file of a byte for each place on the grid, replaced by rename: looking
    costs a `stat` for each stage, and a read for each that has changed.

    Parameters
    ----------
    path
        The status array's folder (`latticework.stages.paths.status_folder`).
    lattice
        The lattice of the units.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.io.status_array import write_status
    >>> path = Path(tempfile.mkdtemp()) / "status.zarr"
    >>> lattice = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> write_status(path, lattice, {"clean": {"state": np.array([4, 4, 5, 1], "u1")}})
    >>> files = StatusFiles(path, lattice)
    >>> files.look()
    {'clean': array([[4, 4],
           [5, 1]], dtype=uint8)}
    >>> files.look()
    {}
    """

    def __init__(self, path: Path, lattice: Lattice) -> None:
        self.path, self.lattice = path, lattice
        self._group_seen: int | None = None
        self._stages: list[str] = []
        self._seen: dict[str, tuple[int, int]] = {}

    def look(self) -> dict[str, np.ndarray]:
        """States, on the grid, of the stages of which they have changed; uint8, 0 in holes.

        Stages of another lattice than this one (it has grown meanwhile) are left out.
        """
        if not self._see_group():
            return {}
        changed = {}
        for number, stage in enumerate(self._stages):
            states = self._read(number, stage)
            if states is not None:
                changed[stage] = states
        return changed

    def forget(self) -> None:
        """Read everything again when it is looked at next."""
        self._group_seen, self._seen = None, {}

    def _see_group(self) -> bool:
        """Whether the group is there, and of our lattice."""
        try:
            modified = (self.path / "zarr.json").stat().st_mtime_ns
            if modified != self._group_seen:
                about = read_group(self.path, what="status")["attributes"]["latticework_status"]
                self._stages, self._seen = list(map(str, about["stages"])), {}
                self._group_seen = modified
        except (OSError, StoreError, KeyError, TypeError):
            self._group_seen = None
            return False
        return True

    def _read(self, number: int, stage: str) -> np.ndarray | None:
        """States of a stage, if they are other ones than before."""
        lattice = self.lattice
        file = self.path / "state" / ".".join(["c", str(number), *["0"] * len(lattice.dims)])
        try:
            about = file.stat()
            seen = about.st_mtime_ns, about.st_ino
            if self._seen.get(stage) == seen:
                return None
            states = np.fromfile(file, np.uint8)
        except OSError:
            return None
        if states.size != int(np.prod(lattice.shape)) or states.max(initial=0) >= len(State):
            return None  # torn, or of a lattice that has grown since
        self._seen[stage] = seen
        return states.reshape(lattice.shape)
