"""Every family's smallest model, with a batch of rendered images and the loss that trains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from segue import models
from segue.data.dataset import Data, read_dataset
from segue.data.pipeline.samples import Samples
from segue.data.pipeline.transforms import View
from segue.data.synthetic import CLASSES
from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.structures.channels import RGB
from segue.structures.target import Batch, collate
from segue.training.learner import Loss
from segue.training.loop import exact_sums

# Family and options: all families, and all kinds of mask heads.
MODELS: list[Any] = [
    ("detr", {}),
    ("mask2former", {}),
    ("mask2former", {"recompute": True}),
    ("rfdetr", {"mask_head": "dot"}),
    ("rfdetr", {"mask_head": "attention"}),
    ("rgbx_rcnn", {}),
]


def build(
    family: str, objects: int = 10, masks: bool = True, size: str = "pico", **options: Any
) -> Chain:
    module = models.get(family)
    settled, _ = module.resolve_options(
        module.Options(**options), models.size_of(module, size), objects, "cpu"
    )
    spec = ModelSpec(family=family, size=size, classes=CLASSES, options=settled.model_dump())
    torch.manual_seed(0)
    return module.build(spec, masks=masks)


def batch_for(chain: Chain, data: Path, images: int) -> Batch:
    """Images as the chain sees them, those with the most objects."""
    read = read_dataset(Data(root=data))
    records = sorted(read.splits["train"].records, key=lambda record: -len(record.annotations))
    view = View(*models.get(chain.spec.family).input_size(chain.spec))
    samples = Samples(records, chain.spec.classes, RGB, view, seed=0, with_masks=chain.has_masks)
    return collate([samples[(0, i)] for i in range(images)])


def loss_of(chain: Chain) -> Loss:
    return models.get(chain.spec.family).criterion(
        chain, "joint" if chain.has_masks else "boxes", {}
    )


def forward(chain: Chain, batch: Batch, precision: torch.dtype = torch.float32) -> torch.Tensor:
    """The loss of a batch, as a training step computes it."""
    criterion = loss_of(chain)
    with exact_sums("cpu"):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            predictions = models.get(chain.spec.family).predictions(chain, chain(batch.inputs))
        return criterion.total(criterion(predictions, batch.targets), batch.counts())
