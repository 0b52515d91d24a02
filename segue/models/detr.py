"""DETR (arXiv 2005.12872) and Conditional DETR (arXiv 2108.06152) on any backbone.

The networks are timm's and transformers' (`segue.models._detr_parts`). This file says which sizes
there are, what a stage learns, and how to read the answer. A size is named after its backbone;
`pico` is ours, for CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from segue.base.settings import Settings
from segue.errors import PlanError
from segue.losses.criterion import Criterion, task_weights
from segue.losses.matcher import Costs
from segue.models import ModelSpec
from segue.models._detr_parts import (
    Backbone,
    ConditionalDecoder,
    Decoder,
    Encoder,
    configure,
    network,
    trained_with,
)
from segue.models.parts import mask_heads
from segue.models.parts.chain import Chain
from segue.models.parts.layers import sides_around
from segue.models.parts.postprocess import best_pairs, best_queries, detections
from segue.models.parts.queries import QueryLayout, keep_queries, resolve_queries
from segue.models.parts.state import State
from segue.models.weights import ModelWeights, hub
from segue.models.weights import detr as files
from segue.structures.channels import Channel
from segue.structures.detections import Detections
from segue.structures.predictions import Predictions

PARTS = ("backbone", "encoder", "decoder", "mask_head")
TASKS = ("boxes", "masks", "joint")


@dataclass(frozen=True)
class Size:
    """backbone: its name in timm. resolution in pixels; layers: of encoder and decoder each.
    queries: of the plain decoder, for objects an image can have.
    """

    backbone: str
    resolution: int
    width: int = 256
    layers: int = 6
    heads: int = 8
    ffn: int = 2048
    queries: int = 100


SIZES = {
    "pico": Size("test_vit", 128, 64, 2, 4, 256, 30),
    "resnet18": Size("resnet18", 480),
    "resnet34": Size("resnet34", 480),
    "resnet50": Size("resnet50", 480),
    "resnet101": Size("resnet101", 480),
    "dinov2-small": Size("vit_small_patch14_dinov2", 518),
    "dinov2-base": Size("vit_base_patch14_dinov2", 518),
}


class Options(Settings):
    """What a plan may choose. None is decided from the size, the weights and the data, and then
    reported.

    decoder: plain (DETR's own; needs hundreds of epochs from nothing) or conditional. backbone: any
    of timm's names, instead of the size's. resolution: side of the square input in pixels. queries:
    objects an image can have. width: of encoder and decoder. no_object: weight of queries without
    an object (plain only). dropout: changes with how a step is split, which nothing else does.
    mask_head: attention (DETRsegm's), attention-nano or dot.
    """

    decoder: Literal["plain", "conditional"] | None = None
    backbone: str | None = None
    resolution: int | None = Field(None, gt=0)
    queries: int | None = Field(None, gt=0)
    width: int | None = Field(None, gt=0)
    no_object: float = Field(0.1, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    mask_head: Literal["dot", "attention", "attention-nano"] = "attention"


class ResolvedOptions(Options):
    """Options with nothing left open, as a checkpoint's card keeps them."""

    decoder: Literal["plain", "conditional"]
    backbone: str
    resolution: int = Field(gt=0)
    queries: int = Field(gt=0)
    width: int = Field(gt=0)


def resolve_options(
    options: Options, size: Size, most_objects: int, device: str
) -> tuple[ResolvedOptions, list[str]]:
    """Options with nothing left open, and a note for each number that was chosen here.

    most_objects: the largest number of objects in one image of the data.

    Raises:
        PlanError: if an option does not fit the size or the data.
    """
    decoder, backbone = options.decoder or "conditional", options.backbone or size.backbone
    resolution, notes = _resolve_resolution(options, size, backbone)
    width, step = options.width or size.width, 4 * size.heads
    if width % step:  # each head has sine positions of x and y, each a sine and a cosine
        nearest = max(1, round(width / step)) * step
        raise PlanError("model.width", f"{width}", f"a multiple of {step}, such as {nearest}")
    # 100 queries for the plain decoder and 300 for the conditional one, as published
    published = size.queries * (3 if decoder == "conditional" and size.queries >= 100 else 1)
    queries, query_notes = resolve_queries(options.queries, published, most_objects)
    resolved = {
        "decoder": decoder,
        "backbone": backbone,
        "resolution": resolution,
        "width": width,
        "queries": queries,
    }
    return ResolvedOptions.model_validate(options.model_dump() | resolved), notes + query_notes


def _resolve_resolution(options: Options, size: Size, backbone: str) -> tuple[int, list[str]]:
    """The side of the square input in pixels, and a note if the size's own does not fit.

    Raises:
        PlanError: if the plan's resolution does not fit the backbone's patches.
    """
    resolution = options.resolution or size.resolution
    stride, patches = layout_of(backbone, resolution)
    # patches must cover the image; convolutions do not mind
    if not patches or not resolution % stride:
        return resolution, []
    nearest = max(stride, round(resolution / stride) * stride)
    if options.resolution is not None:
        raise PlanError(
            "model.resolution", f"{resolution}", f"a multiple of {stride}, such as {nearest}"
        )
    note = f"resolution {nearest} instead of {resolution}: {backbone} has patches of {stride}"
    return nearest, [note]


def layout_of(backbone: str, resolution: int) -> tuple[int, bool]:
    """Pixels of a cell of the backbone's last map, and whether it cuts the image into patches.

    Raises:
        PlanError: if timm has no such network.
    """
    try:
        with torch.device("meta"):
            net = network(backbone, 3, resolution)
        return net.feature_info[-1]["reduction"], hasattr(net, "patch_embed")
    except (RuntimeError, AttributeError) as error:
        raise PlanError(
            "model.backbone", f"{backbone} ({error})", "a name of timm's, such as resnet50"
        ) from None


def with_pretraining_stats(
    options: ResolvedOptions, channels: tuple[Channel, ...]
) -> tuple[Channel, ...]:
    """The channels with the mean and deviation that the backbone was trained with, where they have
    ImageNet's.
    """
    return trained_with(options.backbone, channels)


def build(spec: ModelSpec, masks: bool) -> Chain:
    """A model with fresh weights, drawn from the global generator; with a mask head if `masks`."""
    size, options = SIZES[spec.size], ResolvedOptions(**spec.options)
    conditional = options.decoder == "conditional"
    settings = configure(
        conditional, d_model=options.width, num_queries=options.queries, dropout=options.dropout,
        encoder_layers=size.layers, encoder_attention_heads=size.heads, encoder_ffn_dim=size.ffn,
        decoder_layers=size.layers, decoder_attention_heads=size.heads, decoder_ffn_dim=size.ffn,
    )  # fmt: skip
    backbone = Backbone(options.backbone, spec.channels, options.resolution)
    kind = ConditionalDecoder if conditional else Decoder
    parts: dict[str, nn.Module] = {
        "backbone": backbone,
        "encoder": Encoder(settings, backbone.width),
        "decoder": kind(settings, len(spec.classes)),
    }
    if masks:
        stride, _ = layout_of(options.backbone, options.resolution)
        parts["mask_head"] = mask_heads.build(
            options.mask_head, options.width, size.layers, stride, 4
        )
    return Chain(spec, parts)


def criterion(chain: Chain, task: str, weights: dict[str, float]) -> Criterion:
    """The loss of a stage: softmax with a row for "no object" (plain), or the focal loss
    (conditional).
    """
    options = ResolvedOptions(**chain.spec.options)
    plain = options.decoder == "plain"
    classes = 1.0 if plain else 2.0
    compares_masks = task == "joint" and isinstance(
        getattr(chain, "mask_head", None), mask_heads.DotMaskHead
    )
    mask_costs = {"mask_bce": 5.0, "dice": 5.0} if compares_masks else {}
    return Criterion(
        task_weights(task, weights, classes),
        Costs(classes=classes, **mask_costs),
        queries=options.queries,
        class_term="softmax_ce" if plain else "focal",
        no_object=options.no_object,
    )


def predictions(chain: Chain, state: State) -> Predictions:
    """All decoder layers."""
    layers = tuple(str(i) for i in range(state["logits"].shape[1]))
    return Predictions(state["logits"], state["boxes_cxcywh"], layers, 1, state.get("masks"))


@torch.no_grad()
def postprocess(
    chain: Chain, state: State, sizes: list[tuple[int, int]], most: int
) -> list[Detections]:
    """The `most` best answers of each image: of the plain decoder queries, of the conditional
    (query, class) pairs.
    """
    logits = state["logits"][:, -1].float()
    plain = logits.shape[-1] > len(chain.spec.classes)
    chosen = (
        best_queries(logits.softmax(-1)[..., :-1], most)
        if plain
        else best_pairs(logits.sigmoid(), most)
    )
    return detections(chain, state, chosen, sizes)


def multiscale_sides(spec: ModelSpec, expanded: bool) -> tuple[int, ...]:
    """The sides multi-scale training draws from: 8 around the resolution, 11 if expanded, in steps
    of a cell.
    """
    options = ResolvedOptions(**spec.options)
    stride, _ = layout_of(options.backbone, options.resolution)
    return sides_around(options.resolution, stride, 2 * stride, expanded)


def import_weights(source: str) -> ModelWeights:
    """From a file, folder or hub id: facebookresearch/detr, transformers, Lightning, or a backbone
    of timm's.
    """
    path = Path(source)
    return files.read(path if path.exists() else hub.download(source))


def options_from_weights(tensors: dict[str, Tensor], size: str, device: str) -> dict[str, Any]:
    """What weights without a card say about the model."""
    return files.layout_of(tensors)


def adapt_weights(
    weights: dict[str, Tensor], spec: ModelSpec, fresh: Sequence[str] = ()
) -> list[str]:
    """Drop queries the model does not have, in place.

    Raises:
        HandoverError: if the weights have fewer than the model.
    """
    table = "decoder.query_positions.weight"
    if table not in weights:
        return []
    have = QueryLayout(len(weights[table]))
    layout = QueryLayout(ResolvedOptions(**spec.options).queries)
    return keep_queries(weights, [table], have, layout)
