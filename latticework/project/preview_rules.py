"""Which previews are made, by whom, and in which form."""

from latticework.io.preview_layout import PreviewLayout
from latticework.project.pipeline import SOURCE, Node, Pipeline
from latticework.project.settings import Settings
from latticework.stages.lattices import TILES
from latticework.stages.outputs import Output
from latticework.stages.previewing import layout_or_none


def projection_of(settings: Settings, wanted: object) -> str | None:
    """How workers project what a stage makes, None if they do not.

    Parameters
    ----------
    settings
        The project's.
    wanted
        What the stage says: see `latticework.stages.stage.Stage.preview`.

    Examples
    --------
    >>> projection_of(Settings(), None), projection_of(Settings(), "mean")
    ('auto max', 'mean')
    >>> projection_of(Settings(previews="none"), None), projection_of(Settings(), False)
    (None, None)
    """
    if wanted is False or (wanted is None and settings.previews == "none"):
        return None
    if isinstance(wanted, str):
        return wanted
    return f"auto {'mean' if settings.previews == 'mean' else 'max'}"


def source_projection(pipeline: Pipeline, settings: Settings, node: Node) -> str | None:
    """The same for tiles of the source: by the first stage that reads whole ones."""
    if settings.previews == "none":
        return None
    for child, edge in pipeline.children(SOURCE):
        if edge.reads.pattern == "same tile" and child.key == TILES:
            return projection_of(settings, None) if child.name == node.name else None
    return None


def layout_of(settings: Settings, node: Node) -> PreviewLayout | None:
    """The layout of a stage's previews; None if it makes nothing that has some, or not yet.

    Where workers make none, those that are made for whoever looks are maxima.
    """
    output = node.output
    if output is None or output.kind != "array" or not output.settled:
        return None
    projection = projection_of(settings, node.definition.get("preview")) or "auto max"
    return _layout(output, projection)


def _layout(output: Output, projection: str) -> PreviewLayout | None:
    assert output.dims is not None
    assert output.shape is not None
    return layout_or_none(output.dtype, output.dims, output.shape, projection)


def attributes_of(node: Node, layout: PreviewLayout) -> dict[str, object]:
    """What the array of previews says of itself."""
    pixel = node.made_lattice().pixel_size_um
    return {
        "pixel_size_um": {
            axis: float(pixel[axis]) * layout.factor for axis in ("y", "x") if axis in pixel
        },
        "projection": layout.projection,
        "factor": layout.factor,
        "stage": node.name,
    }


__all__ = ["attributes_of", "layout_of", "projection_of", "source_projection"]
