"""RF-DETR (arXiv 2511.09554): windowed DINOv2, projector, two-stage deformable decoder, and a mask
head of choice.

The networks are transformers' (`segue.models._rfdetr_parts`), their sizes in
`segue.models._rfdetr_sizes`: `large` is the 560 px model of 2025, `large-2026` its successor,
`pico` ours, the same architecture for CPUs. This file says what a stage learns, and how to read the
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from segue.base.settings import Settings
from segue.errors import HandoverError, PlanError
from segue.losses.criterion import Criterion, task_weights
from segue.losses.matcher import Costs
from segue.models import ModelSpec
from segue.models._rfdetr_parts import Backbone, Decoder, Projector
from segue.models._rfdetr_sizes import SIZES, Size
from segue.models._transformers import RfDetrConfig
from segue.models.parts import mask_heads
from segue.models.parts.chain import Chain
from segue.models.parts.layers import sides_around
from segue.models.parts.postprocess import best_pairs, detections
from segue.models.parts.queries import QueryLayout, keep_queries, resolve_queries
from segue.models.parts.state import State
from segue.models.weights import ModelWeights, hub
from segue.models.weights import rfdetr as files
from segue.structures.detections import Detections
from segue.structures.predictions import Predictions

PARTS = ("backbone", "projector", "decoder", "mask_head")
TASKS = ("boxes", "masks", "joint")


class Options(Settings):
    """What a plan may choose. None is decided from the size, the data and the device, and then
    reported.

    resolution: side of the square input in pixels. queries: objects an image can have. groups:
    copies of the queries that learn side by side (13 upstream; each costs time and speeds
    convergence up). mask_head: dot (RF-DETR's own), attention (DETRsegm's) or attention-nano.
    """

    resolution: int | None = Field(None, gt=0)
    queries: int | None = Field(None, gt=0)
    groups: int | None = Field(None, gt=0, le=64)
    mask_head: Literal["dot", "attention", "attention-nano"] = "dot"
    dropout: float = Field(0.0, ge=0, lt=1)


class ResolvedOptions(Options):
    """Options with nothing left open, as a checkpoint's card keeps them."""

    resolution: int = Field(gt=0)
    queries: int = Field(gt=0)
    groups: int = Field(gt=0, le=64)


def resolve_options(
    options: Options, size: Size, most_objects: int, device: str
) -> tuple[ResolvedOptions, list[str]]:
    """Options with nothing left open, and a note for each number that was chosen here.

    most_objects: the largest number of objects in one image of the data.

    Raises:
        PlanError: if an option does not fit the size or the data.
    """
    resolution, block = options.resolution or size.resolution, size.patch * size.windows
    if resolution % block:
        nearest = max(block, round(resolution / block) * block)
        raise PlanError(
            "model.resolution", f"{resolution}", f"a multiple of {block}, such as {nearest}"
        )
    # each query starts from a feature cell of its own
    cells = sum(int(resolution / size.patch * scale) ** 2 for scale in size.scales)
    if options.queries is not None and options.queries > cells:
        expected = f"at most {cells}, the feature cells at {resolution} px"
        raise PlanError("model.queries", f"{options.queries}", expected)
    queries, notes = resolve_queries(options.queries, size.queries, most_objects, cells)
    groups = options.groups or default_groups(device)
    if options.groups is None:
        reason = (
            "as in roboflow/rf-detr"
            if groups == 13
            else "few on a CPU, where each group costs time"
        )
        notes.append(f"query groups: {groups}, {reason}")
    resolved = {"resolution": resolution, "queries": queries, "groups": groups}
    return ResolvedOptions.model_validate(options.model_dump() | resolved), notes


def default_groups(device: str) -> int:
    """13 query groups, as roboflow/rf-detr has, where a group costs little: on a GPU."""
    return 13 if device.startswith("cuda") else 3


def config(spec: ModelSpec) -> RfDetrConfig:
    """transformers' configuration of a size, for its layers."""
    size = SIZES[spec.size]
    options = ResolvedOptions(**spec.options)
    width, layers, heads = size.encoder
    side = size.grid * size.patch if size.grid else options.resolution
    return RfDetrConfig(
        backbone_config={
            "model_type": "rf_detr_dinov2", "hidden_size": width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "patch_size": size.patch, "num_windows": size.windows,
            "image_size": side, "num_channels": len(spec.channels),
            "out_features": [f"stage{tap}" for tap in size.taps],
        },
        d_model=size.width, decoder_layers=size.layers, decoder_self_attention_heads=size.heads[0],
        decoder_cross_attention_heads=size.heads[1], decoder_n_points=size.points,
        decoder_ffn_dim=size.ffn,
        num_queries=options.queries, group_detr=options.groups, num_feature_levels=len(size.scales),
        dropout=options.dropout,
    )  # fmt: skip


def build(spec: ModelSpec, masks: bool) -> Chain:
    """A model with fresh weights, drawn from the global generator; with a mask head if `masks`."""
    size = SIZES[spec.size]
    settings = config(spec)
    parts: dict[str, nn.Module] = {
        "backbone": Backbone(settings, spec.channels),
        "projector": Projector(settings, size.scales),
        "decoder": Decoder(settings, len(size.scales), len(spec.classes)),
    }
    if masks:
        kind = ResolvedOptions(**spec.options).mask_head
        parts["mask_head"] = mask_heads.build(
            kind, size.width, size.layers, size.stride, size.mask_stride
        )
    return Chain(spec, parts)


