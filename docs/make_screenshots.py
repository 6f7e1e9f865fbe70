"""Make the screenshots of the dashboard that the documentation shows.

    python docs/make_screenshots.py [FOLDER]

A simulated acquisition goes through a small pipeline in which some tiles fail, on a local cluster;
headless Chromium (``chromium`` on the path) looks at each page while it runs, at two sizes, light
and dark. Takes two minutes; needs the extra ``[test]``.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image
from scipy.ndimage import median_filter

import latticework as lw
from latticework.stages.ready import detect_spots

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.viz.browser import Browser

SIZES = {"": (1280, 800), "-large": (1920, 1080)}
PAGES = {
    "overview": "lattice?",
    "map": "lattice-map?stage=smooth",
    "tile": "lattice-tile?stage=smooth&tile=10",
    "failures": "lattice-failures?",
    "work": "lattice-work?",
    "control": "lattice-control?",
}
COLOURS = 200
"""Of a stored picture: pages have few, and the files stay small."""


def smooth(tile: xr.DataArray, size: int = 3) -> np.ndarray:
    """A median filter that takes its time, and refuses some tiles."""
    time.sleep(0.35)
    if int(tile.to_numpy().sum()) % 17 == 3:
        raise ValueError(f"tile {tile.attrs.get('name', '')} is saturated: 12 % of its pixels")
    return median_filter(tile, (1, size, size))


def brightness(tile: xr.DataArray) -> dict[str, float]:
    """Mean and maximum."""
    time.sleep(0.1)
    return {"mean": float(np.mean(tile)), "maximum": float(np.max(tile))}


def project_in(folder: Path) -> lw.Project:
    """A project that keeps a small cluster busy for a while."""
    tiles, _ = lw.simulate({"z": 4, "y": 9, "x": 12}, tile_shape={"z": 4, "y": 96, "x": 96})
    project = lw.create(folder / "brain.lw", tiles)
    even = project.add(smooth, retries=0)
    spots = project.add(detect_spots, after=even, overlap={"y": 8, "x": 8}, sigma_px=2.0)
    project.add(brightness, after=even)
    project.add(count, name="spots_by_plane", after=spots, reads=lw.plane("z"))
    project.set_patience(after=None)
    return project


def count(spots: pd.DataFrame) -> dict[str, int]:
    """Spots of a plane."""
    return {"spots": len(spots)}


def keep(picture: bytes, path: Path) -> None:
    """Store a screenshot with few colours."""
    image = (
        Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    )
    image.save(path, optimize=True)


def main(folder: Path) -> None:
    """Make all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Browser.start() as browser:
        project = project_in(Path(scratch))
        run = project.start()
        with project.dashboard() as pages:
            time.sleep(25)
            for name, place in PAGES.items():
                base = pages.url.partition("/lattice?")[0]
                token = pages.control_url.partition("token=")[2] if name == "control" else ""
                url = f"{base}/{place}&project={pages.shown.key}" + (
                    f"#token={token}" * bool(token)
                )
                for suffix, viewport in SIZES.items():
                    for theme in ("light", "dark"):
                        with browser.open(url, viewport=viewport, colour_scheme=theme) as page:
                            time.sleep(4)
                            keep(page.screenshot(), folder / f"{name}-{theme}{suffix}.png")
                            if page.errors:
                                raise SystemExit(f"{name}: errors in the console: {page.errors}")
        run.stop()


if __name__ == "__main__":
    default = Path(__file__).resolve().parent / "_static" / "dashboard"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
