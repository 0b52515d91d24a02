"""RF-DETR for which no memory is enough, while there is a file called `deadly` in the working
folder, and that takes its time while there is one called `slow`.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch

from segue.models import rfdetr
from segue.models.rfdetr import *  # noqa: F403


def predictions(chain, state):
    """Those of RF-DETR, if there is room for them."""
    if Path("deadly").exists():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if Path("slow").exists():
        time.sleep(0.3)
    return rfdetr.predictions(chain, state)
