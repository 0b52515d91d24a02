"""Devices are named before anything is read, and what concerns GPUs alone is right as far as a CPU
can tell.
"""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from segue.cli.app import main
from segue.errors import PlanError
from segue.inference.loading import load
from segue.structures.masks import PackedMasks
from segue.training import processes
from segue.training.devices import pick_device
from tests.models.pico import batch_for, build
from tests.toy import detector_only, run


@pytest.fixture
def gpus(monkeypatch):
    """Let there be so many GPUs, as far as torch says."""

    def set_to(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return set_to


def test_a_device_that_is_not_here_is_refused_with_those_that_are(gpus):
    gpus(2)
    assert [pick_device(name) for name in ("auto", "cuda", "cuda:1", "cpu", "cpu:0")] == [
        "cuda", "cuda", "cuda:1", "cpu", "cpu",
    ]  # fmt: skip
    for name in ("cuda:2", "cuda:x", "gpu", "cpu:1", "mps"):
        with pytest.raises(PlanError) as error:
            pick_device(name)
        assert error.value.message == f"device: no {name} here; expected auto, cpu, cuda:0, cuda:1"
    gpus(0)
    assert pick_device("auto") == "cpu"


def test_predict_and_load_say_in_one_line_that_there_is_no_gpu(rendered, tmp_path, gpus, capsys):
    gpus(0)
    checkpoint = run(detector_only(rendered, tmp_path, epochs=1)) / "1-detector" / "selected"
    with pytest.raises(PlanError):
        load(checkpoint, "cuda")
    code = main(
        [
            "predict",
            str(checkpoint),
            str(rendered / "test"),
            "--out",
            str(tmp_path / "out"),
            "--device",
            "cuda",
        ]
    )
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and said == "segue: error: device: no cuda here; expected auto, cpu"


@pytest.mark.parametrize(
    ("device", "count", "rank", "message"),
    [
        ("cuda:0", 2, "0", "device: cuda:0 for several processes; expected auto or cuda"),
        (
            "cuda",
            1,
            "1",
            "torchrun: process 2 of a machine with 1 GPUs; expected a process for each GPU",
        ),
    ],
)
def test_processes_that_have_no_gpu_of_their_own_are_refused(
    gpus, monkeypatch, device, count, rank, message
):
    gpus(count)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(PlanError) as error:
        processes.start(device)
    assert error.value.message.startswith(message)


def test_every_tensor_of_a_batch_is_pinned(rendered, monkeypatch):
    """Here nothing can be; what torch is asked to pin is noted."""
    batch = batch_for(build("mask2former"), rendered, 2)
    pinned: set[int] = set()

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.add(tensor.data_ptr())
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    held = list(batch.inputs.values())
    for target in batch.targets:
        for field in fields(target):
            value = getattr(target, field.name)
            held += list(value.tensors().values()) if isinstance(value, PackedMasks) else [value]
    tensors = {value.data_ptr() for value in held if isinstance(value, torch.Tensor)}
    again = batch.pin_memory()
    assert len(tensors) == 1 + 2 * 8 and pinned == tensors
    assert [target.key for target in again.targets] == [target.key for target in batch.targets]
