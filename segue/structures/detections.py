"""The one result type: the objects a model detects in one image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segue.structures.boxes import xyxy_to_xywh
from segue.structures.regions import Region

if TYPE_CHECKING:
    import supervision


@dataclass(slots=True)
class Detections:
    """N objects detected in one image, best score first.

    boxes_xyxy (N, 4) float32, pixels of the original image; scores (N,) float32, 0..1; labels (N,)
    int64, positions in class_names; size: height, width of the original image. Masks are either
    mask_logits (N, h, w) at the mask head's resolution, positive inside, or N regions of the
    original image (of objects that were joined from tiles or refined), or neither, for a model
    without masks. Everything lives on the CPU. names: the class name of each object.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    size: tuple[int, int]
    mask_logits: Tensor | None = None
    regions: tuple[Region, ...] | None = None
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        assert self.boxes_xyxy.shape == (count, 4) and len(self.scores) == len(self.labels) == count
        assert self.regions is None or (self.mask_logits is None and len(self.regions) == count)
        self.names = [self.class_names[label] for label in self.labels.tolist()]

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> Detections:
        """Only the objects whose score (0..1) is at least `threshold`."""
        return self[self.scores >= threshold]

    def __getitem__(self, chosen: Tensor | slice) -> Detections:
        """The objects at int64 positions, where a bool (N,) is true, or in a slice."""
        regions = self.regions
        if regions is not None:
            regions = tuple(regions[i] for i in torch.arange(len(self))[chosen].tolist())
        return replace(
            self,
            boxes_xyxy=self.boxes_xyxy[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            mask_logits=None if self.mask_logits is None else self.mask_logits[chosen],
            regions=regions,
        )

    @property
    def has_masks(self) -> bool:
        return self.mask_logits is not None or self.regions is not None

    @property
    def masks(self) -> Tensor | None:
        """Masks at image size, bool (N, H, W); computed at each call, which costs
        N x H x W bytes.

        None for a model without masks. For large images use `bits` or `region`, one object at a
        time.
        """
        if not self.has_masks:
            return None
        out = torch.zeros(len(self), *self.size, dtype=torch.bool)
        for i in range(len(self)):
            bits, x, y = self.bits(i)
            out[i, y : y + bits.shape[0], x : x + bits.shape[1]] = torch.from_numpy(bits)
        return out

    def bits(self, index: int) -> tuple[np.ndarray, int, int]:
        """One mask as a bool raster (h, w) around all of its pixels, and the raster's corner x, y
        in pixels of the image.
        """
        if self.regions is not None:
            region = self.regions[index]
            return region.bits, region.x, region.y
        bits, x, y = self._upsampled(index)
        return bits.numpy(), x, y

    def region(self, index: int) -> Region:
        """One mask as run lengths; the pixels of the box for a model without masks."""
        if self.regions is not None:
            return self.regions[index]
        if self.mask_logits is not None:
            return Region.of(*self.bits(index))
        height, width = self.size
        x0, y0, x1, y1 = (round(v) for v in self.boxes_xyxy[index].tolist())
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        return Region.of(np.ones((max(y1 - y0, 0), max(x1 - x0, 0)), dtype=bool), x0, y0)

    def rle(self, index: int) -> dict[str, Any]:
        """One mask as a COCO RLE dict of the image's size; `counts` is bytes."""
        return self.region(index).rle(*self.size)

    def _upsampled(self, index: int) -> tuple[Tensor, int, int]:
        """One mask at image resolution, bool (h, w), where it can be positive, and the corner x, y
        of that window.

        A bilinear value is positive only between cells of which at least one is positive, so
        enlarging those cells alone gives the same pixels as enlarging the whole map.
        """
        assert self.mask_logits is not None
        logits = self.mask_logits[index].float()
        positive = logits > 0
        rows, columns = positive.any(1).nonzero()[:, 0], positive.any(0).nonzero()[:, 0]
        if not len(rows):
            return torch.zeros(0, 0, dtype=torch.bool), 0, 0
        (h, w), (height, width) = logits.shape, self.size
        # one cell more on each side: bilinear values reach half a cell beyond a positive one
        top, bottom = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, h)
        left, right = max(int(columns[0]) - 1, 0), min(int(columns[-1]) + 2, w)
        # the same window in pixels, rounded outwards
        y0, y1 = int(top * height / h), min(-int(-bottom * height // h), height)
        x0, x1 = int(left * width / w), min(-int(-right * width // w), width)
        # pixel centres in grid_sample's -1..1 over the whole map, as F.interpolate would place them
        ys = (torch.arange(y0, y1) + 0.5) / height * 2 - 1
        xs = (torch.arange(x0, x1) + 0.5) / width * 2 - 1
        grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)[None]
        values = F.grid_sample(logits[None, None], grid, padding_mode="border", align_corners=False)
        return values[0, 0] > 0, x0, y0

    def to_coco(self, image_id: int, category_ids: tuple[int, ...]) -> list[dict[str, Any]]:
        """COCO result entries, as plain Python values.

        category_ids: the file's category id of each class, in the order of class_names. `bbox` is
        xywh in pixels; `segmentation` is there only if the model has masks.
        """
        boxes = xyxy_to_xywh(self.boxes_xyxy).tolist()
        entries = []
        for i, (box, score, label) in enumerate(
            zip(boxes, self.scores.tolist(), self.labels.tolist(), strict=True)
        ):
            entry = {
                "image_id": image_id,
                "category_id": category_ids[label],
                "bbox": box,
                "score": score,
            }
            if self.has_masks:
                rle = self.rle(i)
                entry["segmentation"] = {
                    "size": rle["size"],
                    "counts": rle["counts"].decode("ascii"),
                }
            entries.append(entry)
        return entries

    def to_supervision(self) -> supervision.Detections:
        """The same objects as `supervision.Detections`, masks (N, H, W) included.

        Raises:
            ModuleNotFoundError: if the extra `supervision` is not installed.
        """
        import supervision

        masks = self.masks
        return supervision.Detections(
            xyxy=self.boxes_xyxy.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            mask=masks if masks is None else masks.numpy(),
            data={"class_name": np.array(self.names, dtype=object)},
        )
