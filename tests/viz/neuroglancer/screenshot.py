"""Makes the picture of the guide: ``python -m tests.viz.neuroglancer.screenshot``."""

import sys
import tempfile
import time
from pathlib import Path

import latticework as lw
from latticework.stages.ready import correct_flatfield, detect_spots, estimate_flatfield
from latticework.viz.neuroglancer import close_server
from tests.viz.browser import Browser

PICTURE = Path(__file__).resolve().parents[3] / "docs" / "_static" / "neuroglancer.png"


def main(picture: Path) -> None:
    tiles, truth = lw.simulate({"y": 3, "x": 3}, tile_shape={"z": 8, "y": 160, "x": 160}, seed=3)
    with tempfile.TemporaryDirectory() as folder:
        project = lw.create(Path(folder) / "brain.lw", tiles)
        flat = project.add(
            estimate_flatfield, name="flat", reads=lw.all_tiles(), offset=truth.offset
        )
        after = [project.source, flat]
        even = project.add(correct_flatfield, name="even", after=after, offset=truth.offset)
        project.add(
            detect_spots, name="spots", after=even, overlap={"y": 12, "x": 12}, threshold=400.0
        )
        project.run(progress="none")
        view = project.view("source", "even", "spots", layout="stages")
        with Browser.start() as browser, browser.open(view.url, viewport=(1280, 800)) as page:
            page.wait_for("window.viewer !== undefined && viewer.isReady()", timeout_s=120)
            time.sleep(2)
            page.screenshot(picture)
            if page.errors:
                raise SystemExit("\n".join(page.errors))
        close_server()
    print(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
