"""Mask2Former (arXiv 2112.01527) on Swin backbones: classes and masks from queries, no boxes in
between.

The networks are transformers' (`segue.models._mask2former_parts`). This file says which sizes there
are, what a stage learns, and how to read the answer. A size is named after its backbone; `pico` is
ours, for CPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from segue.base.settings import Settings
from segue.errors import PlanError
from segue.losses.criterion import Criterion, LossWeights
from segue.losses.matcher import Costs
from segue.models import ModelSpec
from segue.models._mask2former_parts import configure, parts_of
from segue.models.parts.chain import Chain
from segue.models.parts.layers import sides_around
from segue.models.parts.postprocess import best_pairs, boxes_around
from segue.models.parts.queries import QueryLayout, keep_queries, resolve_queries
from segue.models.parts.state import State
from segue.models.weights import ModelWeights, hub
from segue.models.weights import mask2former as files
from segue.structures.boxes import scale_xy
from segue.structures.detections import Detections
from segue.structures.predictions import Predictions

PARTS = ("backbone", "pixel_decoder", "decoder")
TASKS = ("joint",)
STRIDE, COARSEST = 4, 32  # pixels of a mask's cell, and of one of the backbone's last map


@dataclass(frozen=True)
class Size:
    """embed, depths, heads, window: of Swin. resolution in pixels. layers: of the pixel decoder and
    of the decoder. points: at how many points masks are compared; a share of the mask's cells if
    None.
    """

    embed: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    resolution: int = 1024
    width: int = 256
    layers: tuple[int, int] = (6, 9)
    attention: int = 8
    ffn: tuple[int, int] = field(default=(1024, 2048))
    queries: int = 100
    points: int | None = 12544


SIZES = {
    "pico": Size(24, (1, 1, 2, 1), (1, 2, 4, 8), 4, 128, 64, (2, 3), 4, (128, 128), 40, None),
    "swin-tiny": Size(96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "swin-small": Size(96, (2, 2, 18, 2), (3, 6, 12, 24), 7),
    "swin-base": Size(128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
    "swin-large": Size(192, (2, 2, 18, 2), (6, 12, 24, 48), 12, queries=200),
}


class Options(Settings):
    """What a plan may choose. None is decided from the size, the weights and the data, and then
    reported.

    resolution: side of the square input in pixels. queries: objects an image can have. no_object:
    weight of queries without an object. points: at how many points masks are compared. recompute:
    blocks are computed again in backward instead of kept, which costs a third of the time and saves
    most of the memory.
    """

    resolution: int | None = Field(None, gt=0)
    queries: int | None = Field(None, gt=0)
    no_object: float = Field(0.1, gt=0)
    points: int | None = Field(None, gt=0)
    recompute: bool = False


class ResolvedOptions(Options):
    """Options with nothing left open, as a checkpoint's card keeps them.

    points None is a choice, too: a sixteenth of the mask's cells, as small sizes compare them.
    """

    resolution: int = Field(gt=0)
    queries: int = Field(gt=0)


def resolve_options(
    options: Options, size: Size, most_objects: int, device: str
) -> tuple[ResolvedOptions, list[str]]:
    """Options with nothing left open, and a note for each number that was chosen here.

    most_objects: the largest number of objects in one image of the data.

    Raises:
        PlanError: if an option does not fit the size or the data.
    """
    resolution, least = options.resolution or size.resolution, COARSEST * size.window
    if resolution % STRIDE or resolution < least:
        nearest = max(least, round(resolution / STRIDE) * STRIDE)
        raise PlanError(
            "model.resolution",
            f"{resolution}",
            f"a multiple of {STRIDE} from {least} on, as {nearest}",
        )
    queries, notes = resolve_queries(options.queries, size.queries, most_objects)
    points = options.points or size.points
    resolved = {"resolution": resolution, "queries": queries, "points": points}
    return ResolvedOptions.model_validate(options.model_dump() | resolved), notes


def build(spec: ModelSpec, masks: bool) -> Chain:
    """A model with fresh weights, drawn from the global generator; there is none without masks."""
    size, options = SIZES[spec.size], ResolvedOptions(**spec.options)
    swin = {
        "embed_dim": size.embed,
        "depths": size.depths,
        "num_heads": size.heads,
        "window_size": size.window,
    }
    config = configure(
        swin, len(spec.channels), hidden_dim=size.width, num_queries=options.queries,
        encoder_layers=size.layers[0], decoder_layers=size.layers[1] + 1,
        num_attention_heads=size.attention,
        encoder_feedforward_dim=size.ffn[0], dim_feedforward=size.ffn[1],
    )  # fmt: skip
    return Chain(spec, parts_of(config, spec.channels, len(spec.classes), options.recompute))


def criterion(chain: Chain, task: str, weights: dict[str, float]) -> Criterion:
    """The loss as published: softmax with a row for "no object", and masks compared at points.

    Raises:
        PlanError: if the plan weighs a term of boxes.
    """
    options = ResolvedOptions(**chain.spec.options)
    if weights.get("l1") or weights.get("giou"):
        raise PlanError(
            "loss",
            "l1 or giou, which compare boxes",
            "classes, mask_bce, dice: mask2former has no boxes",
        )
    weighed = {"classes": 2.0, "l1": 0.0, "giou": 0.0, "mask_bce": 5.0, "dice": 5.0, **weights}
    return Criterion(
        LossWeights(**weighed),
        Costs(classes=2.0, l1=0.0, giou=0.0, mask_bce=5.0, dice=5.0),
        queries=options.queries,
        class_term="softmax_ce",
        no_object=options.no_object,
        points=options.points,
    )


def predictions(chain: Chain, state: State) -> Predictions:
    """The queries themselves and all decoder layers."""
    layers = tuple(str(i) for i in range(state["logits"].shape[1]))
    return Predictions(state["logits"], None, layers, 1, state["masks"])


@torch.no_grad()
def postprocess(
    chain: Chain, state: State, sizes: list[tuple[int, int]], most: int
) -> list[Detections]:
    """The `most` best (query, class) pairs of each image.

    A score is the class's probability times the mean probability inside the mask
    (facebookresearch/Mask2Former maskformer_model.py@9b0651c: instance_inference, which takes that
    mean after enlarging). Boxes are drawn around masks.
    """
    logits, masks = state["logits"][:, -1].float(), state["masks"]
    scores, queries, labels = best_pairs(logits.softmax(-1)[..., :-1], most)
    last = torch.full_like(queries[0], state["logits"].shape[1] - 1)
    results = []
    for i, (height, width) in enumerate(sizes):
        shown = masks.at(torch.full_like(queries[i], i), last, queries[i]).float()
        inside = shown > 0
        certainty = (shown.sigmoid() * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(
            min=1
        )
        values, order = (scores[i] * certainty).sort(descending=True, stable=True)
        shown = shown[order].cpu()
        boxes_xyxy = scale_xy(boxes_around(shown), width, height)
        names = (chain.spec.classes, (height, width))
        results.append(Detections(boxes_xyxy, values.cpu(), labels[i][order].cpu(), *names, shown))
    return results


def multiscale_sides(spec: ModelSpec, expanded: bool) -> tuple[int, ...]:
    """The sides multi-scale training draws from: 8 around the resolution, 11 if expanded, in steps
    of 32 pixels.
    """
    least = COARSEST * SIZES[spec.size].window
    return sides_around(spec.options["resolution"], COARSEST, least, expanded)


def input_convs(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """The tensor whose second dimension is the input channels."""
    return {"backbone.net.swin.embeddings.patch_embeddings.projection.weight": spec.channel_names}


def import_weights(source: str) -> ModelWeights:
    """From a file, folder or hub id: facebookresearch/Mask2Former (.pkl, .pth), transformers, or
    Swin alone.
    """
    path = Path(source)
    return files.read(path if path.exists() else hub.download(source))


def options_from_weights(tensors: dict[str, Tensor], size: str, device: str) -> dict[str, Any]:
    """What weights without a card say about the model."""
    return {"queries": len(tensors[files.KEY])} if files.KEY in tensors else {}


def adapt_weights(
    weights: dict[str, Tensor], spec: ModelSpec, fresh: Sequence[str] = ()
) -> list[str]:
    """Drop queries the model does not have, or add what is missing, in place.

    The published sizes have 100 queries, or 200. More, which only a plan that asks for them gets,
    are drawn with the mean and deviation of those there are: they begin where queries lie, but at
    no query's place.
    """
    if files.KEY not in weights:
        return []
    have, queries = len(weights[files.KEY]), ResolvedOptions(**spec.options).queries
    tables = (files.KEY, files.POSITIONS)
    if queries <= have:
        return keep_queries(weights, tables, QueryLayout(have), QueryLayout(queries))
    for name in tables:
        rows = weights[name]
        # a generator of its own: the model's fresh weights must not depend on this
        generator = torch.Generator().manual_seed(queries)
        noise = torch.randn(queries - have, rows.shape[1], generator=generator)
        weights[name] = torch.cat([rows, rows.mean(0) + rows.std(0) * noise])
    return [f"queries {have} -> {queries}: {queries - have} new ones, drawn like those there are"]
