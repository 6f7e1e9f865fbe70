"""All tiles fused into one volume on disk, block by block."""

import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import LatticeError, StoreError
from latticework.io.pyramid import Pyramid, Version
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.stitch.blending import BLENDS, Blend, fuse_block
from latticework.stitch.fusion_plan import FusionPlan
from latticework.stitch.images import check_not_tiles, check_replaceable
from latticework.stitch.masking import Masks
from latticework.stitch.resampling import Interpolation
from latticework.stitch.views import check_views
from latticework.stitch.volumes import check_blocks
from latticework.stitch.warps import Warp


def fuse(
    lattice: Lattice,
    path: Path | str,
    *,
    blend: Blend = "cosine",
    pixel_size_um: float | Sequence[float] | Mapping[str, float] | None = None,
    warps: Sequence[Warp | None] | None = None,
    interpolation: Interpolation = "linear",
    gains: Any = None,
    offsets: Any = None,
    masks: Masks | None = None,
    merge: str | Sequence[str] = (),
    merge_axis: str = "x",
    blank: float = 0,
    version: Version = "0.5",
    block: Sequence[int] | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Pyramid:
    """Fuse all tiles of a lattice into one OME-Zarr image with a pyramid.

    Memory is that of the blocks that are made at the same time, whatever the size of the volume.
    A lattice of planes (tiles without pixels along z) becomes a volume, plane by plane; the labels
    of an axis ``channel`` become its channels.

    Parameters
    ----------
    lattice
        Tiles at their final positions, with pixels.
    path
        Folder of the new image, such as ``brain.ome.zarr``.
    blend
        How pixels of several tiles become one; see `latticework.stitch.blending.BLENDS`.
    pixel_size_um
        Size of the volume's pixels, micrometres: one number, or by axis; that of the tiles if not
        given. Larger ones are means of all that lies in them, smaller ones are interpolated.
    warps
        For each tile how it is bent beyond its position, or None.
    interpolation
        Between pixels: ``"linear"``, or ``"cubic"`` (sharper; may overshoot beside edges).
    gains, offsets
        Pixels become ``pixel * gain + offset``: a number for each tile, shape (tiles,), or for each
        tile and channel, shape (tiles, channels).
    masks
        Pixels that are not used, where True: an array for all tiles (of the pixels of a tile, or
        of its last axes, as ``y x`` of a camera), a lattice of masks with the same ids, or a
        function of a tile's id and a box of its spatial pixels. NaN is never used.
    merge
        Lattice dims whose labels are views of the same, such as ``"sheet"``. Two views are blended
        by weights that change over along `merge_axis` (blends ``"cosine"`` and ``"none"``) as a
        logistic function, several by what each shows (``"content"``) or alike (``"average"``).
    merge_axis
        Axis along which two light sheets enter; labels ``left`` and ``right`` are known, else the
        first one enters at the axis' beginning.
    blank
        Value where there is no tile, or only masked pixels; NaN is possible for floats.
    version
        Of OME-Zarr, ``"0.5"`` or ``"0.4"``.
    block
        Pixels of a block along the spatial dims.
    overwrite
        Whether an OME-Zarr image that is there already is replaced, once the new one is complete.
    threads
        Blocks at a time; as many as there are cores if not given.
    progress
        Called with the number of blocks that are done, and of all.

    Returns
    -------
    Pyramid
        The image on disk. It has its name only when it is complete.

    Raises
    ------
    LatticeError
        If tiles would be fused that show different things (as at several times), an option does
        not fit the tiles, their pixels are no numbers, or they lie where the image belongs.
    ValueError
        If an option makes no sense.
    StoreError
        If something is there already that is not to be replaced.
    StageError
        If it is no image.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 64, "x": 64}, seed=2)
    >>> image = fuse(tiles, Path(tempfile.mkdtemp()) / "image.ome.zarr")
    >>> image.dims, len(image.levels)
    (('y', 'x'), 1)
    """
    path = Path(path).expanduser().resolve()
    _check(lattice, blend, blank)
    _check_place(path, lattice, overwrite=overwrite)
    plan = FusionPlan.of(
        lattice,
        pixel_size_um=pixel_size_um,
        warps=warps,
        interpolation=interpolation,
        gains=gains,
        offsets=offsets,
        masks=masks,
        merge=merge,
        merge_axis=merge_axis,
    )
    check_views(lattice, (merge,) if isinstance(merge, str) else merge, blend)
    key = uuid.uuid4().hex[:16]
    part, old = (path.with_name(f"{path.name}.{key}.{of}") for of in ("part", "old"))
    image = _created(pyramid_of(plan, part, block=block, version=version), path)
    count = plan.has_channels
    blocks = image.blocks()
    sides = image.block[-len(plan.dims) :]
    meeting = plan.meeting(sides)

    def make(box: Box) -> None:
        channel = box.start[0] if count else 0
        inner = Box(box.start[-len(sides) :], box.stop[-len(sides) :])
        index = tuple(a // b for a, b in zip(inner.start, sides, strict=True))
        pieces = plan.pieces(meeting.get(index, []), channel)
        pixels = fuse_block(inner, pieces, lattice.dtype, blend=blend, blank=blank)
        image.write_block(box, pixels[None] if count else pixels)

    try:
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            for count_done, _ in enumerate(pool.map(make, blocks), 1):
                progress(count_done, len(blocks))
        done = image.finish(path, threads=threads, aside=old if overwrite else None)
    except BaseException:
        shutil.rmtree(image.path, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return done


def _created(image: Pyramid, path: Path) -> Pyramid:
    """The image in the making, on disk."""
    try:
        return image.create()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be made ({error.strerror or error}): choose another folder"
        ) from error


def pyramid_of(
    plan: FusionPlan, path: Path, *, block: Sequence[int] | None = None, version: Version = "0.5"
) -> Pyramid:
    """The image of a plan, of which nothing is on disk.

    Parameters
    ----------
    plan
        Of the volume.
    path
        Folder of the image.
    block, version
        As of `fuse`.

    Raises
    ------
    LatticeError
        If blocks are too many, or larger than memory.
    """
    count = (len(plan.channels or ("",)),) if plan.has_channels else ()
    image = Pyramid.plan(
        path,
        dims=(*(("c",) if count else ()), *plan.dims),
        shape=(*count, *plan.shape),
        dtype=plan.lattice.dtype,
        pixel_size_um=plan.pixel_size_um,
        origin_um=plan.origin_um,
        block=block,
        channels=plan.channels,
        version=version,
    )
    check_blocks(plan.shape, image.block[-len(plan.dims) :], plan.lattice.dtype)
    return image


def check_pixels(lattice: Lattice) -> None:
    """Refuse tiles whose pixels cannot be fused.

    Raises
    ------
    LatticeError
        If they are no numbers.
    """
    if lattice.dtype.kind not in "iuf":
        raise LatticeError(
            f"pixels of type {lattice.dtype} cannot be compared or fused: convert them to uint8"
        )


def _check(lattice: Lattice, blend: str, blank: float) -> None:
    """Refuse before any work what cannot be done."""
    check_pixels(lattice)
    if blend not in BLENDS:
        raise LatticeError(f"blend={blend!r}: choose one of {', '.join(BLENDS)}")
    limits = np.iinfo(lattice.dtype) if lattice.dtype.kind in "iu" else None
    if limits is not None and not limits.min <= blank <= limits.max:
        raise ValueError(
            f"blank={blank}: pixels of type {lattice.dtype} are from {limits.min} to {limits.max}"
        )


def _check_place(path: Path, lattice: Lattice, *, overwrite: bool) -> None:
    """Refuse before any work to write where something is that is to stay."""
    check_not_tiles(path, lattice)
    if not path.exists():
        return
    if not overwrite:
        raise StoreError(
            f"{path} exists already: remove it, allow it to be replaced (overwrite=True), or "
            "choose another name"
        )
    check_replaceable(path)


__all__ = ["FusionPlan", "check_pixels", "fuse", "pyramid_of"]
