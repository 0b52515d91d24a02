"""The networks behind RF-DETR's backbone, projector and decoder: transformers' layers, called one
by one.

Their own `forward(labels=...)` is never used: it cannot start behind a frozen part, and its losses
have defects that our tests list.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from segue.models._transformers import (
    RfDetrC2FLayer,
    RfDetrConfig,
    RfDetrConvNormLayer,
    RfDetrDecoder,
    RfDetrDinov2Backbone,
    RfDetrDinov2Config,
    RfDetrLayerNorm,
    RfDetrMLPPredictionHead,
    refine_bboxes,
)
from segue.models.parts.chain import tensors
from segue.models.parts.layers import PRIOR_BIAS, Normalise
from segue.models.parts.state import State
from segue.structures.channels import Channel


def memories(levels: int) -> tuple[str, ...]:
    """Names of the projector's maps, finest first."""
    return tuple(f"memory_{level}" for level in range(levels))


class Backbone(nn.Module):
    """Windowed DINOv2; gives "features": the chosen layers' maps side by side (B, layers * width,
    h, w).
    """

    reads = ("images",)
    writes = ("features",)

    def __init__(self, config: RfDetrConfig, channels: Sequence[Channel]) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.vit = RfDetrDinov2Backbone(_backbone_config(config))

    @override
    def forward(self, state: State) -> State:
        return {"features": torch.cat(self.vit(self.normalise(state["images"])).feature_maps, 1)}


class Projector(nn.Module):
    """One C2f block for each feature level; gives "memory_0", "memory_1", ... (B, D, h, w), finest
    first.

    scales: size of each level relative to the backbone's map, 1.0 (all sizes of today), or 2.0 and
    0.5 (the old large one, which transformers does not support). Norms have eps 1e-6, as in
    roboflow/rf-detr; transformers' 1e-5 reorders the proposals of published weights.
    """

    reads = ("features",)

    def __init__(self, config: RfDetrConfig, scales: Sequence[float]) -> None:
        super().__init__()
        self.writes = memories(len(scales))
        self.levels = nn.ModuleList(_Level(config, scale) for scale in scales)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-6

    @override
    def forward(self, state: State) -> State:
        maps = (level(state["features"]) for level in self.levels)
        return cast(State, dict(zip(self.writes, maps, strict=True)))


