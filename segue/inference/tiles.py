"""Images of any size, cut into overlapping tiles, predicted one at a time and joined again.

A model sees every image at one size, so that small things in a large image are lost. Tiles keep
them. Where tiles lie must not show in the result: see `joining` for how objects that a tile cuts
become whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from segue.data.images import multi_file
from segue.errors import PlanError
from segue.inference.joining import Tile, join
from segue.inference.predict import Predictor
from segue.structures.detections import Detections
from segue.structures.regions import Window

# Fewer pixels than this are no picture of anything, and a slip of the pen: --tile 5 for --grid 5x5.
SMALLEST_TILE = 32


@dataclass(frozen=True)
class Tiling:
    """How an image is cut: into squares of `tile` pixels, or into `grid` rows and columns; else not
    at all.

    overlap: the least share of its side that a tile has in common with the next one. An object is
    joined by what both tiles saw of it there, so that the overlap should be wider than the objects'
    width (not their length). Tiles are spread evenly and all have one size; smaller images are one
    tile.

    Raises:
        PlanError: if a value is out of range.
    """

    tile: int | None = None
    grid: tuple[int, int] | None = None
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if self.tile is not None and self.grid is not None:
            raise PlanError("--tile and --grid", "both are given", "one of them")
        if self.tile is not None and self.tile < SMALLEST_TILE:
            raise PlanError(
                "--tile", f"{self.tile} px", f"at least {SMALLEST_TILE} px, or --grid ROWSxCOLUMNS"
            )
        if self.grid is not None and min(self.grid) < 1:
            raise PlanError(
                "--grid", f"{self.grid[0]}x{self.grid[1]}", "rows x columns, such as 2x3"
            )
        if not 0 < self.overlap < 0.5:
            raise PlanError(
                "--overlap", f"{self.overlap:g}", "a share of the tile's side above 0 and below 0.5"
            )

    @property
    def whole(self) -> bool:
        """Whether images are not cut."""
        return self.tile is None and self.grid is None

    def cut(self, height: int, width: int) -> list[Tile]:
        """The tiles of an image, row by row.

        Raises:
            PlanError: if the image has no room for so many.
        """
        rows, columns = self.grid or (None, None)
        return [
            Tile(
                (x.low, y.low, x.high, y.high),
                (x.core_low, y.core_low, x.core_high, y.core_high),
                (height, width),
            )
            for y in self._along(height, rows)
            for x in self._along(width, columns)
        ]

    def _along(self, length: int, count: int | None) -> list[_Span]:
        """One axis of the cut."""
        side = min(self.tile or length, length)
        if count is None:
            step = max(side - math.ceil(side * self.overlap), 1)
            count = 1 + math.ceil((length - side) / step)
        else:
            side = math.ceil(length / (count - (count - 1) * self.overlap))
            if count > 1 and side < SMALLEST_TILE:
                expected = f"tiles of at least {SMALLEST_TILE} px"
                raise PlanError(
                    "--grid", f"{count} tiles along {length} px are {side} px each", expected
                )
        lows = [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]
        middles = [
            (low + side + following) // 2 for low, following in zip(lows, lows[1:], strict=False)
        ]
        cores = [0, *middles, length]
        return [
            _Span(low, low + side, a, b) for low, a, b in zip(lows, cores, cores[1:], strict=False)
        ]


@dataclass(frozen=True, slots=True)
class _Span:
    """A tile along one axis, and its core: from the middle of one overlap to the middle of the
    next.
    """

    low: int
    high: int
    core_low: int
    core_high: int


def predict_tiled(
    predictor: Predictor, pixels: Tensor, tiling: Tiling, threshold: float
) -> Detections:
    """Objects in an image (C, H, W), whose values are as files have them, found tile by tile.

    One tile at a time is in the model, and masks are kept compressed: memory does not grow with the
    image, but for its pixels. Without a tiling this is the predictor's answer for the whole image.
    """
    ready = predictor.pixels(pixels)
    height, width = ready.shape[-2:]
    if tiling.whole:
        return predictor.predict_ready(ready, threshold)
    tiles = tiling.cut(height, width)
    found = []
    for tile in tiles:
        x0, y0, x1, y1 = tile.window
        found.append(
            moved(
                predictor.predict_ready(ready[:, y0:y1, x0:x1], threshold),
                tile.window,
                (height, width),
            )
        )
    return join(tiles, found)


def moved(found: Detections, window: Window, size: tuple[int, int]) -> Detections:
    """A tile's objects as objects of the whole image (height, width), with their masks compressed."""
    x, y = window[:2]
    regions = (
        tuple(found.region(i).moved(x, y) for i in range(len(found))) if found.has_masks else None
    )
    boxes_xyxy = found.boxes_xyxy + found.boxes_xyxy.new_tensor([x, y, x, y])
    return Detections(
        boxes_xyxy, found.scores, found.labels, found.class_names, size, regions=regions
    )


def predict_file(
    predictor: Predictor, path: Path, tiling: Tiling, threshold: float
) -> tuple[Tensor, Detections]:
    """An image's pixels (C, H, W) as `partners.read` gives them, and what was found in it.

    Raises:
        DataError: if it, or a partner, cannot be read.
    """
    pixels = multi_file.read(path, predictor.chain.spec.channels)
    return pixels, predict_tiled(predictor, pixels, tiling, threshold)
