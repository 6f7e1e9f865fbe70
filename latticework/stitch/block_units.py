"""Stage of a pipeline: each block of the volume, fused from the tiles that meet it.

What a block needs to know beyond its tiles' pixels lies in a folder, the *plan*: where the tiles
lie, what makes them even, how they are blended, and where the image is written. A plan is named
after all that it says, so another placement is another plan and another image in the making. A
block writes its shards of the finest levels into that image: whoever writes a block of a plan
writes the same bytes, so a unit that runs twice, or comes back late, does no harm.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from latticework.errors import StageError
from latticework.io.lattice_store import load_lattice, save_lattice
from latticework.io.pyramid import Pyramid, Version
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.stages.collections import Tiles
from latticework.stitch.blending import Blend, fuse_block
from latticework.stitch.fusing import FusionPlan, pyramid_of
from latticework.stitch.images import MAKING_OF, check_replaceable, plan_of
from latticework.stitch.light import Even

FACTS = "plan.json"
ARRAYS = "plan.npz"


@dataclass(frozen=True)
class VolumePlan:
    """Everything that decides the pixels of the volume, beside those of the tiles."""

    lattice: Lattice
    """Tiles at their final positions; no source."""
    image: Path
    """Where the image is when it is complete."""
    gains: np.ndarray
    """By tile."""
    even: Even
    """What makes pixels even."""
    blend: Blend = "cosine"
    """How several pixels become one."""
    version: Version = "0.5"
    """Of OME-Zarr."""
    block: tuple[int, ...] | None = None
    """Pixels of a block along the spatial dims; found if None."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further ones of `latticework.stitch.FusionPlan.of`, as plain values."""
    channel: int = 0
    """The channel whose gains these are; others are left as they are."""
    pixels: str = ""
    """A hash of which files, of which state, the pixels come from."""
    asked: str = ""
    """A hash of what was asked for; it decides nothing."""

    @cached_property
    def fusion(self) -> FusionPlan:
        """Which tiles meet which block."""
        return FusionPlan.of(self.lattice, **self.options)

    @cached_property
    def meeting(self) -> Mapping[tuple[int, ...], list[int]]:
        """Rows of the tiles that meet each block, by the block's place in the grid."""
        return self.fusion.meeting(self.pyramid.block[-len(self.fusion.dims) :])

    @cached_property
    def key(self) -> str:
        """A hash of everything that decides the pixels."""
        about: tuple[Any, ...] = (self.blend, self.version, self.block, self.lattice.dtype.name)
        about = (*about, self.even.dark, self.even.pivot, sorted(self.options.items()))
        about = (*about, self.channel, self.pixels)
        digest = hashlib.blake2b(repr(about).encode(), digest_size=8)
        lattice = self.lattice
        light = self.even.light
        for array in (lattice.ids, lattice.position_um, lattice.shapes, self.gains, light):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def part(self) -> Path:
        """Folder of the image as long as it is being made."""
        return self.image.with_name(f"{self.image.name}.{self.key}.part")

    @property
    def part_is_own(self) -> bool:
        """Whether what lies in that folder was made by this plan."""
        return self.key in (plan_of(self.part, MAKING_OF), plan_of(self.part))

    @cached_property
    def pyramid(self) -> Pyramid:
        """The image in the making; its metadata need not be there yet."""
        return pyramid_of(self.fusion, self.part, block=self.block, version=self.version)

    def blocks(self) -> Lattice:
        """The lattice of the blocks: the units of the stage."""
        fusion = self.fusion
        pixels = np.broadcast_to(np.zeros((), self.lattice.dtype), fusion.shape)
        sides = dict(zip(fusion.dims, self.pyramid.block[-len(fusion.dims) :], strict=True))
        size = dict(zip(fusion.dims, fusion.pixel_size_um, strict=True))
        blocks = Lattice.from_array(pixels, block=sides, dims=fusion.dims, pixel_size_um=size)
        origin = dict(zip(fusion.dims, fusion.origin_um, strict=True))
        shift = [origin.get(axis, 0.0) for axis in blocks.spatial_dims]
        return blocks.replace(position_um=blocks.position_um + shift, source=None)

    # ---------------------------------------------------------------- on disk

    def save(self, folder: Path) -> Path:
        """Write the plan to a folder of its own in `folder`; where it is."""
        where = hashlib.blake2b(str(self.image).encode(), digest_size=4).hexdigest()
        path = folder / f"{self.key}-{where}"
        if self._is_at(path):
            return path
        new = folder / f".{path.name}.{os.getpid()}.new"
        for left in folder.glob(f".{path.name}.*.new"):
            shutil.rmtree(left, ignore_errors=True)  # of a disk that was full
        new.mkdir(parents=True)
        save_lattice(self.lattice, new)
        none = np.zeros(0, "f4")
        light = none if self.even.light is None else self.even.light
        np.savez(new / ARRAYS, gains=self.gains, light=light)
        facts = {
            "image": str(self.image),
            "dark": self.even.dark,
            "pivot": self.even.pivot,
            "blend": self.blend,
            "version": self.version,
            "block": self.block,
            "channel": self.channel,
            "options": dict(self.options),
            "pixels": self.pixels,
            "asked": self.asked,
        }
        (new / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)  # what is there cannot be read
        new.rename(path)
        return path

    def _is_at(self, path: Path) -> bool:
        """Whether this very plan is in a folder, whole."""
        try:
            return path.is_dir() and self.load(path).key == self.key
        except StageError:
            return False

    @classmethod
    def load(cls, path: Path) -> "VolumePlan":
        """The plan in a folder.

        Raises
        ------
        StageError
            If it is not there, or damaged.
        """
        try:
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
            with np.load(path / ARRAYS, allow_pickle=False) as arrays:
                gains, light = arrays["gains"], arrays["light"]
            block = None if facts["block"] is None else tuple(facts["block"])
            even = Even(light if light.size else None, tuple(facts["dark"]), facts["pivot"])
            return cls(
                *(load_lattice(path), Path(facts["image"]), gains, even),
                *(facts["blend"], facts["version"], block, facts["options"]),
                *(facts["channel"], facts["pixels"], facts["asked"]),
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise StageError(
                f"the plan of the volume at {path} cannot be read ({error}): plan it again"
            ) from error


@lru_cache(maxsize=2)
def _known_plan(path: str) -> VolumePlan:
    return VolumePlan.load(Path(path))


class _Pixels:
    """Tiles that a unit reads, made even and alike, as the source of a lattice."""

    def __init__(self, tiles: Tiles, plan: VolumePlan) -> None:
        self._tiles, self._plan = tiles, plan

    def read(self, tile: int, box: Box) -> np.ndarray:
        plan = self._plan
        own = "c" not in plan.lattice.tile_dims or box.start[0] == plan.channel
        gain = float(plan.gains[plan.lattice.rows_of([tile])[0]]) if own else 1.0
        return plan.even(np.asarray(self._tiles.read(tile, box)), box, gain)


def fuse_unit(tiles: Tiles, settled: Mapping[str, Any], *, plan: str) -> dict[str, Any]:
    """Fuse a block of the volume and write it into the image; a stage.

    Parameters
    ----------
    tiles
        Those that meet the block, and a margin around it.
    settled
        ``key``: a hash of where the tiles lie now, and how bright they are.
    plan
        Folder of the plan.

    Returns
    -------
    dict
        ``tiles``: how many tiles it was fused from; ``files``: bytes of the files that it wrote.

    Raises
    ------
    StageError
        If tiles lie elsewhere than the plan has them.
    """
    known = _known_plan(plan)
    if settled["key"] != Path(plan).parent.name:
        raise StageError(
            f"block {tiles.unit.name}: tiles or their brightness have been settled anew since this "
            "volume was planned: stitch again, which plans it anew"
        )
    if not known.pyramid.begun:
        raise StageError(
            f"block {tiles.unit.name}: the image in the making, {known.part}, is not there any "
            "more: stitch again, which begins it anew"
        )
    there, lattice = set(tiles.present), known.lattice
    meeting = known.meeting.get(tiles.unit.index, [])
    rows = [row for row in meeting if _readable(lattice, row, there)]
    fusion = replace(known.fusion, lattice=lattice.replace(source=_Pixels(tiles, known)))
    pyramid = known.pyramid
    sides = pyramid.block[-len(fusion.dims) :]
    start = tuple(i * b for i, b in zip(tiles.unit.index, sides, strict=True))
    stop = tuple(min(s + b, n) for s, b, n in zip(start, sides, fusion.shape, strict=True))
    for channel in range(pyramid.shape[0] if fusion.has_channels else 1):
        pieces = fusion.pieces(rows, channel)
        pixels = fuse_block(Box(start, stop), pieces, lattice.dtype, blend=known.blend)
        if fusion.has_channels:
            box = Box((channel, *start), (channel + 1, *stop))
            pyramid.write_block(box, pixels[None])
        else:
            pyramid.write_block(Box(start, stop), pixels)
    return {"tiles": len(rows), "files": written_files(pyramid, tiles.unit.index)}


def written_files(pyramid: Pyramid, index: Sequence[int]) -> dict[str, int]:
    """Bytes of the files of a block, by their path in the image; blank ones are none.

    Parameters
    ----------
    pyramid
        The image; of OME-Zarr 0.5, where a block is one file of each level.
    index
        Place of the block along the spatial dims.
    """
    if pyramid.version != "0.5":
        return {}
    channels = range(pyramid.shape[0]) if "c" in pyramid.dims else [None]
    found = {}
    for level in pyramid.levels[: pyramid.by_blocks]:
        for channel in channels:
            place = [*([] if channel is None else [channel]), *index]
            name = f"{level.number}/c/{'/'.join(map(str, place))}"
            file = pyramid.path / name
            if file.exists():
                found[name] = file.stat().st_size
    return found


def damaged(image: Path, files: Mapping[str, int]) -> list[str]:
    """Those of a block's files that are gone, or of another size.

    Parameters
    ----------
    image
        Folder of the image in the making.
    files
        As `written_files` gave them.
    """
    wrong = []
    for name, size in files.items():
        try:
            if (image / name).stat().st_size != size:
                wrong.append(name)
        except OSError:
            wrong.append(name)
    return wrong


def _readable(lattice: Lattice, row: int, there: set[Any]) -> bool:
    """Whether a tile is to be fused: not one that was acquired badly, or is not there."""
    id = int(lattice.ids[row])
    return id in there and id not in lattice.problems


def finish_image(units: Any, *, plan: str) -> dict[str, Any]:
    """Make the coarsest levels of the image, and give it its name; a reduction over its blocks.

    Parameters
    ----------
    units
        What the blocks said.
    plan
        Folder of the plan.

    Returns
    -------
    dict
        ``image``: where it is; ``blocks``: of how many blocks.
    """
    known = _known_plan(plan)
    about = {"latticework": {"plan": known.key, "asked": known.asked}}
    old = known.image.with_name(f"{known.image.name}.{known.key}.old")
    if plan_of(known.image) == known.key and not known.part_is_own:
        shutil.rmtree(known.part, ignore_errors=True)  # an exchange with it was cut short
    if known.part.exists():
        check_replaceable(known.image)
        wrong = [name for files in units["files"] for name in damaged(known.part, files)]
        if wrong or not known.pyramid.begun:
            raise StageError(
                f"{len(wrong)} files of blocks in {known.part} are gone or cut short, such as "
                f"{wrong[0] if wrong else 'its metadata'}: stitch again, which makes these blocks "
                "anew"
            )
        for left in known.part.rglob("*.__lock"):
            left.unlink(missing_ok=True)  # of writers that were killed
        shutil.rmtree(old, ignore_errors=True)
        known.pyramid.finish(known.image, about=about, aside=old)  # its plan was allowed to
    elif plan_of(known.image) != known.key:
        raise StageError(
            f"{known.part} is not there, and {known.image} is another image: make it again, with "
            "project.retry('volume', failed=False)"
        )
    shutil.rmtree(old, ignore_errors=True)
    return {"image": str(known.image), "blocks": len(units)}


__all__ = [
    "VolumePlan",
    "damaged",
    "finish_image",
    "fuse_unit",
    "written_files",
]
