"""Results as files that other programs read."""

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeworkError, ProjectError
from latticework.lattice.states import State
from latticework.lattice.tile import Tile
from latticework.project import tiff_files
from latticework.stages.bench import ArrayInput

if TYPE_CHECKING:
    from latticework.project.outputs import StageOutputs
    from latticework.project.pipeline import Node
    from latticework.project.project import Project

IMAGES = (".tif", ".tiff")
TABLES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Unexported:
    """A tile whose result is missing, or older than its pipeline."""

    tile: Tile
    """Its address."""
    state: str
    """State of the stage there, such as ``"failed"``."""

    def __str__(self) -> str:
        return f"{short_name(self.tile)} ({self.state})"


class Exported(list[Path]):
    """The files that were written, and what is not in them.

    Examples
    --------
    >>> files = Exported([Path("out/00000_y0_x0.ome.tif")])
    >>> len(files), files.left_out, files.stale
    (1, (), ())
    """

    left_out: tuple[Unexported, ...] = ()
    """Tiles that were asked for and have no result."""
    stale: tuple[Unexported, ...] = ()
    """Tiles whose result is written but is to be made again: their pipeline or input changed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be written, checked."""

    project: "Project"
    stage: str
    path: Path
    labels: Mapping[str, Any]
    overwrite: bool
    ids: tuple[int, ...]
    """Tiles asked for that have a result; ``(0,)`` for a reduction."""

    @property
    def node(self) -> "Node":
        """The stage."""
        return self.project.pipeline[self.stage]

    @property
    def outputs(self) -> "StageOutputs":
        """What it made."""
        return self.project[self.stage]

    def pixels(self) -> ArrayInput | None:
        """What reads its tiles; None for a reduction."""
        from latticework.project.outputs import open_reader

        node = self.node
        if node.reduction or node.output is None:
            return None
        return open_reader(self.project, node)

    def free(self, files: Iterable[Path]) -> list[Path]:
        """The files, if they may be written; makes their folder.

        Raises
        ------
        ProjectError
            If one exists already and is not to be overwritten.
        """
        files = list(files)
        taken = [file for file in files if file.exists() or file.is_symlink()]
        if taken and not self.overwrite:
            more = f" and {len(taken) - 1:,} more" if len(taken) > 1 else ""
            raise ProjectError(
                f"{taken[0]}{more} exists already: choose another path, or overwrite it with "
                "overwrite=True (--overwrite)"
            )
        if folder := next((file for file in taken if file.is_dir()), None):
            raise ProjectError(f"{folder} is a folder: choose another path, or remove it")
        try:
            files[0].parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ProjectError(
                f"{files[0].parent} is a file, and a folder is needed: choose another path"
            ) from None
        return files


