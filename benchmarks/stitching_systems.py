"""Registration and fusion by latticework and by its peers; each is called in a fresh process.

The peers get what their own guides recommend, with the pixel size 1; see the notes of the table.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clock import Stopwatch
from benchmarks.tilesets import TileSet
from latticework.lattice import Box, Lattice


class Files:
    """Tiles that are read from their files, whole, each time."""

    def __init__(self, tiles: TileSet) -> None:
        self.tiles = tiles

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of a box of a tile."""
        return self.tiles.read(tile)[box.slices]

    def fingerprints(self) -> np.ndarray:
        """Tile numbers: nothing changes."""
        return np.arange(len(self.tiles.files), dtype=np.uint64)


class Held(Files):
    """Tiles in memory."""

    def __init__(self, tiles: TileSet) -> None:
        super().__init__(tiles)
        self.pixels = [tiles.read(k) for k in range(len(tiles.files))]

    def read(self, tile: int, box: Box) -> np.ndarray:
        """Pixels of a box of a tile."""
        return self.pixels[tile][box.slices]


class Same(Files):
    """Any number of tiles that show the same."""

    def __init__(self, n: int, pixels: np.ndarray) -> None:
        self.n, self.pixels = n, pixels

    def read(self, tile: int, box: Box) -> np.ndarray:  # noqa: ARG002 - they are all the same
        """Pixels of a box of a tile."""
        return self.pixels[box.slices]

    def fingerprints(self) -> np.ndarray:
        """Tile numbers: nothing changes."""
        return np.arange(self.n, dtype=np.uint64)


def _lattice(source: Files, places: Any, positions: np.ndarray, first: np.ndarray) -> Lattice:
    dims = "zyx"[-first.ndim :]
    index = np.asarray(places)
    return Lattice(
        dims=("tile_y", "tile_x"),
        labels={
            f"tile_{dim}": np.arange(1 + index[:, k].max()) for k, dim in enumerate(("y", "x"))
        },
        index=index,
        tile_dims=dims,
        tile_shape=first.shape,
        dtype=first.dtype,
        pixel_size_um=dict.fromkeys(dims, 1.0),
        position_um=positions,
        source=source,
    )


def _moved(tiles: TileSet, fraction: float) -> np.ndarray:
    """True positions, moved by up to so many pixels."""
    rng = np.random.default_rng(0)
    truth = np.asarray(tiles.truth, float)
    return np.asarray(truth + rng.uniform(-fraction, fraction, truth.shape))


# ------------------------------------------------------------------ ours


def register_ours(_scratch: Path, watch: Stopwatch, *, tiles: str) -> dict[str, float]:
    """`register` and `place`, reading from disk."""
    for module in ("pandas", "scipy.sparse.csgraph", "scipy.sparse.linalg", "scipy.spatial"):
        import_module(module)  # as the peers' imports, before the clock starts
    from latticework.stitch import place, register

    these = TileSet.load(tiles)
    lattice = _lattice(Files(these), these.places, np.asarray(these.nominal), these.read(0))
    with watch:
        links = register(lattice)
        found = place(lattice, links)
    return {**these.errors(found.lattice.position_um), "pairs": len(links)}


def fuse_ours(
    scratch: Path, watch: Stopwatch, *, tiles: str, fraction: float = 0.0
) -> dict[str, float]:
    """`fuse` to OME-Zarr with a pyramid, of tiles in memory."""
    from latticework.stitch import fuse

    these = TileSet.load(tiles)
    source = Held(these)
    lattice = _lattice(source, these.places, _moved(these, fraction), source.pixels[0])
    with watch:
        image = fuse(lattice, scratch / "volume.ome.zarr")
    return {"voxels": float(np.prod(image.shape[-len(these.dims) :]))}


def fuse_many(scratch: Path, watch: Stopwatch, *, side: int, size: int) -> dict[str, float]:
    """`fuse` of side times side small tiles."""
    from latticework.stitch import fuse

    rng = np.random.default_rng(0)
    pixels = rng.integers(100, 900, (size, size)).astype("u2")
    places = list(np.ndindex(side, side))
    positions = np.asarray(places, float) * 0.9 * size + rng.uniform(0, 1, (len(places), 2))
    lattice = _lattice(Same(len(places), pixels), places, positions, pixels)
    with watch:
        image = fuse(lattice, scratch / "volume.ome.zarr")
    return {"voxels": float(np.prod(image.shape[-2:]))}


# ------------------------------------------------------------------ multiview-stitcher


