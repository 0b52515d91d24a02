"""RF-DETR whose boxes are NaN from its fourth step on, while there is a file called `deadly` in the
working folder.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch

from segue.models import rfdetr
from segue.models.rfdetr import *  # noqa: F403

STEPS = itertools.count(1)


def predictions(chain, state):
    """Those of RF-DETR, or none."""
    if next(STEPS) >= 4 and Path("deadly").exists():
        state = {**state, "boxes_cxcywh": torch.full_like(state["boxes_cxcywh"], float("nan"))}
    return rfdetr.predictions(chain, state)