def export_stage(
    project: "Project",
    stage: str,
    path: Path,
    labels: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Exported:
    """See `Project.export`."""
    labels = dict(labels)
    overwrite = bool(labels.pop("overwrite", overwrite))
    node, kind = project.pipeline[stage], project[stage].kind
    if kind in (None, "nothing"):
        raise ProjectError(f"stage {stage!r} has nothing to export: {project.why(stage, 0)}")
    image = None
    if path.suffix.lower() in IMAGES and kind != "array":
        image = _stitched_image(project, stage)
    ending = known_ending(path, stage, TABLES if image is None and kind != "array" else IMAGES)
    if node.reduction and labels and kind != "table":
        raise ProjectError(f"stage {stage!r} has one result of all tiles: choose no tile of it")
    ids, left_out, stale = standing(node, labels)
    if not ids:
        raise ProjectError(
            f"stage {stage!r} has no finished tile in this selection: "
            f"{', '.join(map(str, left_out[:5])) or 'there is none'}"
        )
    request = Request(project, stage, path, labels, overwrite, ids)
    try:
        if image is not None:
            written = [_export_image(request, image)]
        elif kind == "files" and not ending:
            written = _export_files(request)
        elif kind != "array":
            written = [_export_table(request, ending)]
        elif ending:
            written = [_export_one(request, len(ids) + len(left_out))]
        else:
            written = _export_tiles(request)
    except LatticeworkError:
        raise
    except OSError as error:
        raise ProjectError(f"{path} cannot be written: {error}") from error
    files = Exported(written)
    files.left_out, files.stale = left_out, stale
    return files


def known_ending(path: Path, stage: str, endings: tuple[str, ...]) -> str:
    """The path's ending, one of these; empty for a folder.

    Raises
    ------
    ProjectError
        If it has another one.
    """
    ending = path.suffix.lower()
    if ending in endings:
        return ending
    if path.is_dir() or not re.fullmatch(r"\.[a-z][a-z0-9]*", ending):
        return ""
    what = "images" if endings == IMAGES else "tables or files"
    raise ProjectError(
        f"{path} ends in {ending}, but stage {stage!r} makes {what}: end the path in "
        f"{' or '.join(endings)}, or in nothing for a folder"
    )


def standing(
    node: "Node", labels: Mapping[str, Any]
) -> tuple[tuple[int, ...], tuple[Unexported, ...], tuple[Unexported, ...]]:
    """Of the tiles asked for: ids of those with a result, those without, and those out of date."""
    whole = node.reduction or not labels
    lattice = node.lattice if whole else node.lattice.sel(**labels)
    if not node.id:  # the source
        bad = [Unexported(lattice.tile(k), "unreadable") for k in lattice.problems if k in
               set(lattice.ids.tolist())]  # fmt: skip
        lost = {one.tile.id for one in bad}
        return tuple(k for k in lattice.ids.tolist() if k not in lost), tuple(bad), ()
    ids = np.asarray(lattice.ids)
    state, made = node.units.state[ids], node.units.published[ids] > 0

    def named(which: np.ndarray) -> tuple[Unexported, ...]:
        return tuple(
            Unexported(lattice.tile(int(ids[row])), State(int(state[row])).label)
            for row in np.flatnonzero(which)
        )

    absent, complete = state == State.ABSENT, state == State.COMPLETE
    return tuple(ids[made].tolist()), named(~made & ~absent), named(made & ~complete)


# ---------------------------------------------------------------- images


def _export_tiles(request: Request) -> list[Path]:
    lattice = request.node.lattice
    if request.node.reduction:
        names = [safe_name(request.stage)]
    else:
        names = [safe_name(f"{k:05d}_{_stem(lattice.tile(k).name)}") for k in request.ids]
    output, made = request.node.output, request.pixels()
    dims = (output.dims if output is not None else None) or ()
    ending = ".ome.tif" if tiff_files.is_image(dims) else ".tif"
    files = request.free(request.path / f"{name}{ending}" for name in names)
    for id, file in zip(request.ids, files, strict=True):
        _write_tile(request, made, id, file)
    return files


def _export_one(request: Request, asked: int) -> Path:
    (file,) = request.free([request.path])
    made = request.pixels()
    if made is None or asked == 1:
        _write_tile(request, made, request.ids[0], file)
        return file
    layout = getattr(made.reader, "layout", None)
    if made.lattice.volume_shape is None or (layout is not None and layout.kind != "volume"):
        raise ProjectError(
            f"{file} is one file, but stage {request.stage!r} has {asked:,} tiles here: give a "
            "folder (a path without an ending), or choose one tile"
        )
    if request.labels:
        raise ProjectError(
            f"{file} is one file, and {asked:,} blocks of the volume are chosen: choose one, or "
            "none for the whole volume"
        )
    shape, lattice = made.lattice.volume_shape, made.lattice
    tiff_files.write_volume(
        file,
        ((lattice.volume_box(k), partial(made.read_box, k, None)) for k in request.ids),
        dims=lattice.tile_dims,
        shape=[shape[dim] for dim in lattice.tile_dims],
        dtype=lattice.dtype,
        name=request.stage,
        pixel_size_um=lattice.pixel_size_um,
        position_um={
            axis: float(lattice.position_um[:, column].min())
            for column, axis in enumerate(lattice.spatial_dims)
        },
        channels=lattice.channels,
    )
    return file


def _stitched_image(project: "Project", stage: str) -> Path | None:
    """The OME-Zarr image that a stage, or one right after it, says it made; None if none does."""
    nodes = [project.pipeline[stage]]
    nodes += [node for node, _ in project.pipeline.children(stage)]
    for node in nodes:
        if not node.reduction or project[node.name].kind != "record":
            continue
        said = project[node.name].tile()
        if isinstance(said, Mapping) and isinstance(said.get("image"), str):
            return Path(said["image"])
    return None


def _export_image(request: Request, image: Path) -> Path:
    """An image that a stage wrote elsewhere, with its resolutions."""
    from latticework.io.ome_tiff import to_ome_tiff

    if request.labels:
        raise ProjectError(
            f"{request.path} is one file, and blocks of the image are chosen: choose none for all "
            "of it"
        )
    (file,) = request.free([request.path])
    part = file.with_name(f"{file.name}.part.tif")  # what the image is called comes first
    part.unlink(missing_ok=True)
    try:
        to_ome_tiff(image, part).replace(file)
    finally:
        part.unlink(missing_ok=True)
    return file


def _write_tile(request: Request, made: ArrayInput | None, id: int, file: Path) -> None:
    """One tile, or the one result of a reduction."""
    if made is None:
        lattice, result = request.project.lattice, request.outputs.tile()
        pixels, dims = np.asarray(result.values), [str(dim) for dim in result.dims]
        sizes, position = lattice.pixel_size_um, {}
        size = {axis: um for axis, um in sizes.items() if axis in dims}
        name, channels = request.stage, lattice.channels
    else:
        tile = request.node.lattice.tile(id)
        pixels, dims = made.read_box(id, None), list(made.lattice.tile_dims)
        size, position = dict(tile.pixel_size_um), dict(tile.position_um)
        name, channels = tile.name, made.lattice.channels
    tiff_files.write_image(
        file,
        pixels,
        dims,
        name=name,
        pixel_size_um=size,
        position_um=position,
        channels=channels if "c" in dims else None,
    )


# ---------------------------------------------------------------- files


def _export_files(request: Request) -> list[Path]:
    """Copies of the files of units, in a folder for each."""
    lattice, sources, targets = request.node.lattice, [], []
    for id in request.ids:
        named = lattice.tile(id).name if lattice.dims else request.stage
        folder = request.path / safe_name(f"{id:05d}_{_stem(named)}")
        made = request.outputs.files() if request.node.reduction else request.outputs.files(id)
        for file in made.all:
            sources.append(file)
            targets.append(folder / file.relative_to(made.folder))
    if not targets:
        return []
    request.free(targets)
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = tiff_files.beside(target)
        try:
            shutil.copy2(source, part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return targets


# ---------------------------------------------------------------- tables


def _export_table(request: Request, ending: str) -> Path:
    import pandas as pd

    if request.node.reduction:
        table = request.outputs.data
    else:
        table = request.outputs._table(np.array(request.ids))  # noqa: SLF001  of one package
    if not isinstance(table, pd.DataFrame):
        kept = isinstance(table, Mapping)  # a record, or files by name
        table = pd.DataFrame([dict(table) if kept else {"value": table}])
    elif request.node.reduction:
        for axis, label in request.labels.items():
            dim = axis if axis in table else f"tile_{axis}"
            if dim not in table:
                raise ProjectError(f"the table of stage {request.stage!r} has no column {dim!r}")
            table = table[table[dim] == label]
    if request.outputs.kind == "files":
        table = table.map(lambda value: str(value) if isinstance(value, Path) else value)
    path = request.path if ending else request.path / f"{safe_name(request.stage)}.csv"
    (file,) = request.free([path])
    part = tiff_files.beside(file)
    try:
        if ending == ".parquet":
            table.to_parquet(part, index=False)
        else:
            table.to_csv(part, index=False)
        part.replace(file)
    except (TypeError, ValueError, NotImplementedError) as error:  # of which Arrow's are
        raise ProjectError(
            f"what stage {request.stage!r} made does not fit {file.name}: {error}; "
            "try a path that ends in .csv"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return file


# ---------------------------------------------------------------- names


def short_name(tile: Tile) -> str:
    """A tile by its labels, ``y3_x2``; by its name where it has none.

    Examples
    --------
    >>> from latticework import Lattice
    >>> tiles = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> short_name(tiles.tile(3))
    'y1_x1'
    """
    parts = (f"{dim.removeprefix('tile_')}{label}" for dim, label in tile.labels.items())
    return "_".join(parts) or "all tiles"


def _stem(name: str) -> str:
    """A tile's name without the ending of its file."""
    return re.sub(r"(\.ome)?\.(tiff?|zarr)$", "", name, flags=re.IGNORECASE)


def safe_name(name: str) -> str:
    """A name as part of a file name: it cannot leave its folder, and is not too long for one.

    Examples
    --------
    >>> safe_name("00003_../../etc/passwd")
    '00003_.._.._etc_passwd'
    """
    text = "".join(c if c.isalnum() or c in "-_.=" else "_" for c in name)
    return text.encode()[:180].decode(errors="ignore")
