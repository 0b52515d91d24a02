"""What the tests of rgbx_rcnn share: small models, images with a fourth channel, and targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segue.models import ModelSpec, rgbx_rcnn
from segue.models.weights import ModelWeights
from segue.models.weights.card import Card
from segue.structures.channels import RGB, Channel
from segue.structures.masks import PackedMasks
from segue.structures.target import Target

THERMAL, EVENT = Channel(name="thermal"), Channel(name="event")
BOTH = (*RGB, THERMAL)


def spec_of(size="pico", channels=BOTH, classes=("a", "b"), **options):
    settled, _ = rgbx_rcnn.resolve_options(
        rgbx_rcnn.Options(**options), rgbx_rcnn.SIZES[size], 5, "cpu"
    )
    return ModelSpec(
        family="rgbx_rcnn",
        size=size,
        classes=classes,
        channels=channels,
        options=settled.model_dump(),
    )


def build(masks=False, seed=0, **spec):
    torch.manual_seed(seed)
    return rgbx_rcnn.build(spec_of(**spec), masks)


def pixels(channels=4, side=64):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, channels, side, side), dtype=torch.uint8, generator=generator)


def weights_of(chain) -> ModelWeights:
    card = Card(spec=chain.spec)
    return ModelWeights(
        dict(chain.state_dict()), chain.spec.classes, chain.spec.channel_names, "parent", card=card
    )


def as_rgb(name: str) -> str:
    """The tensor of the RGB stream that one of X's begins as a copy of."""
    return name.replace("x.streams.0.", "rgb.streams.0.")


def with_x(root: Path) -> Path:
    """Give every image of a rendered data set a fourth channel: how much its colours differ from
    the darkest.
    """
    for path in root.glob("*/*.png"):
        rgb = np.asarray(Image.open(path).convert("RGB"))
        x = rgb.max(2) - rgb.min(2)
        Image.fromarray(np.dstack([rgb, x]), "RGBA").save(path)
    return root


def two_targets() -> list[Target]:
    """Two images of 64 px: one with two objects, of which one has a mask, and an empty one."""
    boxes = torch.tensor([[0.4, 0.4, 0.3, 0.25], [0.75, 0.7, 0.2, 0.4]])
    disc = np.hypot(*np.mgrid[-8:8, -9:10]) < 8
    masks = PackedMasks.pack(
        [disc, np.zeros((0, 0), bool)], [[16, 18, 35, 34], [0, 0, 0, 0]], 64, 64
    )
    first = Target(
        torch.tensor([1, 0]), boxes, torch.tensor([True, False]), torch.ones(2), masks, key=11
    )
    none = torch.zeros(0)
    second = Target(
        none.long(), torch.zeros(0, 4), none.bool(), none, PackedMasks.pack([], [], 64, 64), key=12
    )
    return [first, second]
