"""The best mask AP that a resolution and a mask stride allow, without any model.

True masks go the way a perfect model's would: drawn in the frame the model sees, averaged to the
cells of its mask grid, enlarged to the image again, and compared with the truth as COCO does. What
is lost on that way no training brings back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from segue.data.pipeline.samples import Outlines
from segue.data.records import Annotation, Record
from segue.evaluation.coco_metrics import CocoMetrics, detections_needed
from segue.structures.detections import Detections
from segue.structures.masks import PackedMasks

MOST_OBJECTS = 1_000
AT_ONCE = 32  # objects whose mask grids are in memory together
LOW = 0.85
FACTORS = (1.5, 2.0, 3.0)  # of the resolution, that are tried where the ceiling is low


def mask_ceiling(
    records: Sequence[Record], class_names: tuple[str, ...], size: tuple[int, int], stride: int
) -> dict[str, float]:
    """The COCO figures of perfect masks; {} where no object has a mask.

    size: height and width of the frame in pixels. stride: pixels of the frame in a cell of the mask
    grid. Of many records some, evenly spread, with about MOST_OBJECTS objects.
    """
    chosen = _some([record for record in records if _masked(record, class_names)])
    if not chosen:
        return {}
    most = detections_needed(max(len(record.annotations) for record in chosen))
    metrics = CocoMetrics(chosen, class_names, ("mask",), most)
    for index, record in enumerate(chosen):
        objects = _masked(record, class_names)
        for first in range(0, len(objects), AT_ONCE):
            metrics.add(
                index, perfect(record, objects[first : first + AT_ONCE], class_names, size, stride)
            )
    return metrics.figures()


def _masked(record: Record, class_names: tuple[str, ...]) -> list[Annotation]:
    return [
        a
        for a in record.annotations
        if not a.crowd and a.mask is not None and a.class_name in class_names
    ]


def _some(records: list[Record]) -> list[Record]:
    objects = sum(len(record.annotations) for record in records)
    return records[:: max(1, -(-objects // MOST_OBJECTS))]


def perfect(
    record: Record,
    objects: Sequence[Annotation],
    class_names: tuple[str, ...],
    size: tuple[int, int],
    stride: int,
) -> Detections:
    """What a model answers that knows some objects of a record: their masks on the mask grid, large
    ones first.

    Large masks lose least, so that this order is about the one in which scores would be best.
    """
    outlines = Outlines([a.mask for a in objects])
    scale = torch.tensor([size[1] / record.width, size[0] / record.height], dtype=torch.float64)
    masks, _ = outlines.draw(outlines.points * scale, *size)
    logits = _cells(masks, stride)
    areas = (logits > 0).flatten(1).sum(1).double()
    order = areas.argsort(descending=True, stable=True)
    return Detections(
        boxes_xyxy=torch.tensor([a.box_xyxy for a in objects])[order],
        scores=((areas + 1) / (areas + 2))[order].float(),
        labels=torch.tensor([class_names.index(a.class_name) for a in objects])[order],
        class_names=class_names,
        size=(record.height, record.width),
        mask_logits=logits[order],
    )


def _cells(masks: PackedMasks, stride: int) -> torch.Tensor:
    """How much of each cell a mask covers, above or below a half (N, h, w)."""
    height, width = (side // stride for side in masks.grids[0].tolist())
    out = np.full((len(masks), height, width), -0.5, dtype=np.float32)
    begins = masks.starts.tolist()
    for number, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        bits = (
            masks.bits[begins[number] : begins[number] + (y1 - y0) * (x1 - x0)]
            .view(y1 - y0, x1 - x0)
            .numpy()
        )
        padded = np.pad(bits, ((y0 % stride, -y1 % stride), (x0 % stride, -x1 % stride)))
        h, w = (side // stride for side in padded.shape)
        cells = padded.reshape(h, stride, w, stride).mean((1, 3))
        top, left = y0 // stride, x0 // stride
        cells = cells[: height - top, : width - left]  # a grid may leave a rest of the frame out
        out[number, top : top + h, left : left + w] += cells
    return torch.from_numpy(out)


def advice(
    records: Sequence[Record],
    class_names: tuple[str, ...],
    size: tuple[int, int],
    stride: int,
    once: bool = False,
) -> Iterator[str]:
    """The ceiling in words and, unless `once`, what would raise a low one; nothing where there are
    no masks.
    """
    figures = mask_ceiling(records, class_names, size, stride)
    if not figures:
        return
    ap, small = figures["mask_ap"], figures["mask_ap_small"]
    of_small = f", {small:.3f} of small objects" if small >= 0 else ""
    yield (
        f"mask ceiling at {size[0]} x {size[1]}, cells of {stride} px: mask_ap "
        f"{ap:.3f}{of_small} at best"
    )
    if once or ap >= LOW:
        return
    for factor in FACTORS:
        larger = (round(size[0] * factor), round(size[1] * factor))
        ap = mask_ceiling(records, class_names, larger, stride)["mask_ap"]
        if ap >= LOW:
            break
    yield (
        f"that is low: {ap:.3f} at {larger[0]} x {larger[1]}; raise model.resolution, or cut "
        "the images into tiles"
    )
