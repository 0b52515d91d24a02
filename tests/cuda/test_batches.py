"""Batches for a GPU lie in pinned memory, whoever reads them, and arrive there unchanged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segue.data.dataset import Data, read_dataset
from segue.data.pipeline import loader as loading
from segue.data.pipeline import samples
from segue.data.pipeline.loader import loader
from segue.data.pipeline.samples import Samples, StepSampler
from segue.data.pipeline.transforms import View
from segue.errors import DataError
from segue.structures.masks import PackedMasks
from segue.structures.target import Batch


def read(rendered: Path) -> Samples:
    data = read_dataset(Data(root=rendered))
    return Samples(
        data.splits["train"].records,
        data.classes,
        Data(root=rendered).channels,
        View(96, 96),
        0,
        True,
    )


def tensors(batch: Batch) -> Iterator[Tensor]:
    """Those that hold something: what is empty lies nowhere."""
    values = [*batch.inputs.values()]
    for target in batch.targets:
        for field in fields(target):
            value = getattr(target, field.name)
            values += list(value.tensors().values()) if isinstance(value, PackedMasks) else [value]
    return (value for value in values if isinstance(value, Tensor) and value.numel())


@pytest.mark.parametrize("workers", [0, 2])
def test_every_tensor_of_a_batch_is_pinned_and_arrives_unchanged(
    gpu: str, rendered: Path, workers: int
) -> None:
    dataset, seen = read(rendered), 0
    plain = loader(dataset, StepSampler(16, 5, seed=1, epoch=0), 0)
    for batch, expected in zip(
        loader(dataset, StepSampler(16, 5, 1, 0), workers, gpu), plain, strict=True
    ):
        assert all(tensor.is_pinned() for tensor in tensors(batch))
        assert not any(tensor.is_pinned() for tensor in tensors(expected))
        there = [tensor.cpu() for tensor in tensors(batch.to(gpu))]
        assert all(map(torch.equal, there, tensors(expected)))
        seen += len(there)
    assert seen > 16 * 6


def test_a_worker_that_dies_is_named_where_batches_are_pinned(
    device: str, rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_image = samples.read_image

    def reading(record: Any, channels: Any):
        if record.image.name == "train_0005.png":
            os._exit(1)
        return read_image(record, channels)

    monkeypatch.setattr(samples, "read_image", reading)
    monkeypatch.setattr(loading, "POLL_INTERVAL", 0.2)
    with pytest.raises(DataError) as error:
        list(loader(read(rendered), StepSampler(16, 4, seed=1, epoch=0), 2, device))
    assert "train_0005.png: the process that did this was ended" in error.value.message
