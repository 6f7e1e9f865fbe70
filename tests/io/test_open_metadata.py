"""Positions from OME-XML and MetaMorph metadata."""

import numpy as np
import pytest
import tifffile

from latticework.errors import SourceError
from latticework.io.metamorph import parse_plane_info, plane_address
from latticework.io.ome import parse_ome
from latticework.io.open_tiles import open_tiles
from latticework.lattice import Box


def metadata(y, x, *, planes=1, unit="mm", scale=1e-3, axes="YX", **more):
    plane = {
        "PositionX": [x * scale] * planes, "PositionXUnit": [unit] * planes,
        "PositionY": [y * scale] * planes, "PositionYUnit": [unit] * planes,
    }  # fmt: skip
    return {
        "axes": axes, "Plane": plane, "PhysicalSizeX": 400, "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.4, "PhysicalSizeYUnit": "µm", **more,
    }  # fmt: skip


def test_each_file_has_its_own_position(tmp_path):
    for i, (y, x) in enumerate([(0, 0), (0, 36), (28.8, 0), (28.8, 36)]):
        tifffile.imwrite(
            tmp_path / f"{i}.ome.tif", np.full((2, 5, 80, 100), i, "u2"), photometric="minisblack",
            metadata=metadata(y, x, planes=10, axes="CZYX", PhysicalSizeZ=2, PhysicalSizeZUnit="µm",
                              Channel={"Name": ["DAPI", "GFP"]}),
        )  # fmt: skip
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"tile_y": 2, "tile_x": 2}
    assert lattice.tile_shape == {"c": 2, "z": 5, "y": 80, "x": 100}
    assert lattice.channels == ("DAPI", "GFP")
    assert lattice.pixel_size_um == pytest.approx({"z": 2, "y": 0.4, "x": 0.4})
    assert dict(lattice.step_px) == {"y": 72, "x": 90}
    np.testing.assert_allclose(lattice.position_um[3], [0, 28.8, 36])
    assert (lattice.source.read(2, Box((0, 0, 0, 0), (2, 5, 80, 100))) == 2).all()


def test_pages_of_c_and_z_are_told_apart(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9999, (3, 2, 16, 20), dtype="u2")
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        pixels,
        photometric="minisblack",
        metadata=metadata(0, 0, planes=6, axes="ZCYX"),
    )
    lattice = open_tiles(tmp_path)
    assert lattice.tile_shape == {"c": 2, "z": 3, "y": 16, "x": 20}
    box = Box((1, 1, 2, 3), (2, 3, 9, 20))
    np.testing.assert_array_equal(
        lattice.source.read(0, box), np.moveaxis(pixels, 1, 0)[box.slices]
    )


def test_several_images_in_one_file(tmp_path):
    path = tmp_path / "all.ome.tif"
    pixels = np.random.default_rng(0).integers(0, 9999, (6, 3, 20, 30), dtype="u2")
    with tifffile.TiffWriter(path, ome=True) as file:
        for i in range(6):
            file.write(
                pixels[i], photometric="minisblack",
                metadata=metadata(i // 3 * 16 * 0.4, i % 3 * 27 * 0.4, planes=3, axes="ZYX"),
            )  # fmt: skip
    for target in (path, tmp_path):
        lattice = open_tiles(target)
        assert lattice.sizes == {"tile_y": 2, "tile_x": 3}
        assert dict(lattice.step_px) == {"y": 16, "x": 27}
        assert len(set(lattice.names)) == 6
        for i in range(6):
            np.testing.assert_array_equal(
                lattice.source.read(i, Box((1, 0, 0), (3, 20, 30))), pixels[i, 1:]
            )
    path.rename(tmp_path / "renamed.ome.tif")
    assert open_tiles(tmp_path).n_tiles == 6


def ome_set(files):
    """OME-XML of four images of two planes each, spread over two files."""
    images = ""
    for i in range(4):
        data = "".join(
            f'<TiffData FirstZ="{z}" IFD="{i % 2 * 2 + z}" PlaneCount="1">'
            f'<UUID FileName="{files[i // 2]}">'
            f"urn:uuid:{i // 2}</UUID></TiffData>"
            for z in range(2)
        )
        images += (
            f'<Image ID="Image:{i}" Name="pos {i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYZCT" '
            f'Type="uint16" SizeX="30" SizeY="20" SizeZ="2" SizeC="1" SizeT="1">{data}'
            f'<Plane TheZ="0" TheC="0" TheT="0" PositionX="{i * 27}" PositionXUnit="pixel" '
            f'PositionY="0" PositionYUnit="pixel"/></Pixels></Image>'
        )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="o" UUID="urn:uuid:{{}}">{images}</OME>'
    )


def write_pages(path, pixels, text):
    with tifffile.TiffWriter(path) as file:
        for number, page in enumerate(pixels):
            file.write(
                page, description=text if number == 0 else None, metadata=None, contiguous=False
            )


