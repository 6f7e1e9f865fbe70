"""From a project, a path, a lattice or an array to a view."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latticework.io.zarr_images import is_zarr
from latticework.lattice.lattice import Lattice
from latticework.viz.neuroglancer.layers import Layer
from latticework.viz.neuroglancer.project_layers import ProjectLayers, Wanted
from latticework.viz.neuroglancer.resources import ViewError
from latticework.viz.neuroglancer.stored_images import overlay_layers
from latticework.viz.neuroglancer.tile_images import Tiles, is_labels, tile_layers
from latticework.viz.neuroglancer.views import View

if TYPE_CHECKING:
    from latticework.project.project import Project


def view_project(
    project: "Project",
    stages: Sequence[str] = (),
    *,
    positions: Any = None,
    channels: Sequence[int | str] | None = None,
    labels: Sequence[str] = (),
    overlays: Mapping[str, Any] | None = None,
    layout: str = "auto",
    contrast: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None,
    state: Any = None,
    idle_s: float | None = None,
    region: Mapping[str, Any] | None = None,
) -> View:
    """What `latticework.Project.view` returns; options are described there."""
    wanted = Wanted(
        tuple(map(str, stages)), positions, channels, frozenset(labels), contrast, region or {}
    )
    made = ProjectLayers(project, wanted, separate=layout not in ("auto", "4panel", "3d"))
    layers = made.layers()
    for name, overlay in (overlays or {}).items():
        layers += overlay_layers(name, overlay, key=f"overlay{len(layers)}")
    return View(
        layers,
        layout=layout,
        state=state,
        idle_s=idle_s,
        notes=made.notes,
        problems=made.problems,
    )


def view(
    what: Any,
    *,
    channels: Sequence[int | str] | None = None,
    overlays: Mapping[str, Any] | None = None,
    layout: str = "auto",
    contrast: tuple[float, float] | None = None,
    state: Any = None,
    idle_s: float | None = None,
    **region: Any,
) -> View:
    """Neuroglancer with an image, tiles or arrays, without a project.

    Parameters
    ----------
    what
        Folder of an OME-Zarr image, such as `latticework stitch` makes; a folder that
        `open_tiles` opens, or the lattice it gives; a `Project`; an array of dims ``[c] [z] y x``;
        or a mapping of names to several of images, arrays and `Overlay`.
    channels, contrast
        Of tiles: which channels, and the values shown black and full.
    overlays, layout, state, idle_s
        As for `Project.view`.
    **region
        Of tiles: labels by axis, as for `Lattice.sel`; of a project also its other options.

    Returns
    -------
    View
        Shows itself in a notebook; has a ``url`` elsewhere.

    Raises
    ------
    ViewError
        If it cannot be shown, or the package ``neuroglancer`` is not installed.

    Examples
    --------
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 64, "x": 64})
    >>> with lw.view(tiles) as view:
    ...     view.state["layers"][0]["name"], view.state["layout"]
    ('tiles', 'xy')
    """
    from latticework.project.project import Project

    if isinstance(what, Project):
        return what.view(
            channels=channels,
            overlays=overlays,
            layout=layout,
            contrast=contrast,
            state=state,
            idle_s=idle_s,
            **region,
        )
    notes: list[str] = []
    problems: dict[str, dict[int, str]] = {}
    given = _named(what)
    if region and not any(isinstance(each, Lattice) for each in given.values()):
        raise ViewError(f"{', '.join(region)} choose tiles, but {what!r} has none")
    layers: list[Layer] = []
    for number, (name, each) in enumerate([*given.items(), *(overlays or {}).items()]):
        if isinstance(each, Lattice):
            tiles = Tiles.of(each.sel(**region) if region else each)
            problems[name] = tiles.problems
            layers += tile_layers(
                *(name, tiles),
                key=f"{number}",
                channels=channels,
                labels=is_labels(each.dtype),
                contrast=contrast,
                say=notes.append,
            )
        else:
            layers += overlay_layers(name, each, key=f"{number}")
    return View(layers, layout=layout, state=state, idle_s=idle_s, notes=notes, problems=problems)


def _named(what: Any) -> dict[str, Any]:
    """What is to be shown, by name; folders of tiles are opened."""
    if isinstance(what, Mapping):
        return {str(name): _named(each).popitem()[1] for name, each in what.items()}
    if isinstance(what, Lattice):
        return {"tiles": what}
    if isinstance(what, str | Path):
        path = Path(what).expanduser()
        name = path.name.removesuffix(".zarr").removesuffix(".ome") or path.name
        if is_zarr(path):
            return {name: path}
        from latticework.io.open_tiles import open_tiles

        return {name: open_tiles(path)}
    called = getattr(what, "name", None)
    return {called if isinstance(called, str) and called else "array": what}


__all__ = ["view", "view_project"]
