"""Masks as files hold them (polygons, run lengths) and as losses read them (packed small rasters);
rasterising turns the first into the second.

An annotated mask stays compressed until a sample needs it, and is then rasterised inside its own
box only, on the grid the loss samples. A stack of N masks at image size is never built: 200 cells
of 100 px in a 1500 px image are 2 MB here and 450 MB as a dense bool stack.

The COCO raster (`hotcoco.mask`, bit-identical to pycocotools) is used throughout, for targets as
for metrics: OpenCV and PIL draw the outline as well, which makes areas about 9 % larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segue.structures.regions import Region


@dataclass(frozen=True, slots=True)
class Polygon:
    """The union of one or more rings, each (V, 2) float64 x, y in pixels of the image."""

    rings: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Rle:
    """COCO run lengths, compressed: `counts` as pycocotools writes them, for an image of height x
    width.
    """

    height: int
    width: int
    counts: bytes


Mask = Polygon | Rle


def coco_rle(mask: Mask, height: int, width: int) -> dict[str, Any]:
    """A mask as a COCO RLE dict, `counts` as bytes, for an image of height x width pixels.

    An `Rle` must already be of that size; readers refuse others.
    """
    if isinstance(mask, Rle):
        assert (mask.height, mask.width) == (height, width), (
            "an RLE's size is checked when it is read"
        )
        return {"size": [height, width], "counts": mask.counts}
    return _drawn(mask.rings, height, width)


def _drawn(rings: Sequence[np.ndarray], height: int, width: int) -> dict[str, Any]:
    """The union of rings (V, 2), rasterised as COCO does, as an RLE dict of height x width."""
    rles = [coco_mask.fr_poly(ring.ravel().tolist(), height, width) for ring in rings]
    return coco_mask.merge(rles) if len(rles) > 1 else rles[0]


def encoded(bits: np.ndarray, x: int, y: int, height: int, width: int) -> Rle:
    """The RLE, for an image of height x width, of a bool raster (h, w) that lies inside it with its
    corner at x, y.
    """
    return Rle(height, width, Region.of(bits, x, y).rle(height, width)["counts"])


def bitmap(mask: Rle) -> tuple[np.ndarray, int, int]:
    """The bool raster (h, w) of an RLE, cropped to its pixels, and the raster's corner x, y in
    pixels of the image; of shape (0, 0) if the mask is empty.
    """
    rle = {"size": [mask.height, mask.width], "counts": mask.counts}
    x, y, w, h = (int(v) for v in coco_mask.to_bbox(rle))
    return coco_mask.decode(rle)[y : y + h, x : x + w].astype(bool), x, y


def raster_polygon(rings: Sequence[np.ndarray], window: tuple[int, int, int, int]) -> np.ndarray:
    """Rasterise the union of rings (V, 2) on the pixels of a window: bool (y1 - y0, x1 - x0).

    window: x0, y0, x1, y1 in whole pixels of the rings' own grid, x1 and y1 excluded.
    """
    x0, y0, x1, y1 = window
    corner = np.array([x0, y0], dtype=np.float64)
    rle = _drawn([ring - corner for ring in rings], y1 - y0, x1 - x0)
    return coco_mask.decode(rle).astype(bool)


def raster_bitmap(
    bits: np.ndarray, frame: np.ndarray, window: tuple[int, int, int, int]
) -> np.ndarray:
    """Rasterise a bool bitmap (h, w) through an affine map on the pixels of a window: bool
    (y1 - y0, x1 - x0).

    frame (3, 2): where the bitmap's corners (0, 0), (w, 0) and (0, h) lie on the target grid, in
    its pixels. window: x0, y0, x1, y1 in whole pixels of that grid. Bilinear, then at least a half.
    Where the map shrinks by more than two, an area average comes first: bilinear sampling alone
    would skip pixels, and thin objects would lose pieces from one view to the next.
    """
    x0, y0, x1, y1 = window
    origin, along_x, along_y = frame[0], frame[1] - frame[0], frame[2] - frame[0]
    image = torch.from_numpy(bits).float()[None, None]
    shrunk = [
        max(1, min(size, round(float(np.linalg.norm(axis)))))
        for size, axis in zip(bits.shape, (along_y, along_x), strict=True)
    ]
    if shrunk[0] * 2 < bits.shape[0] or shrunk[1] * 2 < bits.shape[1]:
        image = F.interpolate(image, size=shrunk, mode="area")
    # Each target pixel's centre is sent back through the map, to 0..1 across the bitmap.
    to_unit = np.linalg.inv(np.stack([along_x, along_y], axis=1))
    ys, xs = np.mgrid[y0:y1, x0:x1] + 0.5
    unit = (np.stack([xs, ys], axis=-1) - origin) @ to_unit.T  # (h, w, 2)
    grid = torch.from_numpy(2 * unit - 1).float()[None]
    return (F.grid_sample(image, grid, align_corners=False)[0, 0] >= 0.5).numpy()


@dataclass(slots=True)
class PackedMasks:
    """N small rasters laid end to end: what the mask losses sample.

    bits (sum of window areas,) uint8, 0 or 1; starts (N,) int64, positions in bits; windows (N, 4)
    int64 x0, y0, x1, y1 in pixels of the frame; grids (N, 2) int64 height, width of the frame.
    Outside its window a mask is 0.
    """

    bits: Tensor
    starts: Tensor
    windows: Tensor
    grids: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def pack(
        cls,
        rasters: Sequence[np.ndarray],
        windows: Sequence[Sequence[int]],
        height: int,
        width: int,
    ) -> PackedMasks:
        """N bool rasters (h, w) with their windows (x0, y0, x1, y1), on one frame of height x
        width.
        """
        sizes = torch.tensor([raster.size for raster in rasters], dtype=torch.int64)
        flat = [
            torch.from_numpy(np.ascontiguousarray(raster)).view(-1).to(torch.uint8)
            for raster in rasters
        ]
        return cls(
            bits=torch.cat(flat) if flat else torch.zeros(0, dtype=torch.uint8),
            starts=torch.cumsum(sizes, 0) - sizes,
            windows=torch.tensor(windows, dtype=torch.int64).reshape(-1, 4),
            grids=torch.tensor([height, width]).repeat(len(rasters), 1),
        )

    @classmethod
    def cat(cls, groups: Sequence[PackedMasks]) -> PackedMasks:
        """The masks of several images, one after another: object i of `Target`s joined likewise."""
        offsets = np.cumsum([0, *(len(group.bits) for group in groups)])
        starts = [
            group.starts + int(offset) for group, offset in zip(groups, offsets, strict=False)
        ]
        return cls(
            bits=torch.cat([group.bits for group in groups]),
            starts=torch.cat(starts),
            windows=torch.cat([group.windows for group in groups]),
            grids=torch.cat([group.grids for group in groups]),
        )

    def keep(self, chosen: Tensor) -> PackedMasks:
        """The masks at int64 positions `chosen`, or where a bool `chosen` (N,) is true; bits are
        shared, not copied.
        """
        return PackedMasks(self.bits, self.starts[chosen], self.windows[chosen], self.grids[chosen])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedMasks:
        return PackedMasks(
            *(t.to(device, non_blocking=non_blocking) for t in self.tensors().values())
        )

    def pin_memory(self) -> PackedMasks:
        return PackedMasks(*(t.pin_memory() for t in self.tensors().values()))

    def tensors(self) -> dict[str, Tensor]:
        """The four fields by name, as cache files hold them."""
        return {
            "bits": self.bits,
            "starts": self.starts,
            "windows": self.windows,
            "grids": self.grids,
        }

    def sample(self, objects: Tensor, points: Tensor) -> Tensor:
        """Values (T, P) float32, 0 or 1, of masks `objects` (T,) int64 at points (T, P, 2), x and y
        in [0, 1) across the frame.

        Equal to `grid_sample(mode="nearest", align_corners=False)` of the mask drawn on its whole
        frame, which is never built.
        """
        height, width = self.grids[objects].unbind(-1)  # (T,) each
        x0, y0, x1, y1 = (edge[:, None] for edge in self.windows[objects].unbind(-1))  # (T, 1) each
        column = (points[..., 0] * width[:, None]).floor().long()
        row = (points[..., 1] * height[:, None]).floor().long()
        inside = (column >= x0) & (column < x1) & (row >= y0) & (row < y1)
        # A point outside the window reads the first bit of all, and is then multiplied by 0: no
        # index may leave `bits`, and no branch may depend on values on the GPU.
        index = self.starts[objects][:, None] + (row - y0) * (x1 - x0) + (column - x0)
        bits = self.bits if len(self.bits) else self.bits.new_zeros(1)
        return (bits[torch.where(inside, index, 0)] * inside).float()

    def dense(self, index: int) -> Tensor:
        """One mask on its whole frame, bool (H, W): to look at, and for tests."""
        height, width = self.grids[index].tolist()
        x0, y0, x1, y1 = self.windows[index].tolist()
        start = int(self.starts[index])
        out = torch.zeros(height, width, dtype=torch.bool)
        out[y0:y1, x0:x1] = (
            self.bits[start : start + (y1 - y0) * (x1 - x0)].view(y1 - y0, x1 - x0).bool()
        )
        return out
