"""The volume that the halo benchmark works on: a made-up specimen in a sharded Zarr v3 array."""

import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from benchmarks.functions import gradient

DTYPE = np.dtype("uint16")


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """Size and storage of the volume, the same for the input and everybody's output."""

    shape: tuple[int, int, int]
    block: tuple[int, int, int]
    #: one tile, one shard (or one plain chunk)
    inner: tuple[int, int, int] | None
    #: chunk within a shard; None for plain chunks of `block`

    @classmethod
    def from_arguments(
        cls, *, shape: Sequence[int], block: Sequence[int], inner: Sequence[int] | None
    ) -> "VolumePlan":
        """The plan from what went through JSON."""
        return cls(_three(shape), _three(block), None if inner is None else _three(inner))

    def as_arguments(self) -> dict[str, object]:
        """The plan as something that JSON can carry."""
        inner = None if self.inner is None else list(self.inner)
        return {"shape": list(self.shape), "block": list(self.block), "inner": inner}

    @property
    def n_bytes(self) -> int:
        """Size of the pixels, uncompressed."""
        return int(np.prod(self.shape)) * DTYPE.itemsize

    def origins(self) -> list[tuple[int, int, int]]:
        """First pixel of each block, in C order."""
        z, y, x = (range(0, n, b) for n, b in zip(self.shape, self.block, strict=True))
        return list(itertools.product(z, y, x))

    def box(self, origin: Sequence[int], halo: int = 0) -> tuple[slice, ...]:
        """A block's pixels and `halo` more to each side, as far as the volume goes."""
        return tuple(
            slice(max(o - halo, 0), min(o + b + halo, n))
            for o, b, n in zip(origin, self.block, self.shape, strict=True)
        )

    def halo_share(self, halo: int) -> float:
        """Pixels of all blocks with their halos over the pixels of the volume."""
        boxes = (self.box(origin, halo) for origin in self.origins())
        pixels = sum(int(np.prod([s.stop - s.start for s in box])) for box in boxes)
        return pixels / int(np.prod(self.shape))

    def metadata(self) -> dict[str, Any]:
        """The array's ``zarr.json``: Blosc-LZ4 with bitshuffle, as the library's own stores."""
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        blosc = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": 2}
        codecs: list[dict[str, Any]] = [
            little,
            {"name": "blosc", "configuration": {**blosc, "blocksize": 0}},
        ]
        if self.inner is not None:
            sharding = {
                "chunk_shape": list(self.inner),
                "codecs": codecs,
                "index_codecs": [little, {"name": "crc32c"}],
                "index_location": "end",
            }
            codecs = [{"name": "sharding_indexed", "configuration": sharding}]
        chunks = {"chunk_shape": list(self.block)}
        return {
            "shape": list(self.shape),
            "data_type": DTYPE.name,
            "chunk_grid": {"name": "regular", "configuration": chunks},
            "codecs": codecs,
            "fill_value": 0,
            "dimension_names": ["z", "y", "x"],
        }


def open_volume(path: Path | str, *, create: VolumePlan | None = None) -> ts.TensorStore:
    """The array at `path` through tensorstore, with one core and no waiting for the disk."""
    spec: dict[str, Any] = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "context": {"data_copy_concurrency": {"limit": 1}, "file_io_sync": False},
    }
    if create is not None:
        spec |= {"metadata": create.metadata(), "create": True}
    return ts.open(spec).result()


def write_specimen(scratch_path: Path, plan: VolumePlan, *, seed: int = 0) -> list[int]:
    """Write the volume to `scratch_path`; what `digests` gives for its `gradient`.

    Smooth structure under camera noise: it compresses about as microscope data do (2:1).
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 12, plan.block).astype(np.float32)
    z, y, x = np.meshgrid(*(np.arange(b) for b in plan.block), indexing="ij", sparse=True)
    waves = 400 + 200 * np.sin(z / 17) * np.sin(y / 31) * np.sin(x / 23)
    tile = (waves + noise).astype(DTYPE)
    whole = np.empty(plan.shape, DTYPE)
    for k, origin in enumerate(plan.origins()):
        whole[plan.box(origin)] = np.roll(tile, 7 * k, axis=2)
    open_volume(scratch_path, create=plan)[...].write(whole).result()
    truth = gradient(whole)
    return [_digest(truth[plan.box(origin)]) for origin in plan.origins()]


def digests(path: Path | str, plan: VolumePlan) -> Iterator[int]:
    """Checksum of each block of an array, in the order of the plan."""
    array = open_volume(path)
    for origin in plan.origins():
        yield _digest(array[plan.box(origin)].read().result())


def check_result(path: Path | str, plan: VolumePlan, truth_file: Path | str) -> None:
    """Compare an output with the gradient of the whole volume.

    Raises
    ------
    AssertionError
        Naming the blocks that differ.
    """
    truth = json.loads(Path(truth_file).read_text())
    found = list(digests(path, plan))
    wrong = [o for o, f, t in zip(plan.origins(), found, truth, strict=True) if f != t]
    if wrong:
        message = f"{len(wrong)} of {len(truth)} blocks differ from the whole-array result"
        raise AssertionError(f"{message}, the first at {wrong[0]}: {path}")


def _digest(block: np.ndarray[Any, Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(block).data)


def _three(numbers: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = (int(n) for n in numbers)
    return z, y, x
