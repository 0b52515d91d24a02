"""The best mask AP that a resolution and a mask stride allow, without any model.

Ground-truth masks go the way a perfect model's would: rasterised in the frame the model sees,
averaged to the cells of its mask head, enlarged to the image again, and compared with the ground
truth as COCO does. What is lost on the way no training brings back.
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

MOST_OBJECTS = 1_000  # about: a check of a plan should take seconds, not minutes
AT_ONCE = 32  # objects whose masks are in memory together
LOW = 0.85  # mask AP below which a ceiling is worth a warning
FACTORS = (1.5, 2.0, 3.0)  # times the resolution, tried where the ceiling is low


def mask_ceiling(
    records: Sequence[Record], class_names: tuple[str, ...], size: tuple[int, int], stride: int
) -> dict[str, float]:
    """The COCO figures of perfect masks; {} where no object has a mask.

    size: height and width of the frame in pixels. stride: side of a mask cell in pixels of the
    frame. Of many records a sample is taken, evenly spread, with about MOST_OBJECTS objects.
    """
    chosen = _sample([record for record in records if _masked(record, class_names)])
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
    """The objects with a mask that count."""
    return [
        a
        for a in record.annotations
        if not a.crowd and a.mask is not None and a.class_name in class_names
    ]


def _sample(records: list[Record]) -> list[Record]:
    """Every n-th record, so that about MOST_OBJECTS objects are left."""
    objects = sum(len(record.annotations) for record in records)
    return records[:: max(1, -(-objects // MOST_OBJECTS))]


def perfect(
    record: Record,
    objects: Sequence[Annotation],
    class_names: tuple[str, ...],
    size: tuple[int, int],
    stride: int,
) -> Detections:
    """The detections of a model that knows `objects` of a record: their masks at the mask head's
    resolution, large ones first.

    Large masks lose least, so this order of scores is about the best one; in any other, AP would
    suffer from the ranking and not from the resolution alone.
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
    """The share of each cell that a mask covers, less a half, (N, h, w): positive where the mask
    prevails, as mask logits are.
    """
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
        # cells that would reach beyond the frame do not exist in a mask head
        cells = cells[: height - top, : width - left]
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
    no masks. Parameters are those of `mask_ceiling`.
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