@pytest.mark.parametrize("companion", [False, True])
def test_a_set_of_files_that_share_their_metadata(tmp_path, companion):
    pixels = np.random.default_rng(0).integers(0, 9999, (2, 4, 20, 30), dtype="u2")
    xml = ome_set(["first.ome.tif", "second.ome.tif"])
    if companion:
        (tmp_path / "set.companion.ome").write_text(xml.format(9))
        only = '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:9"/>'
        xml = '<OME UUID="urn:uuid:{}">' + only + "</OME>"
    for i, name in enumerate(["first", "second"]):
        write_pages(tmp_path / f"{name}.ome.tif", pixels[i], xml.format(i))
    lattice = open_tiles(tmp_path)
    assert lattice.n_tiles == 4
    assert lattice.sizes["tile_x"] == 4
    assert lattice.tile_shape == {"z": 2, "y": 20, "x": 30}
    assert lattice.step_px["x"] == 27
    part = lattice.source.read(3, Box((1, 0, 0), (2, 20, 30)))
    np.testing.assert_array_equal(part[0], pixels[1, 3])
    (tmp_path / "second.ome.tif").unlink()
    assert open_tiles(tmp_path / "first.ome.tif").n_tiles == 2
    write_pages(tmp_path / "third.ome.tif", pixels[1], xml.format(2))
    with pytest.raises(SourceError, match="lacks second"):
        open_tiles(tmp_path)


def test_time_points_become_a_lattice_axis(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 9999, (4, 3, 16, 20), dtype="u2")
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        pixels,
        photometric="minisblack",
        metadata=metadata(0, 0, planes=12, axes="TZYX"),
    )
    lattice = open_tiles(tmp_path)
    assert lattice.sizes["time"] == 4
    tile = lattice.tile(time=2, y=0, x=0)
    np.testing.assert_array_equal(lattice.source.read(tile.id, Box.whole((3, 16, 20))), pixels[2])


def test_entities_are_refused(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><OME><Image/></OME>'
    with pytest.raises(SourceError, match="DOCTYPE"):
        parse_ome(bomb, tmp_path / "bomb.ome.tif")
    with pytest.raises(SourceError, match=r"bad\.ome\.tif has damaged OME-XML"):
        parse_ome("<OME><Image></OME>", tmp_path / "bad.ome.tif")


def test_a_lost_position_is_raised_or_left_out(tmp_path):
    for i in range(4):
        tifffile.imwrite(
            tmp_path / f"{i}.ome.tif",
            np.zeros((20, 30), "u2"),
            metadata=metadata(i // 2 * 7, i % 2 * 11),
        )
    (tmp_path / "2.ome.tif").write_bytes(b"")
    with pytest.raises(SourceError, match=r"2\.ome\.tif is empty"):
        open_tiles(tmp_path)
    with pytest.warns(UserWarning, match=r"cannot be placed.*2\.ome\.tif is empty"):
        lattice = open_tiles(tmp_path, errors="mark")
    assert lattice.n_tiles == 3


# ------------------------------------------------------------------------- MetaMorph


def plane_info(x, y, z, name="GFP", **more):
    values = {"spatial-calibration-x": 0.5, "spatial-calibration-y": 0.5, "image-name": name,
              "stage-position-x": x, "stage-position-y": y, "z-position": z, **more}  # fmt: skip
    values["spatial-calibration-units"] = "um"
    props = "".join(
        f'<prop id="{key}" type="float" value="{value}"/>\n' for key, value in values.items()
    )
    return f"<MetaData>\n<PlaneInfo>\n{props}</PlaneInfo>\n</MetaData>"


def test_plain_metamorph_planes_are_gathered_by_position_and_focus(tmp_path):
    n = 0
    for y in (0, 7):
        for x in (0, 9, 18):
            for z in range(3):
                for name in ("GFP", "Cy5"):
                    n += 1
                    tifffile.imwrite(
                        tmp_path / f"img{n}.tif", np.full((16, 20), n, "u2"), metadata=None,
                        description=plane_info(1000 + x + z * 0.01, 500 + y, 10 + 2 * z, name),
                    )  # fmt: skip
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"tile_y": 2, "tile_x": 3}
    assert lattice.tile_shape == {"c": 2, "z": 3, "y": 16, "x": 20}
    assert lattice.pixel_size_um == pytest.approx({"z": 2, "y": 0.5, "x": 0.5})
    assert dict(lattice.step_px) == {"y": 14, "x": 18}
    flipped = open_tiles(tmp_path, flip="y")
    assert flipped.tile(0).index == (1, 0)


def test_thumbnails_are_left_out_and_guids_understood():
    assert plane_address("P_B02_s1_thumbF0D5A7C6-2F7F-44E5-A7C5-6D42E8B9A0B1.tif", None) is None
    address = plane_address("P_B02_w10AC08A410-4276-4921-9FDA-9CB1249B3156.tif", None)
    assert address == {"well": "B02", "c": 10}
    assert plane_address("TimePoint_3/P_B02_s2.TIF", None) == {"well": "B02", "site": 2, "time": 3}


def test_a_description_without_planeinfo_is_nothing():
    assert parse_plane_info("ImageJ=1.53") is None
    info = parse_plane_info(plane_info("x", 1, 2))
    assert info.position_um == {"y": 1.0, "z": 2.0}


def test_a_well_that_lacks_a_site_keeps_the_others_in_place(tmp_path):
    for well, origin in (("A01", 1000), ("A02", 10000)):
        for site in range(1, 5):
            if well == "A02" and site in (1, 3):
                continue
            y, x = divmod(site - 1, 2)
            text = plane_info(origin + x * 9 + site * 0.01, 500 + y * 7, 10)
            name = tmp_path / f"P_{well}_s{site}_w1.tif"
            tifffile.imwrite(name, np.zeros((16, 20), "u2"), metadata=None, description=text)
    lattice = open_tiles(tmp_path)
    assert lattice.names.tolist() == ["A01_s1", "A01_s2", "A01_s3", "A01_s4", "A02_s2", "A02_s4"]
    assert lattice.index.tolist()[-2:] == [[1, 0, 1], [1, 1, 1]]
