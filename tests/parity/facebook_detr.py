"""facebookresearch/detr's network, written from the paper (arXiv 2005.12872), under its names."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import nn
from typing_extensions import override


class FacebookLayer(nn.Module):
    """An encoder layer, or with `crosses` a decoder layer, of the paper's appendix A.3."""

    def __init__(self, width: int, ffn: int, crosses: bool) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, 8, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        if crosses:
            self.multihead_attn, self.norm3 = (
                nn.MultiheadAttention(width, 8, batch_first=True),
                nn.LayerNorm(width),
            )

    @override
    def forward(self, x: Any, where: Any, memory: Any = None, memory_where: Any = None):
        x = self.norm1(x + self.self_attn(x + where, x + where, x)[0])
        if memory is not None:
            x = self.norm2(x + self.multihead_attn(x + where, memory + memory_where, memory)[0])
        last = self.norm2 if memory is None else self.norm3
        return last(x + self.linear2(self.linear1(x).relu()))


def module() -> Any:
    """A module that is given its parts later, which torch types as tensors."""
    return nn.Module()


class FacebookDetr(nn.Module):
    def __init__(self, queries: int, rows: int, width: int = 256) -> None:
        super().__init__()
        resnet = torchvision.models.resnet18(norm_layer=torchvision.ops.FrozenBatchNorm2d)
        body = torchvision.models._utils.IntermediateLayerGetter(resnet, {"layer4": "0"})
        backbone = module()
        backbone.body = body
        self.backbone: Any = nn.ModuleList([backbone])
        self.input_proj = nn.Conv2d(512, width, 1)
        self.transformer = module()
        self.transformer.encoder, self.transformer.decoder = module(), module()
        self.transformer.encoder.layers = nn.ModuleList(
            FacebookLayer(width, 2048, False) for _ in range(6)
        )
        self.transformer.decoder.layers = nn.ModuleList(
            FacebookLayer(width, 2048, True) for _ in range(6)
        )
        self.transformer.decoder.norm = nn.LayerNorm(width)
        self.query_embed = nn.Embedding(queries, width)
        self.class_embed = nn.Linear(width, rows)
        self.bbox_embed = module()
        self.bbox_embed.layers = nn.ModuleList(
            [nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 4)]
        )

    @override
    def forward(self, images: Any):
        features = self.input_proj(self.backbone[0].body(images)["0"])
        channels, height, width = features.shape[-3:]
        where = sine(height, width, channels // 2).flatten(1).T[None]
        memory = features.flatten(2).transpose(1, 2)
        for layer in self.transformer.encoder.layers:
            memory = layer(memory, where)
        asked = self.query_embed.weight[None].expand(len(images), -1, -1)
        x = torch.zeros_like(asked)
        for layer in self.transformer.decoder.layers:
            x = layer(x, asked, memory, where)
        x = self.transformer.decoder.norm(x)
        one, two, three = self.bbox_embed.layers
        return self.class_embed(x), three(two(one(x).relu()).relu()).sigmoid()


def sine(height: int, width: int, half: int) -> torch.Tensor:
    """Positions (2 * half, h, w): y, then x, each as sines and cosines of wavelengths 2 pi to 10000
    * 2 pi.
    """
    wavelength = 10000 ** (2 * (torch.arange(half) // 2) / half)

    def encoded(count: int) -> torch.Tensor:
        angle = (torch.arange(1, count + 1) / (count + 1e-6) * 2 * torch.pi)[:, None] / wavelength
        # (count, half)
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], 2).flatten(1)

    y = encoded(height).T[:, :, None].expand(-1, -1, width)
    x = encoded(width).T[:, None, :].expand(-1, height, -1)
    return torch.cat([y, x])