def criterion(chain: Chain, task: str, weights: dict[str, float]) -> Criterion:
    """The loss of a stage: boxes, masks on a frozen detector (matched by class and box only), or
    both jointly.
    """
    compares_masks = task == "joint" and isinstance(
        getattr(chain, "mask_head", None), mask_heads.DotMaskHead
    )
    costs = Costs(mask_bce=5, dice=5) if compares_masks else Costs()
    options = ResolvedOptions(**chain.spec.options)
    return Criterion(task_weights(task, weights), costs, queries=options.queries)


def predictions(chain: Chain, state: State) -> Predictions:
    """All decoder layers, and before them the encoder's proposals where they were computed."""
    logits, boxes = state["logits"], state["boxes_cxcywh"]
    layers = tuple(str(i) for i in range(logits.shape[1]))
    # a cache of frozen outputs holds tensors only, and frozen is one group
    groups = state.get("groups", 1)
    if "enc_logits" in state:
        logits = torch.cat([state["enc_logits"], logits], 1)
        boxes = torch.cat([state["enc_boxes_cxcywh"], boxes], 1)
        layers = ("enc", *layers)
    return Predictions(logits, boxes, layers, groups, state.get("masks"))


@torch.no_grad()
def postprocess(
    chain: Chain, state: State, sizes: list[tuple[int, int]], most: int
) -> list[Detections]:
    """The `most` best (query, class) pairs of each image; masks are computed for these alone."""
    return detections(
        chain, state, best_pairs(state["logits"][:, -1].float().sigmoid(), most), sizes
    )


def multiscale_sides(spec: ModelSpec, expanded: bool) -> tuple[int, ...]:
    """The sides multi-scale training draws from: 8 around the resolution, 11 if expanded, in steps
    of a block.
    """
    size = SIZES[spec.size]
    block = size.patch * size.windows
    return sides_around(spec.options["resolution"] // block * block, block, 2 * block, expanded)


def class_heads(chain: Chain) -> list[str]:
    """Every tensor with one row per class: the decoder's head and those of all encoder groups."""
    heads = ("decoder.class_head.", "decoder.proposal_classes.")
    return [name for name, _ in chain.named_parameters() if name.startswith(heads)]


def import_weights(source: str) -> ModelWeights:
    """From a rfdetr file, a transformers folder, or a hub id such as Roboflow/rf-detr-nano."""
    path = Path(source)
    return files.read(path if path.exists() else hub.download(source))


def options_from_weights(tensors: dict[str, Tensor], size: str, device: str) -> dict[str, Any]:
    """What weights without a card say about the model; of the query groups, as many as suit the
    device.
    """
    options: dict[str, Any] = files.layout_of(tensors)
    cells = options.pop("cells", None)
    # else the table has the pretraining's size, whatever the input
    if cells is not None and SIZES[size].grid is None:
        options["resolution"] = cells * SIZES[size].patch
    if "groups" in options:
        options["groups"] = min(options["groups"], default_groups(device))
    return options


def adapt_weights(
    weights: dict[str, Tensor], spec: ModelSpec, fresh: Sequence[str] = ()
) -> list[str]:
    """Drop query groups and queries the model does not have and fit the positions to its
    resolution, in place.

    More groups or queries cannot be made up.

    Raises:
        HandoverError: if the weights are of another size, or have fewer groups or queries.
    """
    options, size = ResolvedOptions(**spec.options), SIZES[spec.size]
    _check_size(weights, spec)
    notes = files.resample_positions(weights, size.grid or options.resolution // size.patch)
    layout = files.layout_of(weights)
    if "groups" not in layout:
        return notes  # the decoder is fresh or left behind
    have = QueryLayout(layout["queries"], layout["groups"])
    model_layout = QueryLayout(options.queries, options.groups)
    tables = ("decoder.query_features.weight", "decoder.reference_points.weight")
    notes += keep_queries(weights, tables, have, model_layout)
    for name in [name for name in weights if name.startswith("decoder.proposal_")]:
        if int(name.split(".")[2]) >= model_layout.groups:
            del weights[name]
    return notes


def _check_size(weights: dict[str, Tensor], spec: ModelSpec) -> None:
    """Say in one line that the weights are of another size, not in hundreds of shapes.

    Raises:
        HandoverError: if they are.
    """
    patches = weights.get("backbone.vit.embeddings.patch_embeddings.projection.weight")
    if patches is None or "decoder.query_features.weight" not in weights:
        return  # not even RF-DETR's names; the hand-over lists the differences
    layers = 1 + max(
        (int(n.split(".")[3]) for n in weights if n.startswith("decoder.transformer.layers.")),
        default=-1,
    )
    have = (
        patches.shape[-1],
        patches.shape[0],
        layers,
        weights["decoder.query_features.weight"].shape[1],
    )
    signatures = {name: (s.patch, s.encoder[0], s.layers, s.width) for name, s in SIZES.items()}
    if have != signatures[spec.size]:
        names = ("patch", "encoder width", "decoder layers", "decoder width")
        layout = ", ".join(f"{name} {value}" for name, value in zip(names, have, strict=True))
        fitting = [name for name, signature in signatures.items() if signature == have]
        expected = "model.size: " + " or ".join(fitting) if fitting else "weights of this size"
        raise HandoverError("weights", f"of another size than {spec.size} ({layout})", expected)