class _Level(nn.Module):
    def __init__(self, config: RfDetrConfig, scale: float) -> None:
        super().__init__()
        backbone = _backbone_config(config)
        width, maps = backbone.hidden_size, len(backbone.out_indices or ())
        self.sample = nn.ModuleList(_sampling(config, width, scale) for _ in range(maps))
        self.fuse = RfDetrC2FLayer(config, maps * (width // 2 if scale == 2.0 else width))
        self.norm = RfDetrLayerNorm(config.d_model, data_format="channels_first")

    @override
    def forward(self, features: Tensor) -> Tensor:
        maps = features.chunk(len(self.sample), 1)
        sampled = [sample(part) for sample, part in zip(self.sample, maps, strict=True)]
        return self.norm(self.fuse(torch.cat(sampled, 1)))


def _backbone_config(config: RfDetrConfig) -> RfDetrDinov2Config:
    assert isinstance(config.backbone_config, RfDetrDinov2Config)
    return config.backbone_config


def _sampling(config: RfDetrConfig, width: int, scale: float) -> nn.Module:
    if scale == 2.0:
        return nn.Sequential(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
    if scale == 0.5:
        return nn.Sequential(RfDetrConvNormLayer(config, width, width, 3, 2, activation="relu"))
    return nn.Identity()


class Decoder(nn.Module):
    """Two-stage query selection, the decoder layers, and the class and box heads.

    In training, `groups` copies of the queries learn side by side (Group DETR); in eval, and so
    whenever it is frozen, only the first runs. Gives "queries" (B, L, Q, D), "logits" (B, L, Q, K),
    "boxes_cxcywh" (B, L, Q, 4), how many "groups" Q consists of, and in training the encoder's
    proposals as "enc_queries", "enc_logits", "enc_boxes_cxcywh" (L = 1).
    """

    answers = ("queries", "logits", "boxes_cxcywh")
    writes = (*answers, "groups", "enc_queries", "enc_logits", "enc_boxes_cxcywh")

    def __init__(self, config: RfDetrConfig, levels: int, classes: int) -> None:
        super().__init__()
        width, groups, queries = config.d_model, config.group_detr, config.num_queries
        self.reads = memories(levels)
        self.groups, self.num_queries = groups, queries
        self.transformer = RfDetrDecoder(config)
        self.reference_points = nn.Embedding(groups * queries, 4)
        self.query_features = nn.Embedding(groups * queries, width)
        self.proposal_proj = nn.ModuleList(nn.Linear(width, width) for _ in range(groups))
        self.proposal_norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(groups))
        self.proposal_classes = nn.ModuleList(nn.Linear(width, classes) for _ in range(groups))
        self.proposal_boxes = nn.ModuleList(
            RfDetrMLPPredictionHead(width, width, 4, 3) for _ in range(groups)
        )
        self.class_head = nn.Linear(width, classes)
        self.box_head = RfDetrMLPPredictionHead(width, width, 4, 3)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier for matrices, the prior for classes, and box heads that at first change nothing;
        as upstream.
        """
        for module in (*self.proposal_proj, *self.proposal_boxes, self.box_head):
            for parameter in module.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        nn.init.zeros_(self.reference_points.weight)
        for name, parameter in self.named_parameters():
            if name.startswith(("proposal_classes", "class_head")) and name.endswith("bias"):
                nn.init.constant_(parameter, PRIOR_BIAS)
            if name.startswith(("proposal_boxes", "box_head")) and ".layers.2." in name:
                nn.init.zeros_(parameter)

    @override
    def forward(self, state: State) -> State:
        maps = tensors(state, self.reads)
        groups = self.groups if self.training else 1
        memory = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)  # (B, S, D)
        shapes = [(m.shape[-2], m.shape[-1]) for m in maps]
        proposals = [self._propose(memory, shapes, group) for group in range(groups)]
        enc_queries, enc_logits, enc_boxes = (
            torch.cat(parts, 1) for parts in zip(*proposals, strict=True)
        )
        count = enc_boxes.shape[1] // groups
        # (B, Q, 4)
        reference = refine_bboxes(
            enc_boxes.detach(), self._rows(self.reference_points, groups, count)
        )
        features = self._rows(self.query_features, groups, count)
        queries = self._decode(memory, shapes, reference, features)  # (B, L, Q, D)
        added: State = {
            "groups": groups,
            "queries": queries,
            "logits": self.class_head(queries),
            "boxes_cxcywh": refine_bboxes(reference[:, None], self.box_head(queries)),
        }
        if self.training:
            added["enc_queries"] = enc_queries[:, None]
            added["enc_logits"] = enc_logits[:, None]
            added["enc_boxes_cxcywh"] = enc_boxes[:, None]
        return added

    def _rows(self, table: nn.Embedding, groups: int, count: int) -> Tensor:
        """The first `count` rows of each of the first groups (groups * count, ...)."""
        return table.weight.unflatten(0, (self.groups, self.num_queries))[:groups, :count].flatten(
            0, 1
        )

    def _propose(
        self, memory: Tensor, shapes: list[tuple[int, int]], group: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best cells of a group as query features (B, Q, D), class logits (B, Q, K) and boxes
        (B, Q, 4).
        """
        anchors, valid = grid_anchors(shapes, memory)
        features = self.proposal_norm[group](self.proposal_proj[group](memory * valid))
        logits = self.proposal_classes[group](features)
        scores = logits.max(-1).values.masked_fill(~valid[..., 0], float("-inf"))
        # a small image has fewer cells than the model has queries
        count = min(self.num_queries, scores.shape[1])
        best = scores.topk(count, dim=1).indices[..., None]  # (B, Q, 1)
        features = features.gather(1, best.expand(-1, -1, features.shape[-1]))
        anchors = anchors.expand(len(memory), -1, -1).gather(1, best.expand(-1, -1, 4))
        logits = logits.gather(1, best.expand(-1, -1, logits.shape[-1]))
        return features, logits, refine_bboxes(anchors, self.proposal_boxes[group](features))

    def _decode(
        self, memory: Tensor, shapes: list[tuple[int, int]], reference: Tensor, features: Tensor
    ) -> Tensor:
        """The output of every decoder layer (B, L, Q, D)."""
        starts = [0, *itertools.accumulate(h * w for h, w in shapes)][:-1]
        output = self.transformer(
            inputs_embeds=features.expand(len(memory), -1, -1),
            reference_points=reference,
            spatial_shapes=torch.tensor(shapes, device=memory.device),
            spatial_shapes_list=shapes,
            level_start_index=torch.tensor(starts, device=memory.device),
            valid_ratios=memory.new_ones(len(memory), len(shapes), 2),
            encoder_hidden_states=memory,
        )
        return output.intermediate_hidden_states.transpose(0, 1)


def grid_anchors(shapes: Sequence[tuple[int, int]], like: Tensor) -> tuple[Tensor, Tensor]:
    """A box around each cell's centre (1, S, 4), 0.05 * 2^level of the image wide, and whether it
    counts (1, S, 1).

    Cells within 1 % of the border propose nothing (Deformable DETR, arXiv 2010.04159); their anchor
    is 0.
    """
    anchors = []
    for level, (h, w) in enumerate(shapes):
        ys = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) / h
        xs = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) / w
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        size = torch.full_like(x, 0.05 * 2.0**level)
        anchors.append(torch.stack([x, y, size, size], -1).flatten(0, 1))
    grid = torch.cat(anchors)[None]
    valid = ((grid > 0.01) & (grid < 0.99)).all(-1, keepdim=True)
    return grid * valid, valid
