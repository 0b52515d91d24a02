"""A mask as run lengths within its own box: what stays small however large the image is.

A thousand tubes in an image of 9,000 px are a few MB this way, and 80 GB as a stack of bool
rasters. One mask is unpacked at a time, on the pixels of its box only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1 and y1 excluded


def intersection(a: Window, b: Window) -> Window:
    """The window of the pixels in both windows; `is_empty` where there are none."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def is_empty(window: Window) -> bool:
    """Whether a window has no pixels, because x1 <= x0 or y1 <= y0."""
    return window[2] <= window[0] or window[3] <= window[1]


@dataclass(frozen=True, slots=True)
class Region:
    """The pixels of one object: `counts` are compressed COCO run lengths of a raster (height,
    width) whose corner is at x, y in pixels of the image.

    The box is tight: its first and last row and column have a pixel. An empty region has height and
    width 0 and no counts.
    """

    x: int
    y: int
    height: int
    width: int
    counts: bytes

    @classmethod
    def of(cls, bits: np.ndarray, x: int = 0, y: int = 0) -> Region:
        """From a bool raster (h, w) whose corner is at x, y in pixels of the image."""
        rows, columns = np.flatnonzero(bits.any(1)), np.flatnonzero(bits.any(0))
        if not len(rows):
            return cls(x, y, 0, 0, b"")
        top, left = int(rows[0]), int(columns[0])
        tight = bits[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        counts = coco_mask.encode(np.asfortranarray(tight, dtype=np.uint8))["counts"]
        return cls(x + left, y + top, tight.shape[0], tight.shape[1], counts)

    @property
    def window(self) -> Window:
        """The tight box, x0, y0, x1, y1 in whole pixels, x1 and y1 excluded."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    @property
    def area(self) -> int:
        """How many pixels it has."""
        return (
            int(coco_mask.area({"size": [self.height, self.width], "counts": self.counts}))
            if self.counts
            else 0
        )

    @property
    def bits(self) -> np.ndarray:
        """The raster, bool (height, width)."""
        if not self.counts:
            return np.zeros((0, 0), dtype=bool)
        return coco_mask.decode({"size": [self.height, self.width], "counts": self.counts}).astype(
            bool
        )

    def within(self, window: Window) -> np.ndarray:
        """The raster on the pixels of any window of the image, bool (y1 - y0, x1 - x0)."""
        x0, y0, x1, y1 = window
        out = np.zeros((y1 - y0, x1 - x0), dtype=bool)
        common = intersection(window, self.window)
        if not is_empty(common):
            left, top, right, bottom = common
            bits = self.bits[top - self.y : bottom - self.y, left - self.x : right - self.x]
            out[top - y0 : bottom - y0, left - x0 : right - x0] = bits
        return out

    def moved(self, x: int, y: int) -> Region:
        """The same pixels, x to the right and y down."""
        return Region(self.x + x, self.y + y, self.height, self.width, self.counts)

    def rle(self, height: int, width: int) -> dict[str, Any]:
        """As a COCO RLE dict for an image of height x width, in which it lies; `counts` is bytes.

        The run lengths of the whole image follow from those in the box, so that the image's raster,
        which may have 80 million pixels, is never built.
        """
        # COCO counts down the columns. Where a padded column changes, a run begins or ends, by
        # turns.
        framed = np.pad(self.bits.T, ((0, 0), (1, 1))).view(np.int8)
        columns, rows = np.nonzero(np.diff(framed, axis=1))
        edges = (columns + self.x) * height + rows + self.y  # positions in the whole image
        # A run that reaches the image's foot goes on at the head of the next column if that is set:
        # there an end and a beginning fall on one position, and both go.
        between = edges[1:-1].reshape(-1, 2)
        between = between[between[:, 0] != between[:, 1]]
        edges = np.concatenate([edges[:1], between.ravel(), edges[-1:]])
        counts = np.diff(edges, prepend=0, append=height * width)
        # pycocotools writes no last run of length 0
        counts = counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts
        return coco_mask.fr_py_objects(
            {"size": [height, width], "counts": counts.tolist()}, height, width
        )


def overlap(a: Region, b: Region) -> int:
    """How many pixels two regions share."""
    common = intersection(a.window, b.window)
    return 0 if is_empty(common) else int((a.within(common) & b.within(common)).sum())


def union(regions: list[Region]) -> Region:
    """All pixels of one region or more, as one region."""
    # An empty region has a corner but no pixels, so it must not stretch the common window.
    windows = np.array([region.window for region in regions if region.counts] or [(0, 0, 0, 0)])
    (x0, y0), (x1, y1) = windows[:, :2].min(0).tolist(), windows[:, 2:].max(0).tolist()
    bits = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for region in regions:
        if region.counts:
            bits[region.y - y0 :, region.x - x0 :][: region.height, : region.width] |= region.bits
    return Region.of(bits, x0, y0)
