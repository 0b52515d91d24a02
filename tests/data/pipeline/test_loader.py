"""Batches of each step, for any number of workers."""

from __future__ import annotations

import pytest
import torch

from segue.data import formats
from segue.data.pipeline.loader import loader
from segue.data.pipeline.samples import StepSampler
from segue.data.pipeline.transforms import Augment
from tests.data.pipeline.test_samples import samples


@pytest.fixture(scope="module")
def records(rendered):
    coco = formats.get("coco")
    return coco.read(coco.splits(rendered)["train"], "train").records


@pytest.mark.parametrize("workers", [0, 2])
def test_worker_count_changes_nothing(records, workers):
    dataset = samples(records, Augment())
    steps = StepSampler(len(records), 6, seed=1, epoch=2)
    reference = [dataset[p] for step in steps for p in step]
    seen = 0
    for batch in loader(dataset, steps, workers):
        for image, target in zip(batch.inputs["images"], batch.targets, strict=True):
            assert torch.equal(image, reference[seen][0]["images"])
            assert torch.equal(target.masks.bits, reference[seen][1].masks.bits)
            seen += 1
    assert seen == len(records)
