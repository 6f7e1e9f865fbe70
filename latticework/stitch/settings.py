"""How tiles are stitched: what a user may say, checked before any work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from latticework.errors import LatticeError
from latticework.io.pyramid import Version
from latticework.stitch.blending import BLENDS, Blend

Choice = Literal["auto", "yes", "no"]


@dataclass(frozen=True)
class Settings:
    """How tiles are stitched; see `stitch`."""

    channel: int = 0
    reach: tuple[float, ...] | None = None
    light: Choice = "auto"
    gains: Choice = "auto"
    blend: Blend = "cosine"
    version: Version = "0.5"
    block: tuple[int, ...] | None = None
    fusing: Mapping[str, Any] = field(default_factory=dict)
    corrections: Sequence[Mapping[str, Any]] = ()
    anchors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    dark: float | None = None
    picture: str | None = None

    def __post_init__(self) -> None:
        choices = {"light": get_args(Choice), "gains": get_args(Choice)}
        choices |= {"blend": BLENDS, "version": get_args(Version)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise LatticeError(
                    f"{name}={getattr(self, name)!r}: choose one of {', '.join(allowed)}"
                )


def light_of(given: Any) -> tuple[Any, np.ndarray | None]:
    """How light is taken out, and the picture by which, if there is one."""
    if isinstance(given, str) and given in get_args(Choice):
        return given, None
    if isinstance(given, str | Path):
        import tifffile

        if not Path(given).is_file():
            raise LatticeError(
                f"light={str(given)!r}: there is no such file; choose one of "
                f"{', '.join(get_args(Choice))}, or give the TIFF file of a picture of an even "
                "specimen"
            )
        try:
            return "yes", np.asarray(tifffile.imread(given), "f4")
        except (tifffile.TiffFileError, ValueError) as error:
            raise LatticeError(
                f"light={str(given)!r}: cannot be read as a TIFF file ({error})"
            ) from error
    return "yes", np.asarray(given, "f4")


def fusing_of(pixel_size_um: Any, interpolation: str, merge: str | Sequence[str]) -> dict[str, Any]:
    """Options of `latticework.stitch.FusionPlan.of`, as plain values."""
    size = dict(pixel_size_um) if isinstance(pixel_size_um, Mapping) else pixel_size_um
    merged = [merge] if isinstance(merge, str) else list(merge)
    return {"pixel_size_um": size, "interpolation": interpolation, "merge": merged}


def across_of(settings: Settings) -> str | None:
    """The lattice dim whose labels are views of the same, if there are such."""
    merged = list(settings.fusing.get("merge", ()))
    return merged[0] if merged else None


__all__ = ["Choice", "Settings", "across_of", "fusing_of", "light_of"]
