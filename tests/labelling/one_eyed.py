"""A family of fixed weights that finds discs by their colour, and blue ones in the left half of an
image only.

On red discs its views agree, on blue ones they do not. Its checkpoints are folders like any others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.models.parts.state import State
from segue.models.weights.card import Card
from segue.training import checkpoint
from tests.inference.painted import (
    CLASSES,
    SIZES,
    TASKS,
    Light,
    Options,
    ResolvedOptions,
    criterion,
    input_size,
    postprocess,
    predictions,
    resolve_options,
)

PARTS = ("light",)
SIDE = 128
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
Disc = tuple[int, int, int, tuple[int, int, int]]  # x, y, radius, colour
__all__ = [
    "SIZES",
    "TASKS",
    "Options",
    "ResolvedOptions",
    "criterion",
    "input_size",
    "postprocess",
    "predictions",
    "resolve_options",
]


class OneEyed(Light):
    def forward(self, state: State) -> State:
        logits = super().forward(state)["logits"].clone()
        logits[:, 2, :, logits.shape[-1] // 2 :] = -1
        return {"logits": logits}


def build(spec: ModelSpec, masks: bool) -> Chain:
    return Chain(spec, {"light": OneEyed()})


def saved(folder: Path) -> Path:
    """A checkpoint of it."""
    spec = ModelSpec(family=__name__, size="fixed", classes=CLASSES, options={"side": SIDE})
    checkpoint.write(folder, build(spec, True).state_dict(), Card(spec=spec, complete=True))
    return folder


def paint(path: Path, *discs: Disc, grey: int = 0) -> Path:
    picture = Image.new("RGB", (SIDE, SIDE), (grey, grey, grey))
    for x, y, radius, colour in discs:
        ImageDraw.Draw(picture).ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=colour
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(picture)).save(path)
    return path
