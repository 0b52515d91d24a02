"""Masks as files hold them (polygons, run lengths) and as losses read them (packed small rasters).

An annotated mask stays compressed until a sample needs it, and is then rasterised inside its own box only, on
the grid the loss samples. A stack of N masks at image size is never built: 200 cells of 100 px in a 1500 px
image are 2 MB here and 450 MB as a dense bool stack.

The COCO raster (`hotcoco.mask`, bit-identical to pycocotools) is used throughout, for targets as for metrics:
OpenCV and PIL draw the outline as well, which makes areas about 9 % larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import hotcoco.mask as coco_mask
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segue.structures.regions import Region


@dataclass(frozen=True, slots=True)
class Polygon:
    """The union of one or more rings, each (V, 2) float64 x, y in pixels of the image, corner (0, 0) top left."""

    rings: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Rle:
    """COCO run lengths, compressed: `counts` as pycocotools writes them, for an image of height x width."""

    height: int
    width: int
    counts: bytes


Mask = Polygon | Rle


def coco_rle(mask: Mask, height: int, width: int) -> dict:
    """A mask as a COCO RLE dict for an image of height x width (which an `Rle` must already have)."""
    if isinstance(mask, Rle):
        assert (mask.height, mask.width) == (height, width), "an RLE's size is checked when it is read"
        return {"size": [height, width], "counts": mask.counts}
    parts = [coco_mask.fr_poly(ring.ravel().tolist(), height, width) for ring in mask.rings]
    return coco_mask.merge(parts) if len(parts) > 1 else parts[0]


def encoded(bits: np.ndarray, x: int, y: int, height: int, width: int) -> Rle:
    """The RLE, for an image of height x width, of a bool raster (h, w) whose corner is at x, y; it lies inside."""
    return Rle(height, width, Region.of(bits, x, y).rle(height, width)["counts"])


def bitmap(mask: Rle) -> tuple[np.ndarray, int, int]:
    """The bool raster (h, w) of an RLE cropped to its pixels, and the x, y of its corner; (0, 0) if empty."""
    rle = {"size": [mask.height, mask.width], "counts": mask.counts}
    x, y, w, h = (int(v) for v in coco_mask.to_bbox(rle))
    return coco_mask.decode(rle)[y : y + h, x : x + w].astype(bool), x, y


def raster_polygon(rings: Sequence[np.ndarray], window: tuple[int, int, int, int]) -> np.ndarray:
    """The union of rings (V, 2), drawn on the pixels of window (x0, y0, x1, y1): bool (y1 - y0, x1 - x0)."""
    x0, y0, x1, y1 = window
    corner = np.array([x0, y0], dtype=np.float64)
    parts = [coco_mask.fr_poly((ring - corner).ravel().tolist(), y1 - y0, x1 - x0) for ring in rings]
    rle = coco_mask.merge(parts) if len(parts) > 1 else parts[0]
    return coco_mask.decode(rle).astype(bool)


def raster_bitmap(bits: np.ndarray, frame: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """A bitmap (h, w) seen through an affine map, on the pixels of window (x0, y0, x1, y1), as bool.

    frame (3, 2): where the bitmap's corners (0, 0), (w, 0) and (0, h) lie on the target grid. Bilinear, with an
    area average first when the map shrinks by more than two, so that thin parts do not flicker away.
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
    to_unit = np.linalg.inv(np.stack([along_x, along_y], axis=1))
    ys, xs = np.mgrid[y0:y1, x0:x1] + 0.5
    unit = (np.stack([xs, ys], axis=-1) - origin) @ to_unit.T  # (h, w, 2), 0..1 across the bitmap
    grid = torch.from_numpy(2 * unit - 1).float()[None]
    return (F.grid_sample(image, grid, align_corners=False)[0, 0] >= 0.5).numpy()


@dataclass(slots=True)
class PackedMasks:
    """N small rasters laid end to end: what the mask losses sample.

    bits (sum of window areas,) uint8 0/1; starts (N,) int64 into bits; windows (N, 4) int64 x0, y0, x1, y1;
    grids (N, 2) int64 height, width of the grid the windows lie on. Outside its window a mask is 0.
    """

    bits: Tensor
    starts: Tensor
    windows: Tensor
    grids: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def pack(
        cls, rasters: Sequence[np.ndarray], windows: Sequence[Sequence[int]], height: int, width: int
    ) -> PackedMasks:
        """Rasters (h, w) bool with their windows on one grid of height x width."""
        sizes = torch.tensor([raster.size for raster in rasters], dtype=torch.int64)
        flat = [torch.from_numpy(np.ascontiguousarray(raster)).view(-1).to(torch.uint8) for raster in rasters]
        return cls(
            bits=torch.cat(flat) if flat else torch.zeros(0, dtype=torch.uint8),
            starts=torch.cumsum(sizes, 0) - sizes,
            windows=torch.tensor(windows, dtype=torch.int64).reshape(-1, 4),
            grids=torch.tensor([height, width]).repeat(len(rasters), 1),
        )

    @classmethod
    def cat(cls, groups: Sequence[PackedMasks]) -> PackedMasks:
        """The masks of several images, one after another."""
        offsets = np.cumsum([0, *(len(group.bits) for group in groups)])
        starts = [group.starts + int(offset) for group, offset in zip(groups, offsets, strict=False)]
        return cls(
            bits=torch.cat([group.bits for group in groups]),
            starts=torch.cat(starts),
            windows=torch.cat([group.windows for group in groups]),
            grids=torch.cat([group.grids for group in groups]),
        )

    def keep(self, chosen: Tensor) -> PackedMasks:
        """The masks at indices `chosen` (or where a bool `chosen` is true); bits are shared, not copied."""
        return PackedMasks(self.bits, self.starts[chosen], self.windows[chosen], self.grids[chosen])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedMasks:
        return PackedMasks(*(t.to(device, non_blocking=non_blocking) for t in self.tensors().values()))

    def pin_memory(self) -> PackedMasks:
        return PackedMasks(*(t.pin_memory() for t in self.tensors().values()))

    def tensors(self) -> dict[str, Tensor]:
        return {"bits": self.bits, "starts": self.starts, "windows": self.windows, "grids": self.grids}

    def sample(self, objects: Tensor, points: Tensor) -> Tensor:
        """Nearest value (T, P) float32 in {0, 1} of masks `objects` (T,) at points (T, P, 2), x and y in 0..1.

        Equal to `grid_sample(mode="nearest", align_corners=False)` of the mask drawn on its whole grid.
        """
        height, width = self.grids[objects].unbind(-1)  # (T,) each
        x0, y0, x1, y1 = (edge[:, None] for edge in self.windows[objects].unbind(-1))  # (T, 1) each
        column = (points[..., 0] * width[:, None]).floor().long()
        row = (points[..., 1] * height[:, None]).floor().long()
        inside = (column >= x0) & (column < x1) & (row >= y0) & (row < y1)
        index = self.starts[objects][:, None] + (row - y0) * (x1 - x0) + (column - x0)
        bits = self.bits if len(self.bits) else self.bits.new_zeros(1)
        return (bits[torch.where(inside, index, 0)] * inside).float()

    def dense(self, index: int) -> Tensor:
        """One mask on its whole grid, bool (H, W): for looking and for tests."""
        height, width = self.grids[index].tolist()
        x0, y0, x1, y1 = self.windows[index].tolist()
        start = int(self.starts[index])
        out = torch.zeros(height, width, dtype=torch.bool)
        out[y0:y1, x0:x1] = self.bits[start : start + (y1 - y0) * (x1 - x0)].view(y1 - y0, x1 - x0).bool()
        return out
