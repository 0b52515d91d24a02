"""The networks behind DETR's backbone, encoder and decoder: timm's and transformers' layers, called
one by one.

Two things differ from transformers 5.23 on purpose. With `auxiliary_loss` its decoders feed every
layer's normed output to the next layer, which the published models do not (facebookresearch/detr
models/transformer.py@29901c5); and its backbone freezes the stem for good, where ours is frozen by
the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers.norm_act import FrozenBatchNormAct2d, freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d
from typing_extensions import override

from segue.models._transformers import (
    ConditionalDetrConfig,
    ConditionalDetrDecoder,
    DetrConfig,
    DetrDecoder,
    DetrEncoder,
    DetrMLPPredictionHead,
    DetrSinePositionEmbedding,
    encode_sinusoidal_position_embedding,
)
from segue.models.parts.layers import PRIOR_BIAS, Normalise
from segue.models.parts.state import State
from segue.structures.channels import IMAGENET, Channel

# What timm calls the classifiers of its networks; `segue.models.weights.detr` leaves their tensors
# behind.
HEADS = ("fc", "head", "head_dist", "classifier")


class Backbone(nn.Module):
    """Any image network of timm's; gives "features", its last map (B, C, h, w).

    Its BatchNorm becomes FrozenBatchNorm, as in DETR: statistics and scale are constants of the
    pretraining.
    """

    reads = ("images",)
    writes = ("features",)
    net: Any

    def __init__(self, name: str, channels: Sequence[Channel], resolution: int) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.net = _without_batch_statistics(network(name, len(channels), resolution))

    @property
    def width(self) -> int:
        return self.net.feature_info[-1]["num_chs"]

    @override
    def forward(self, state: State) -> State:
        images = self.normalise(state["images"])
        maps = self.net.forward_intermediates(
            images, indices=1, norm=True, intermediates_only=True, output_fmt="NCHW"
        )
        return {"features": maps[-1]}


def network(name: str, channels: int, resolution: int) -> Any:
    """timm's network `name` with fresh weights and without its classifier, for inputs of any size
    it can take.

    Raises:
        RuntimeError: if timm does not know it, or it cannot be a backbone here.
    """
    # create_model would ask the network for some names (hf-hub:...)
    if not timm.is_model(name.partition(".")[0]):
        raise RuntimeError("timm does not know it")
    ways: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"img_size": resolution}, {})
    for sizing in ways:
        try:
            net = timm.create_model(
                name, pretrained=False, num_classes=0, in_chans=channels, **sizing
            )
            break
        except TypeError:  # a network that takes any size takes no such argument
            continue
    else:
        raise RuntimeError("timm cannot build it")
    if any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm3d) for m in net.modules()):
        raise RuntimeError("it has batch statistics that cannot be made constant")
    for unused in set(HEADS) & set(dict(net.named_children())):  # some keep a norm there
        setattr(net, unused, nn.Identity())
    return net


def trained_with(name: str, channels: Sequence[Channel]) -> tuple[Channel, ...]:
    """The channels, with the mean and deviation that the network was trained with where r, g, b
    have ImageNet's.
    """
    config = timm.get_pretrained_cfg(name) if timm.is_model(name.partition(".")[0]) else None
    if config is None:
        return tuple(channels)
    published = {
        name: {"mean": mean, "std": std}
        for name, mean, std in zip(IMAGENET, config.mean, config.std, strict=True)
    }
    return tuple(
        channel.model_copy(update=published[channel.name])
        if IMAGENET.get(channel.name) == (channel.mean, channel.std)
        else channel
        for channel in channels
    )


def _without_batch_statistics(net: nn.Module) -> nn.Module:
    """BatchNorm as constants. Without pretrained ones, each residual branch is scaled so that their
    sum stays tame: timm starts the last norm of a branch at 0, and a constant 0 would never learn.
    """
    net = freeze_batch_norm_2d(net)
    norms = [m for m in net.modules() if isinstance(m, FrozenBatchNorm2d | FrozenBatchNormAct2d)]
    closed = [norm for norm in norms if not norm.weight.is_meta and not norm.weight.any()]
    for norm in closed:
        norm.weight.fill_(len(closed) ** -0.5)
    return net


class Encoder(nn.Module):
    """A 1x1 convolution and self-attention over all cells; gives "memory_0" (B, D, h, w)."""

    reads = ("features",)
    writes = ("memory_0",)

    def __init__(self, config: DetrConfig, width: int) -> None:
        super().__init__()
        self.input_proj = nn.Conv2d(width, config.d_model, 1)
        self.transformer = DetrEncoder(config)
        _xavier(self)

    @override
    def forward(self, state: State) -> State:
        features = self.input_proj(state["features"])
        encoded = self.transformer(
            inputs_embeds=_tokens(features),
            spatial_position_embeddings=_tokens(positions(features)),
        )
        return {
            "memory_0": encoded.last_hidden_state.transpose(1, 2).unflatten(2, features.shape[-2:])
        }


class Decoder(nn.Module):
    """DETR's decoder with its heads: queries that are positions only, boxes and classes from each
    layer's output.

    Gives "queries" (B, L, Q, D), "logits" (B, L, Q, K + 1) with "no object" last, and
    "boxes_cxcywh" (B, L, Q, 4).
    """

    reads = ("memory_0",)
    writes = answers = ("queries", "logits", "boxes_cxcywh")
    transformer: Any

    def __init__(self, config: DetrConfig, classes: int) -> None:
        super().__init__()
        self.query_positions = nn.Embedding(config.num_queries, config.d_model)
        self.transformer = self.layers_of(config)
        self.class_head = nn.Linear(config.d_model, classes)
        self.box_head = DetrMLPPredictionHead(config.d_model, config.d_model, 4, 3)
        self.add_heads(config)

    def layers_of(self, config: Any) -> nn.Module:
        return DetrDecoder(config)

    def add_heads(self, config: DetrConfig) -> None:
        """The row for "no object" is a head of its own, so that class rows are classes and nothing
        else.
        """
        _xavier(self.transformer)
        self.no_object = nn.Linear(config.d_model, 1)

    @override
    def forward(self, state: State) -> State:
        memory = state["memory_0"]
        query_positions = self.query_positions.weight.expand(len(memory), -1, -1)  # (B, Q, D)
        queries = torch.stack(
            self.decode(_tokens(memory), _tokens(positions(memory)), query_positions), 1
        )
        return {
            "queries": queries,
            "logits": self.logits(queries),
            "boxes_cxcywh": self.boxes(queries, query_positions),
        }

    def decode(self, memory: Tensor, where: Tensor, query_positions: Tensor) -> list[Tensor]:
        """The normed output (B, Q, D) of every layer, from memory and positions (B, S, D) and
        queries (B, Q, D).
        """
        hidden = torch.zeros_like(query_positions)
        outputs: list[Tensor] = []
        for layer in self.transformer.layers:
            hidden = layer(
                hidden,
                spatial_position_embeddings=where,
                object_queries_position_embeddings=query_positions,
                encoder_hidden_states=memory,
            )
            outputs.append(self.transformer.layernorm(hidden))
        return outputs

    def logits(self, queries: Tensor) -> Tensor:
        return torch.cat([self.class_head(queries), self.no_object(queries)], -1)

    def boxes(self, queries: Tensor, query_positions: Tensor) -> Tensor:
        return self.box_head(queries).sigmoid()


class ConditionalDecoder(Decoder):
    """Conditional DETR's decoder (arXiv 2108.06152): each query has a reference point that its
    attention starts from.

    "logits" are (B, L, Q, K), a sigmoid for each class.
    """

    @override
    def layers_of(self, config: Any) -> nn.Module:
        return ConditionalDetrDecoder(config)

    @override
    def add_heads(self, config: DetrConfig) -> None:
        """Heads start as published (Atten4Vis/ConditionalDETR models/conditional_detr.py): the
        prior, and no offset.
        """
        _xavier(self.transformer)
        nn.init.constant_(self.class_head.bias, PRIOR_BIAS)
        for parameter in self.box_head.layers[-1].parameters():
            nn.init.zeros_(parameter)

    @override
    def decode(self, memory: Tensor, where: Tensor, query_positions: Tensor) -> list[Tensor]:
        centres = self.transformer.ref_point_head(query_positions).sigmoid()  # (B, Q, 2)
        sine = encode_sinusoidal_position_embedding(centres, query_positions.shape[-1] // 2)
        hidden = torch.zeros_like(query_positions)
        outputs: list[Tensor] = []
        for number, layer in enumerate(self.transformer.layers):
            scale = self.transformer.query_scale(hidden) if number else 1
            hidden = layer(
                hidden,
                spatial_position_embeddings=where,
                query_position_embeddings=query_positions,
                query_sine_embed=sine * scale,
                encoder_hidden_states=memory,
                is_first=number == 0,
            )
            outputs.append(self.transformer.layernorm(hidden))
        return outputs

    @override
    def logits(self, queries: Tensor) -> Tensor:
        return self.class_head(queries)

    @override
    def boxes(self, queries: Tensor, query_positions: Tensor) -> Tensor:
        """Offsets are from the reference point, in logits."""
        centres = self.transformer.ref_point_head(query_positions)[:, None]  # (B, 1, Q, 2)
        offsets = self.box_head(queries)
        return torch.cat([offsets[..., :2] + centres, offsets[..., 2:]], -1).sigmoid()


def configure(conditional: bool, **settings: Any) -> Any:
    """transformers' configuration of a decoder's kind, for its layers."""
    kind = ConditionalDetrConfig if conditional else DetrConfig
    return kind(backbone_config={"model_type": "resnet"}, **settings)


def positions(features: Tensor) -> Tensor:
    """Sine positions (B, D, h, w) of the cells of features (B, D, h, w), in single precision or
    better.
    """
    sine = DetrSinePositionEmbedding(features.shape[1] // 2, normalize=True)
    return sine(features.shape, features.device, torch.promote_types(features.dtype, torch.float32))


def _tokens(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2)


def _xavier(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
