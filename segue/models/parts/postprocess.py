"""From chosen queries to detections in the pixels of the original image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.models.parts.chain import Chain
from segue.models.parts.state import State
from segue.structures.boxes import cxcywh_to_xyxy, scale_xy
from segue.structures.detections import Detections


def best_pairs(scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `most` best (query, class) pairs of scores (B, Q, K): their scores, queries and labels,
    each (B, M).
    """
    values, pairs = scores.flatten(1).topk(min(most, scores[0].numel()), dim=1)
    return values, pairs // scores.shape[2], pairs % scores.shape[2]


def best_queries(scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `most` best queries of scores (B, Q, K), each with its best class alone: scores, queries,
    labels (B, M).
    """
    values, labels = scores.max(-1)
    values, queries = values.topk(min(most, scores.shape[1]), dim=1)
    return values, queries, labels.gather(1, queries)


def detections(
    chain: Chain, state: State, chosen: tuple[Tensor, Tensor, Tensor], sizes: list[tuple[int, int]]
) -> list[Detections]:
    """What the last layer says about the chosen scores, queries and labels, each (B, M).

    Masks, if the chain has a mask head, are computed for these queries alone. sizes: height, width
    of the original images, to which boxes and masks are scaled.
    """
    boxes = cxcywh_to_xyxy(state["boxes_cxcywh"][:, -1].float())
    last = state["boxes_cxcywh"].shape[1] - 1
    results = []
    for i, (height, width) in enumerate(sizes):
        scores, queries, labels = (values[i] for values in chosen)
        masks = None
        if "masks" in state:
            # a query may answer with several classes
            distinct, which = queries.unique(return_inverse=True)
            image, layer = torch.full_like(distinct, i), torch.full_like(distinct, last)
            masks = state["masks"].at(image, layer, distinct)[which].float().cpu()
        xyxy = scale_xy(boxes[i, queries], width, height)
        limit = xyxy.new_tensor([width, height, width, height])
        xyxy = torch.minimum(xyxy.clamp(min=0), limit).cpu()
        results.append(
            Detections(xyxy, scores.cpu(), labels.cpu(), chain.spec.classes, (height, width), masks)
        )
    return results


def boxes_around(mask_logits: Tensor) -> Tensor:
    """The box_xyxy (N, 4) in 0..1 around where masks (N, h, w), enlarged, are positive; zeros where
    they nowhere are.

    A row of cells becomes positive where the line between two cells' logits crosses 0, and the
    outermost crossing is the outermost of all rows, because between rows the enlarged mask is
    bilinear.
    """
    height, width = mask_logits.shape[-2:]
    down = mask_logits.transpose(1, 2)
    edges = [-_reach(mask_logits.flip(2)), -_reach(down.flip(2)), _reach(mask_logits), _reach(down)]
    left, top, right, bottom = edges
    boxes = torch.stack([left / width + 1, top / height + 1, right / width, bottom / height], 1)
    return boxes * (mask_logits > 0).flatten(1).any(1)[:, None]


def _reach(logits: Tensor) -> Tensor:
    """How far (N,) from the low edge, in cells, the rows of (N, h, w) are positive."""
    beyond = F.pad(logits, (0, 1), value=-1.0)[..., 1:]
    # the enlarged mask stays as it is beyond the last centre
    beyond[..., -1] = -logits[..., -1].abs()
    crossing = torch.arange(logits.shape[2]) + 0.5 + (logits / (logits - beyond)).nan_to_num(0)
    reach = torch.where((logits > 0) & (beyond <= 0), crossing, 0.0)
    return reach.flatten(1).amax(1)
