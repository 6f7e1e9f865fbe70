"""Parts of TIFF pages: the same pixels as tifffile, and no more bytes than needed."""

import pickle
import struct
import threading

import numpy as np
import pytest
import tifffile

from latticework.errors import LatticeworkError, SourceError
from latticework.io.open_tiles import open_tiles
from latticework.io.scan import tiff_facts
from latticework.io.tiff import ByteCount, TiffFile
from latticework.lattice import Box

LAYOUTS = [{}, {"rowsperstrip": 16}, {"tile": (32, 48)}]
CODECS = [(None, 1), ("lzw", 1), ("lzw", 2), ("zlib", 2), ("zstd", 1), ("packbits", 1)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["page", "strips", "tiles"])
@pytest.mark.parametrize(("codec", "predictor"), CODECS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_part_equals_the_slice_of_the_whole(tmp_path, layout, codec, predictor, order):
    rng = np.random.default_rng(3)
    for dtype in ("u1", "u2", "i4", "f4"):
        pixels = (rng.random((4, 101, 130)) * 200).astype(dtype)
        predict = 3 if predictor == 2 and dtype == "f4" else predictor
        path = tmp_path / "stack.tif"
        options = {"compression": codec, "predictor": predict if predict > 1 else None}
        tifffile.imwrite(
            path, pixels, byteorder=order, bigtiff=dtype == "u2", photometric="minisblack",
            **options, **layout,
        )  # fmt: skip
        with TiffFile(path) as file:
            for _ in range(4):
                (y0, y1), (x0, x1) = np.sort(rng.integers(0, [[102], [131]], (2, 2)))
                page = int(rng.integers(4))
                part = file.read(page, (int(y0), int(y1)), (int(x0), int(x1)))
                assert part.dtype == np.dtype(dtype)
                np.testing.assert_array_equal(part[0], pixels[page, y0:y1, x0:x1])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("codec", [None, "lzw"])
def test_samples_of_a_pixel_become_channels(tmp_path, planar, codec):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (3, 60, 70), dtype="u1")
    for i in range(2):
        stored = np.moveaxis(pixels, 0, -1) if planar == "contig" else pixels
        tifffile.imwrite(
            tmp_path / f"t_{i}.tif",
            stored,
            photometric="rgb",
            planarconfig=planar,
            compression=codec,
        )
    lattice = open_tiles(tmp_path, grid={"y": 1, "x": 2})
    assert lattice.tile_dims == ("c", "y", "x")
    part = lattice.source.read(1, Box((1, 5, 3), (3, 50, 40)))
    np.testing.assert_array_equal(part, pixels[1:, 5:50, 3:40])


def test_other_codecs_go_through_tifffile(tmp_path):
    pixels = np.clip(np.random.default_rng(0).normal(100, 3, (64, 64)), 0, 255).astype("u1")
    path = tmp_path / "jpeg.tif"
    tifffile.imwrite(path, pixels, compression="jpeg", tile=(32, 32))
    with TiffFile(path) as file:
        np.testing.assert_array_equal(
            file.read(0, (3, 60), (2, 50))[0], tifffile.imread(path)[3:60, 2:50]
        )


def test_a_margin_costs_the_margin(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60000, (8, 512, 4096), dtype="u2")
    for name, options in {
        "plain": {},
        "tiled": {"tile": (128, 128), "compression": "zlib"},
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        tifffile.imwrite(folder / "a.tif", pixels, photometric="minisblack", **options)
        lattice = open_tiles(folder)
        source = lattice.source
        source.read(0, Box((0, 0, 0), (8, 1, 1)))  # the directories
        margins = {
            "rows": Box((2, 504, 0), (6, 512, 4096)),
            "columns": Box((2, 0, 4088), (6, 512, 4096)),
            "plane": Box((7, 0, 0), (8, 512, 4096)),
        }
        for margin, box in margins.items():
            before = source.count.total
            np.testing.assert_array_equal(source.read(0, box), pixels[box.slices])
            read, needed = source.count.total - before, box.size * 2
            if name == "plain":
                assert read == needed, margin
            else:
                segments = {"rows": 4 * 32, "columns": 4 * 4, "plane": 4 * 32}[margin]
                assert read <= segments * 128 * 128 * 2 * 1.01, margin


def test_opening_reads_no_pixels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 512, 512), "u2"), photometric="minisblack")
    lattice = open_tiles(tmp_path)
    assert lattice.source.count.total == 0


