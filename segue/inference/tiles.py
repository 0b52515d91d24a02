"""Images of any size, cut into overlapping tiles, predicted one at a time and joined again (sliced
inference, as SAHI does, arXiv 2202.06934).

A model sees every image at one size, so small objects in a large image get lost. Tiles keep them.
Where tiles lie must not show in the result: see `joining` for how objects that a tile cuts become
whole.
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

# Tiles of fewer pixels show nothing, and are a slip of the pen: --tile 5 for --grid 5x5.
SMALLEST_TILE = 32


@dataclass(frozen=True)
class Tiling:
    """How an image is cut: into squares of `tile` pixels, or into `grid` rows and columns; not at
    all if both are None.

    overlap: the least share of its side that a tile has in common with the next one, above 0 and
    below 0.5. Objects are joined by what both tiles saw of them there, so the overlap should be
    wider than the objects are wide (not than they are long). Tiles are spread evenly and all have
    one size; an image smaller than a tile is one tile.

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
        """The tiles of an image of height x width pixels, row by row.

        Raises:
            PlanError: if a grid's tiles would be smaller than SMALLEST_TILE.
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
        """The tiles along one axis of `length` pixels: `count`, or as many as `tile` needs."""
        side = min(self.tile or length, length)
        if count is None:
            # as few tiles as overlap enough; the rest of the length is shared by all overlaps
            step = max(side - math.ceil(side * self.overlap), 1)
            count = 1 + math.ceil((length - side) / step)
        else:
            # count sides less count - 1 overlaps are the length
            side = math.ceil(length / (count - (count - 1) * self.overlap))
            if count > 1 and side < SMALLEST_TILE:
                expected = f"tiles of at least {SMALLEST_TILE} px"
                raise PlanError(
                    "--grid", f"{count} tiles along {length} px are {side} px each", expected
                )
        lows = [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]
        # Cores meet in the middle of an overlap, where both tiles see a pixel equally well.
        middles = [(low + side + high) // 2 for low, high in zip(lows, lows[1:], strict=False)]
        cores = [0, *middles, length]
        spans = zip(lows, cores, cores[1:], strict=False)
        return [_Span(low, low + side, core_low, core_high) for low, core_low, core_high in spans]


@dataclass(frozen=True, slots=True)
class _Span:
    """A tile along one axis, and its core, from the middle of one overlap to the middle of the
    next; in pixels, ends excluded.
    """

    low: int
    high: int
    core_low: int
    core_high: int


def predict_tiled(
    predictor: Predictor, pixels: Tensor, tiling: Tiling, threshold: float
) -> Detections:
    """Objects in an image (C, H, W), whose values are as files have them, detected tile by tile.

    threshold: the least score, 0..1. One tile at a time is in the model, and masks are kept as run
    lengths: beyond its pixels, memory does not grow with the image. Without a tiling this is the
    predictor's result for the whole image.

    Raises:
        DataError: if the image has other channels than the model.
        PlanError: if the image is too small for the grid.
    """
    ready = predictor.pixels(pixels)
    height, width = ready.shape[-2:]
    if tiling.whole:
        return predictor.predict_ready(ready, threshold)
    tiles = tiling.cut(height, width)
    by_tile = []
    for tile in tiles:
        x0, y0, x1, y1 = tile.window
        detections = predictor.predict_ready(ready[:, y0:y1, x0:x1], threshold)
        by_tile.append(moved(detections, tile.window, (height, width)))
    return join(tiles, by_tile)


def moved(detections: Detections, window: Window, size: tuple[int, int]) -> Detections:
    """A tile's objects as objects of the whole image of size height, width, masks as regions."""
    x, y = window[:2]
    regions = None
    if detections.has_masks:
        regions = tuple(detections.region(i).moved(x, y) for i in range(len(detections)))
    boxes_xyxy = detections.boxes_xyxy + detections.boxes_xyxy.new_tensor([x, y, x, y])
    return Detections(
        boxes_xyxy,
        detections.scores,
        detections.labels,
        detections.class_names,
        size,
        regions=regions,
    )


def predict_file(
    predictor: Predictor, path: Path, tiling: Tiling, threshold: float
) -> tuple[Tensor, Detections]:
    """An image file's pixels (C, H, W), as `multi_file.read` gives them, and the objects in it.

    Raises:
        DataError: if it, or another file with some of its channels, cannot be read.
        PlanError: if the image is too small for the grid.
    """
    pixels = multi_file.read(path, predictor.chain.spec.channels)
    return pixels, predict_tiled(predictor, pixels, tiling, threshold)
