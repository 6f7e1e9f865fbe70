"""Small pictures: contrast, PNG files and addresses, two side by side."""

import io
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latticework.viz.words import plain


def contrasted(picture: np.ndarray, percentiles: tuple[float, float] = (0.5, 99.7)) -> np.ndarray:
    """`picture` as uint8, black and white at these percentiles of its finite pixels.

    What is not finite (no tile there) becomes black.

    Examples
    --------
    >>> import numpy as np
    >>> contrasted(np.array([[np.nan, 10.0, 20.0, 30.0]]), (0, 100)).tolist()
    [[0, 0, 128, 255]]
    """
    finite = np.isfinite(picture)
    if not finite.any():
        return np.zeros(picture.shape, dtype=np.uint8)
    low, high = np.percentile(picture[finite], percentiles)
    return stretched(picture, float(low), float(high))


def stretched(picture: np.ndarray, low: float, high: float) -> np.ndarray:
    """`picture` as uint8, black at `low` and white at `high`; what is not finite is black.

    Examples
    --------
    >>> import numpy as np
    >>> stretched(np.array([[0.0, 5.0, 20.0]]), 0.0, 10.0).tolist()
    [[0, 128, 255]]
    """
    scaled: np.ndarray = np.where(np.isfinite(picture), (picture - low) / max(high - low, 1e-12), 0)
    grey: np.ndarray = np.rint(255 * np.clip(scaled, 0.0, 1.0)).astype(np.uint8)
    return grey


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture as the bytes of a PNG file: uint8, grey or with a last axis of colours.

    Examples
    --------
    >>> import numpy as np
    >>> png_bytes(np.zeros((2, 3), "u1"))[1:4]
    b'PNG'
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def png_address(content: bytes) -> str:
    """The bytes of a PNG file as an address that holds them, for an image within a page.

    Examples
    --------
    >>> png_address(b"...")
    'data:image/png;base64,Li4u'
    """
    return f"data:image/png;base64,{b64encode(content).decode('ascii')}"


def save_png(picture: np.ndarray, path: Path | str) -> Path:
    """Write a 2-D picture as a grey PNG, pixel by pixel; floats are contrasted first.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> save_png(np.zeros((4, 5), "u1"), tempfile.mkdtemp() + "/black.png").name
    'black.png'
    """
    from matplotlib.image import imsave

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    grey = picture if picture.dtype == np.uint8 else contrasted(picture)
    imsave(target, grey, cmap="gray", vmin=0, vmax=255, format="png")
    return target


def compare_png(
    before: np.ndarray,
    after: np.ndarray,
    path: Path | str,
    titles: Sequence[str] = ("before", "after"),
) -> Path:
    """Write two pictures of one field side by side, with titles, as a PNG.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> picture = np.arange(20.0).reshape(4, 5)
    >>> compare_png(picture, picture.T, tempfile.mkdtemp() + "/both.png").name
    'both.png'
    """
    from latticework.viz.figure import INK, PAPER, Picture, saved

    rows = max(before.shape[0], after.shape[0])
    columns = max(before.shape[1], after.shape[1])
    aspect = min(3.0, max(0.2, rows / columns))
    each = min(7.0, 8.0 / aspect)
    width, height, head, side = 2 * each + 0.45, each * aspect + 0.6, 0.45, 0.15
    figure = Picture(theme="dark", figsize=(width, height))
    for number, (picture, title) in enumerate(zip((before, after), titles, strict=True)):
        left = side + number * (each + side)
        axes = figure.add_axes((left / width, side / height, each / width, each * aspect / height))
        grey = picture if picture.dtype == np.uint8 else contrasted(picture)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        axes.set_axis_off()
        figure.text(
            left / width, 1 - 0.5 * head / height, plain(title, 80), color=INK["dark"], size=12,
            weight="bold", va="center", parse_math=False,
        )  # fmt: skip
    figure.set_facecolor(PAPER["dark"])
    target = Path(path)
    saved(figure, target, dpi=min(200.0, max(100.0, columns / each)))
    return target
