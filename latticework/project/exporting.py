"""Results as files that other programs read."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError

if TYPE_CHECKING:
    from latticework.project.project import Project


def export_stage(
    project: "Project", stage: str, path: Path, labels: Mapping[str, Any]
) -> list[Path]:
    """See `Project.export`."""
    outputs = project[stage]
    node = project.pipeline[stage]
    kind = outputs.kind
    if kind in (None, "nothing"):
        raise ProjectError(f"stage {stage!r} has nothing to export: {project.why(stage, 0)}")
    if kind == "array":
        return _export_tiles(project, stage, path, labels)
    table = outputs.data
    if hasattr(table, "to_csv"):
        for axis, label in labels.items():
            dim = axis if axis in table else f"tile_{axis}"
            table = table[table[dim] == label]
    else:
        import pandas as pd

        record = table if isinstance(table, dict) else {"value": table}
        table = pd.DataFrame([record])
    if node.name and path.suffix != ".csv":
        path.mkdir(parents=True, exist_ok=True)
        path = path / f"{stage}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return [path]


def _export_tiles(
    project: "Project", stage: str, folder: Path, labels: Mapping[str, Any]
) -> list[Path]:
    import tifffile

    node, outputs = project.pipeline[stage], project[stage]
    folder.mkdir(parents=True, exist_ok=True)
    lattice = node.lattice if node.reduction or not labels else node.lattice.sel(**labels)
    written = []
    for tile in lattice:
        if node.id and not node.units.published[tile.id]:
            continue
        pixels = outputs.tile() if node.reduction else outputs.tile(tile.id)
        name = stage if node.reduction else safe_name(f"{tile.id:05d}_{tile.name}")
        file = folder / f"{name}.tif"
        size = tile.pixel_size_um
        resolution = (1e4 / size["x"], 1e4 / size["y"]) if {"x", "y"} <= set(size) else None
        options: dict[str, Any] = {"resolutionunit": "CENTIMETER"} if resolution else {}
        axes = "".join(str(dim) for dim in pixels.dims).upper()
        tifffile.imwrite(
            file,
            np.ascontiguousarray(pixels.values),
            compression="zlib",
            resolution=resolution,
            metadata={"axes": axes, "latticework_tile": tile.name},
            **options,
        )
        written.append(file)
    if not written:
        raise ProjectError(f"stage {stage!r} has no finished tile in this selection")
    return written


def safe_name(name: str) -> str:
    """A tile's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_.=" else "_" for c in name)[:120]