def test_threads_read_the_same_pixels(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 99, (6, 128, 128), dtype="u2")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", compression="lzw")
    source = open_tiles(tmp_path).source
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(40):
            start = rng.integers(0, [6, 128, 128])
            stop = rng.integers(start, [7, 129, 129])
            box = Box(tuple(start.tolist()), tuple(stop.tolist()))
            if not np.array_equal(source.read(0, box), pixels[box.slices]):
                wrong.append(box)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_imagej_stack_with_one_directory_is_read_plane_by_plane(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 99, (2, 3, 16, 20), dtype="u2")
    path = tmp_path / "hyperstack.tif"
    metadata = {"axes": "ZCYX", "spacing": 2.5, "unit": "um"}
    tifffile.imwrite(path, pixels, imagej=True, metadata=metadata, resolution=(2.0, 2.0))
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        ifd = file.pages[0].offset
    n = struct.unpack_from("<H" if data[:2] == b"II" else ">H", data, ifd)[0]
    data[ifd + 2 + 12 * n : ifd + 6 + 12 * n] = b"\0\0\0\0"  # as ImageJ does above 4 GB
    path.write_bytes(data)
    assert tiff_facts(path).pages == 6
    lattice = open_tiles(path)
    assert lattice.tile_shape == {"c": 3, "z": 2, "y": 16, "x": 20}
    assert lattice.pixel_size_um == {"z": 2.5, "y": 0.5, "x": 0.5}
    box = Box((1, 0, 2, 3), (3, 2, 9, 11))
    np.testing.assert_array_equal(
        lattice.source.read(0, box), np.moveaxis(pixels, 1, 0)[box.slices]
    )


@pytest.mark.parametrize("codec", [None, "zlib"])
def test_a_file_that_shrinks_after_opening_says_so(tmp_path, codec):
    path = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 60000, (64, 64), dtype="u2")
    tifffile.imwrite(path, pixels, compression=codec)
    source = open_tiles(path).source
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"a\.tif is truncated"):
        source.read(0, Box((0, 0), (64, 64)))
    path.unlink()
    with pytest.raises(SourceError, match=r"cannot open .*a\.tif"):
        source.read(0, Box((0, 0), (64, 64)))


def test_a_damaged_segment_names_file_and_page(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(4096, dtype="u2").reshape(64, 64), compression="zlib")
    with TiffFile(path) as file:
        page = file.page(0)
    data = bytearray(path.read_bytes())
    start = int(page.offsets[0])
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.tif has a damaged segment 0 in page 0"):
        open_tiles(path).source.read(0, Box((0, 0), (64, 64)))


def test_bytes_are_counted_across_files(tmp_path):
    count = ByteCount()
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), "u2"))
    with TiffFile(tmp_path / "a.tif", count) as file:
        file.read(0, (0, 8), (0, 8))
    assert count.total >= 128


def test_damaged_directories_give_our_errors_and_no_others(tmp_path):
    rng = np.random.default_rng(11)
    pixels = rng.integers(0, 999, (3, 40, 40), dtype="u2")
    path = tmp_path / "damaged.tif"
    for options in (
        {},
        {"compression": "lzw", "tile": (16, 16)},
        {"bigtiff": True, "byteorder": ">"},
    ):
        tifffile.imwrite(path, pixels, photometric="minisblack", **options)
        whole = path.read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            for at in rng.integers(0, 600, 3):
                data[at] = rng.choice([0, 1, 2, 127, 255])
            path.write_bytes(data)
            try:
                lattice = open_tiles(path)
                box = Box.whole(tuple(lattice.tile(0).shape))
                if box.size < 10**7:
                    lattice.source.read(0, box)
            except LatticeworkError as error:
                assert "damaged.tif" in str(error) or "dims" in str(error)  # noqa: PT017


def test_a_source_can_be_pickled(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(64, dtype="u2").reshape(8, 8))
    source = pickle.loads(pickle.dumps(open_tiles(tmp_path).source))
    assert source.read(0, Box((1, 0), (2, 2))).tolist() == [[8, 9]]