def _views(tiles: TileSet, positions: np.ndarray, *, held: bool) -> Any:
    import dask
    import dask.array as da
    from multiview_stitcher import msi_utils
    from multiview_stitcher import spatial_image_utils as images

    dask.config.set(scheduler="threads", num_workers=2)
    first = tiles.read(0)
    views = []
    for k, at in enumerate(positions):
        if held:
            pixels = da.from_array(tiles.read(k)[None], chunks=(1, *first.shape))
        else:
            read = dask.delayed(tiles.read)(k)
            pixels = da.from_delayed(read, first.shape, first.dtype)[None]
        image = images.get_sim_from_array(
            pixels,
            dims=["c", *tiles.dims],
            scale=dict.fromkeys(tiles.dims, 1.0),
            translation=dict(zip(tiles.dims, map(float, at), strict=True)),
            transform_key="stage",
            c_coords=["channel"],
        )
        views.append(msi_utils.get_msim_from_sim(image, scale_factors=[]))
    return views


def register_multiview(_scratch: Path, watch: Stopwatch, *, tiles: str) -> dict[str, float]:
    """`registration.register` with its defaults."""
    from multiview_stitcher import registration

    these = TileSet.load(tiles)
    nominal = np.asarray(these.nominal)
    views = _views(these, nominal, held=False)
    with watch:
        found = registration.register(
            views,
            reg_channel="channel",
            transform_key="stage",
            new_transform_key="registered",
            return_dict=True,
        )
    moved = np.array([np.squeeze(p.data)[:-1, -1] for p in found["params"]])
    pairs = len(found["pairwise_registration"]["graph"].edges)
    return {**these.errors(nominal + moved), "pairs": pairs}


def fuse_multiview(
    scratch: Path, watch: Stopwatch, *, tiles: str, fraction: float = 0.0
) -> dict[str, float]:
    """`fusion.fuse` to OME-Zarr, with the chunks that its guide has."""
    from multiview_stitcher import fusion, msi_utils

    these = TileSet.load(tiles)
    views = _views(these, _moved(these, fraction), held=True)
    chunk = 512 if len(these.dims) == 2 else 128
    with watch:
        fused = fusion.fuse(
            images=views,
            transform_key="stage",
            output_chunksize=dict.fromkeys(these.dims, chunk),
            output_zarr_url=str(scratch / "volume.ome.zarr"),
            zarr_options={"ome_zarr": True},
        )
    return {"voxels": float(np.prod(msi_utils.get_sim_from_msim(fused).shape))}


# ------------------------------------------------------------------ ashlar, m2stitch


def _ashlar(tiles: TileSet, positions: np.ndarray) -> Any:
    import warnings

    warnings.simplefilter("ignore")
    from ashlar import reg

    first = tiles.read(0)

    class Metadata(reg.Metadata):  # type: ignore[misc]
        _num_images = len(tiles.files)
        num_channels = 1
        pixel_size = 1.0
        pixel_dtype = first.dtype

        def tile_position(self, i: int) -> np.ndarray:
            return np.asarray(positions[i])

        def tile_size(self, _i: int) -> np.ndarray:
            return np.array(first.shape)

    class Reader(reg.Reader):  # type: ignore[misc]
        metadata = Metadata()

        def read(self, series: int, _c: int) -> np.ndarray:
            return tiles.read(series)

    return reg.EdgeAligner(Reader(), channel=0, max_shift=30.0, do_make_thumbnail=False)


def register_ashlar(_scratch: Path, watch: Stopwatch, *, tiles: str) -> dict[str, float]:
    """`EdgeAligner`, reading from disk; shifts up to 30 pixels."""
    these = TileSet.load(tiles)
    aligner = _ashlar(these, np.asarray(these.nominal))
    with watch:
        aligner.run()
    return {**these.errors(aligner.positions), "pairs": len(aligner.neighbors_graph.edges)}


def register_m2stitch(_scratch: Path, watch: Stopwatch, *, tiles: str) -> dict[str, float]:
    """`stitch_images`, with nominal positions and a low threshold; it needs all tiles in memory."""
    import warnings

    warnings.simplefilter("ignore")
    import m2stitch

    these = TileSet.load(tiles)
    rows, columns = zip(*these.places, strict=True)
    with watch:
        found, _ = m2stitch.stitch_images(
            np.array([these.read(k) for k in range(len(these.files))]),
            rows,
            columns,
            row_col_transpose=False,
            ncc_threshold=0.1,
            position_initial_guess=np.asarray(these.nominal),
        )
    return these.errors(found[["y_pos", "x_pos"]].to_numpy(float))
