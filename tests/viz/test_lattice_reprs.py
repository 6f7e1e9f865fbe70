"""Text and map of a lattice."""

import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from latticework.lattice import Lattice
from latticework.viz.lattice_html import lattice_html, lattice_text


def grid(**options):
    parts = {"tile_shape": {"y": 512, "x": 512}, "dtype": "u2", "overlap": {"y": 51, "x": 51}}
    return Lattice.from_grid({"y": 7, "x": 9}, **{**parts, **options})


def hovers(page: str) -> list[str]:
    return re.findall(r"<title>(.*?)</title>", page)


class Balanced(HTMLParser):
    """Checks that every element is closed."""

    void = ("br", "path", "rect", "img", "meta")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, _):
        self.seen.add(tag)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.void:
            return
        assert self.open.pop() == tag


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    return parser


def test_text_tells_what_the_lattice_is():
    text = repr(grid(pixel_size_um={"y": 0.5, "x": 0.5}, channels=None))
    for part in (
        "63 tiles",
        "tile_y 7 × tile_x 9",
        "no holes",
        "uint16",
        "0.5 µm",
        "51 px",
        "2100 µm",
    ):
        assert part in text
    assert len(text.splitlines()) < 12


def test_text_names_what_cannot_be_read():
    lattice = grid().replace(problems={7: "truncated file"})
    assert "1 cannot be read" in lattice_text(lattice)
    assert "y0_x7 (tile_y=0, tile_x=7): truncated file" in lattice_text(lattice)


def test_map_names_each_tile_on_hover():
    lattice = grid(names=[f"image_{k:03d}.tif" for k in range(63)])
    titles = hovers(lattice_html(lattice))
    assert len(titles) == 63
    assert "y 1, x 2: image_011.tif (id 11)" in titles


def test_map_shows_holes_and_problems():
    lattice = grid().take([k for k in range(63) if k != 12]).replace(problems={7: "truncated"})
    page = lattice_html(lattice)
    assert "y 1, x 3: hole" in hovers(page)
    assert any("y0_x7" in title and "cannot be read: truncated" in title for title in hovers(page))
    assert "cannot be read" in page


def test_planes_are_small_multiples():
    lattice = Lattice.from_grid({"z": 5, "y": 4, "x": 3}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    page = lattice_html(lattice)
    assert page.count("<svg") == 5
    assert "z 4, y 3, x 2: z4_y3_x2 (id 59)" in hovers(page)


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\x1b[31m\u202eb"]
)
def test_untrusted_names_are_escaped(evil):
    lattice = grid(names=[evil] * 63).replace(problems={0: evil})
    page, text = lattice_html(lattice), lattice_text(lattice)
    assert parsed(page).seen <= {
        "style",
        "div",
        "svg",
        "g",
        "path",
        "title",
        "table",
        "tr",
        "th",
        "td",
        "span",
    }
    assert "\x1b" not in page + text
    assert "\u202e" not in page + text


def test_labels_may_be_any_strings():
    lattice = Lattice(
        dims=("well", "tile_x"),
        labels={"well": np.array(["<b>A1", "B2"]), "tile_x": np.arange(3)},
        index=[(w, x) for w in range(2) for x in range(3)],
        tile_dims=("y", "x"), tile_shape=(8, 8), dtype="u1",
    )  # fmt: skip
    page = lattice_html(lattice)
    parsed(page)
    assert "&lt;b&gt;A1" in page
    assert "<b>A1" not in page


def test_every_kind_of_lattice_has_both():
    many = {
        "unit": Lattice.unit(),
        "row": Lattice.from_grid({"y": 1, "x": 4}, tile_shape={"y": 8, "x": 8}, dtype="u1"),
        "blocks": Lattice.from_array(np.zeros((70, 90), "u1"), block={"y": 32, "x": 32}),
        "one": grid().take([5]),
        "none": grid().take([]),
    }
    for lattice in many.values():
        parsed(lattice_html(lattice))
        assert lattice_text(lattice).startswith("<Lattice of")


@pytest.mark.parametrize(
    "shape", [(100, 100, 100), (1, 1000, 1000), (1_000_000, 1, 1), (10_000, 10, 10)]
)
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_million_tiles_stay_small_and_quick(shape, share):
    lattice = Lattice.from_grid(
        dict(zip("zyx", shape, strict=True)), tile_shape={"z": 8, "y": 8, "x": 8}, dtype="u2"
    )
    if share < 1:
        rows = np.flatnonzero(np.random.default_rng(0).random(len(lattice)) < share)
        lattice = lattice.take(rows)
        lattice = lattice.replace(problems={int(lattice.ids[5]): "x" * 10_000})
    assert lattice.id_grid.size == 1_000_000  # made once, not part of the picture
    start = time.perf_counter()
    page, text = lattice_html(lattice), lattice_text(lattice)
    took = time.perf_counter() - start
    assert len(page.encode()) < 200_000
    assert len(text) < 3_000
    assert took < 2.0
    parsed(page)
    counts = [int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) of ", page)]
    assert sum(counts) in (0, lattice.n_tiles)
    if share < 1:
        assert "1 cannot be read" in page


def test_long_names_keep_the_map_small():
    lattice = Lattice.from_grid(
        {"y": 40, "x": 40}, tile_shape={"y": 8, "x": 8}, dtype="u1", names=["&" * 500] * 1600
    )
    assert len(lattice_html(lattice).encode()) < 200_000


def test_every_axis_has_a_fitting_unit():
    lattice = Lattice.from_grid(
        {"z": 2, "y": 3, "x": 40}, tile_shape={"z": 26, "y": 512, "x": 512}, dtype="u2"
    )
    assert "z 52 µm × y 1536 µm × x 20.48 mm" in lattice_text(lattice)
