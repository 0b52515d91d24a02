"""From a model's answers to detections."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from segue.models.parts.postprocess import boxes_around


def test_boxes_are_those_of_the_enlarged_masks():
    logits = F.interpolate(
        torch.randn(6, 1, 5, 7, generator=torch.Generator().manual_seed(2)),
        (20, 30),
        mode="bicubic",
    )
    logits = torch.cat([logits[:, 0] - 0.5, torch.full((1, 20, 30), -1.0)])
    boxes = boxes_around(logits) * torch.tensor([240, 160, 240, 160])
    large = (
        F.interpolate(logits[:, None], (160, 240), mode="bilinear", align_corners=False)[:, 0] > 0
    )
    for box, mask in zip(boxes[:-1], large[:-1], strict=True):
        ys, xs = np.nonzero(mask.numpy())
        expected = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert (box - expected).abs().max() <= 1.0
    assert boxes[-1].tolist() == [0, 0, 0, 0]
