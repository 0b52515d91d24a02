"""The networks behind Mask2Former's backbone, pixel decoder and decoder: transformers' layers,
called one by one.

Three things differ from transformers 5.23, none of them in what comes out. Masks are products of
query and pixel vectors that are never multiplied out but where the loss looks (the library keeps
ten stacks of all queries' masks). What a query may attend to is found on the small map it attends
to, because resizing and the product commute. And blocks can be computed again in backward instead
of kept, which the library refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from segue.models._transformers import Mask2FormerConfig, Mask2FormerModel, SwinConfig
from segue.models.parts.chain import tensors
from segue.models.parts.layers import Normalise
from segue.models.parts.state import State
from segue.structures.channels import Channel

STAGES = ("stage1", "stage2", "stage3", "stage4")
MAPS = tuple(f"map_{i}" for i in range(len(STAGES)))
LEVELS = ("level_0", "level_1", "level_2")  # 32, 16 and 8 pixels to a cell; queries look in turn


def configure(swin: dict[str, Any], channels: int, **settings: Any) -> Mask2FormerConfig:
    """transformers' configuration.

    Drop-path is off: what it drops would depend on how a step is split.
    """
    backbone: Any = SwinConfig(num_channels=channels, drop_path_rate=0.0, **swin)
    backbone.out_features = list(STAGES)
    width = settings["hidden_dim"]
    return Mask2FormerConfig(
        backbone_config=backbone, feature_size=width, mask_feature_size=width, **settings
    )


def parts_of(
    config: Mask2FormerConfig, channels: Sequence[Channel], classes: int, recompute: bool
) -> dict[str, Any]:
    """The three parts with the library's own fresh weights; with `recompute` blocks are not kept
    for backward.
    """
    model: Any = Mask2FormerModel(config)
    level = model.pixel_level_module
    level.encoder.swin.layernorm = nn.Identity()  # of an output that nothing reads
    if recompute:
        blocks = [block for stage in level.encoder.swin.encoder.layers for block in stage.blocks]
        for block in (*blocks, *level.decoder.encoder.layers):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return {
        "backbone": Backbone(level.encoder, channels),
        "pixel_decoder": PixelDecoder(level.decoder),
        "decoder": Decoder(model.transformer_module, classes, recompute),
    }


class Backbone(nn.Module):
    """Swin (arXiv 2103.14030); gives "map_0" to "map_3" (B, C, h, w), 4 to 32 pixels to a cell."""

    reads = ("images",)
    writes = MAPS

    def __init__(self, net: nn.Module, channels: Sequence[Channel]) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.net = net

    @override
    def forward(self, state: State) -> State:
        maps = self.net(self.normalise(state["images"])).feature_maps
        return cast(State, dict(zip(MAPS, maps, strict=True)))


class PixelDecoder(nn.Module):
    """Deformable attention over three maps; gives "level_0" (coarse) to "level_2" and "pixels" (B,
    D, H/4, W/4).
    """

    reads = MAPS
    writes = ("pixels", *LEVELS)

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @override
    def forward(self, state: State) -> State:
        out = self.net(tensors(state, MAPS), output_hidden_states=False, return_dict=True)
        levels = dict(zip(LEVELS, out.multi_scale_features, strict=True))
        return cast(State, {**levels, "pixels": out.mask_features})


class Decoder(nn.Module):
    """Queries that attend within the mask they found before (arXiv 2112.01527), layer by layer.

    Gives "logits" (B, L, Q, K + 1) with "no object" last and "masks", both also of the queries
    before the first layer. "No object" is a head of its own, so that class rows are classes and
    nothing else.
    """

    reads = ("pixels", *LEVELS)
    writes = ("logits", "masks")
    answers = ("logits",)

    def __init__(self, transformer: Any, classes: int, recompute: bool) -> None:
        super().__init__()
        self.transformer = transformer
        width = transformer.queries_features.embedding_dim
        self.class_head, self.no_object = nn.Linear(width, classes), nn.Linear(width, 1)
        self.recompute = recompute

    @override
    def forward(self, state: State) -> State:
        pixels, net = state["pixels"], self.transformer.decoder
        maps = tensors(state, LEVELS)
        levels = [self.level(features, number) for number, features in enumerate(maps)]
        # (Q, B, D)
        query_positions = self.transformer.queries_embedder.weight[:, None].expand(
            -1, len(pixels), -1
        )
        hidden = self.transformer.queries_features.weight[:, None].expand_as(query_positions)
        normed = [net.layernorm(hidden)]
        run: Callable[..., Tensor] = (
            partial(checkpoint, _layer, use_reentrant=False) if self.recompute else _layer
        )
        for number, layer in enumerate(net.layers):
            turn = number % len(LEVELS)
            hidden_from = self.hidden_from(normed[-1], pixels, maps[turn].shape[-2:])
            hidden = run(layer, hidden, query_positions, *levels[turn], hidden_from)
            normed.append(net.layernorm(hidden))
        queries = torch.stack(normed).permute(2, 0, 1, 3)  # (B, L, Q, D)
        logits = torch.cat([self.class_head(queries), self.no_object(queries)], -1)
        return {
            "logits": logits,
            "masks": ProductMasks(pixels, net.mask_predictor.mask_embedder(queries)),
        }

    def level(self, features: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """The cells of a map (B, D, h, w) as keys with their positions and as values, each (hw, B,
        D).
        """
        where = self.transformer.position_embedder(features.shape, features.device, torch.float32)
        mark = self.transformer.level_embed.weight[number]
        values = (
            self.transformer.input_projections[number](features).flatten(2).permute(2, 0, 1) + mark
        )
        return values + where.flatten(2).permute(2, 0, 1).to(values.dtype), values

    @torch.no_grad()
    def hidden_from(self, normed: Tensor, pixels: Tensor, size: Sequence[int]) -> Tensor:
        """Cells (B * heads, Q, hw) outside the mask of a query (Q, B, D); nothing is hidden if all
        of it would be.
        """
        vectors = self.transformer.decoder.mask_predictor.mask_embedder(normed.transpose(0, 1))
        small = F.interpolate(
            pixels, size=tuple(size), mode="bilinear", align_corners=False
        ).flatten(2)
        outside = (vectors @ small).float() < 0
        outside &= ~outside.all(-1, keepdim=True)
        return outside.repeat_interleave(self.transformer.decoder.config.num_attention_heads, 0)


def _layer(
    layer: Any,
    hidden: Tensor,
    query_positions: Tensor,
    keys: Tensor,
    values: Tensor,
    hidden_from: Tensor,
) -> Tensor:
    """One decoder layer: masked attention to the image, attention among queries, two linear layers;
    all (., B, D).
    """
    attended, _ = layer.cross_attn(
        hidden + query_positions, keys, values, attn_mask=hidden_from, need_weights=False
    )
    hidden = layer.cross_attn_layer_norm(hidden + attended)
    attended, _ = layer.self_attn(hidden, position_embeddings=query_positions)
    hidden = layer.self_attn_layer_norm(hidden + attended)
    return layer.final_layer_norm(hidden + layer.fc2(layer.activation_fn(layer.fc1(hidden))))


@dataclass(slots=True)
class ProductMasks:
    """Masks as products of pixel vectors (B, D, h, w) and query vectors (B, L, Q, D)."""

    pixels: Tensor
    queries: Tensor
    trained_from: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def at(self, image: Tensor, layer: Tensor, query: Tensor) -> Tensor:
        """Mask logits (T, h, w)."""
        chosen = self.queries[image, layer, query]  # (T, D)
        logits = chosen.new_zeros(len(chosen), *self.size)
        for i in range(len(self.pixels)):
            here = (image == i).nonzero()[:, 0].to(logits.device)
            logits = logits.index_add(
                0, here, (chosen[here] @ self.pixels[i].flatten(1)).unflatten(1, self.size)
            )
        return logits

    def sample(self, points: Tensor) -> Tensor:
        """Mask logits (B, L, Q, P) at points (B, P, 2): sampling commutes with the product.

        In single precision: half of it would move points by more than a cell.
        """
        sampled = F.grid_sample(
            self.pixels.float(), 2 * points[:, :, None] - 1, align_corners=False
        )[..., 0]
        return torch.einsum("blqd,bdp->blqp", self.queries.float(), sampled)
