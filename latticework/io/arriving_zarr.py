"""From Zarr images that have arrived to tiles; one image is one tile."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from latticework.errors import SourceError
from latticework.io.arriving import Files, Opening, Sorted
from latticework.io.filenames import match_names, natural_key
from latticework.io.placing import Tiles
from latticework.io.position_table import PositionTable
from latticework.io.sources import mix
from latticework.io.watch_scan import tree_stamp
from latticework.io.zarr_images import ZarrImage, image_facts, zarr_tiles
from latticework.io.zarr_source import ZarrSource


class ZarrOpener:
    """Opens tiles that are Zarr images as they arrive; an `Opener`.

    Parameters
    ----------
    opening
        How the images are opened.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.table: PositionTable | None = None
        self._seen: dict[str, ZarrImage | str] = {}
        self._usual: ZarrImage | None = None

    def forget(self, name: str) -> None:
        """An image has changed or left."""
        self._seen.pop(name, None)

    def learn(self, names: Files) -> None:
        """Take what is common to all tiles from the image of one that is known."""
        for name in names:
            facts = self._look(name)
            self.forget(name)
            if isinstance(facts, ZarrImage):
                self._usual = facts
                return

    def _look(self, name: str) -> ZarrImage | str:
        if name not in self._seen:
            try:
                facts = image_facts(self.opening.root / name, self.opening.dims)
                facts.canonical(self.opening.root / name)
                self._seen[name] = facts
            except SourceError as error:
                self._seen[name] = str(error)
        return self._seen[name]

    def sort(self, names: Sequence[str]) -> Sorted:
        """Which images can be opened."""
        found, opening = Sorted(), self.opening
        names = sorted(names, key=natural_key)
        if opening.pattern is not None:
            for row in match_names(names, opening.pattern)[1]:
                found.held[names[row]] = f"its name does not fit pattern={opening.pattern!r}"
        images = {n: image for n in names if isinstance(image := self._look(n), ZarrImage)}
        if self._usual is None and images:
            usual = Counter(_form(image) for image in images.values()).most_common(1)[0][0]
            self._usual = next(image for image in images.values() if _form(image) == usual)
        given = opening.placing.grid is not None or self.table is not None
        for name in names:
            facts = self._seen[name]
            if name in found.held:
                continue
            if isinstance(facts, ZarrImage) and (text := self._strange(name, facts, given=given)):
                found.held[name] = text
            elif isinstance(facts, str):
                found.held[name] = facts
                found.spoiled.append((name,))
            else:
                found.whole.append((name,))
        return found

    def _strange(self, name: str, image: ZarrImage, *, given: bool) -> str | None:
        """Why an image that can be read is not a tile of this acquisition."""
        assert self._usual is not None
        if _form(image) != _form(self._usual):
            sizes = dict(zip(image.dims, image.shape, strict=True))
            usual = dict(zip(self._usual.dims, self._usual.shape, strict=True))
            self._seen[name] = text = (
                f"{self.opening.root / name} is {sizes} {image.dtype}; expected {usual} "
                f"{self._usual.dtype}, as the other images of this acquisition"
            )
            return text
        if not given and self.opening.pattern is None and not image.position_um:
            return (
                "it does not say where it is (no OME-Zarr translation): watch with pattern=, "
                "positions= or grid="
            )
        return None

    def lost(self, names: Sequence[str]) -> dict[str, str]:
        """Images that cannot be read, and why."""
        return {name: text for name in names if isinstance(text := self._seen.get(name), str)}

    def tiles(self, names: Sequence[str]) -> Tiles:
        """Tiles of images that were sorted; their fingerprints tell every chunk that changes."""
        opening = self.opening
        tiles = zarr_tiles(
            opening.root,
            None,
            opening.dims,
            opening.pattern,
            opening.placing,
            table=self.table is not None,
            names=sorted(dict.fromkeys(names), key=natural_key),
        )
        source = tiles.source
        assert isinstance(source, ZarrSource)
        trees = [tree_stamp(f"{opening.root}/{name}") for name in tiles.names]
        stamps = whole_stamps(source.stamps, np.array(trees, np.int64).reshape(-1, 3))
        tiles.source = replace(source, stamps=stamps)
        return tiles


def whole_stamps(stamps: np.ndarray, trees: np.ndarray) -> np.ndarray:
    """Stamps of arrays, by their metadata and chunk folders, with those of all files in them.

    Parameters
    ----------
    stamps
        uint64 of `ZarrSource`.
    trees
        What `latticework.io.watch_scan.tree_stamp` gave for the images, shape (n, 3).
    """
    return mix(stamps, *trees.T)


def _form(image: ZarrImage) -> tuple[object, ...]:
    return image.dims, image.shape, image.dtype, image.array
