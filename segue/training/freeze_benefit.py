"""What freezing saves on this machine: a step as the stage takes it, compared with one in which
everything learns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import ConfigDict, ValidationError
from torch import Tensor
from typing_extensions import override

from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.base.settings import Settings
from segue.data.pipeline.samples import Samples
from segue.errors import CheckpointError
from segue.models.parts.chain import Chain
from segue.structures.target import Batch, collate
from segue.training import processes
from segue.training.learner import Learner
from segue.training.loop import accumulate, out_of_memory

FILE = "saving.json"
MOST_IMAGES = 2  # ratios hardly depend on it, and the larger of the two steps must fit
ROUNDS = 2


class FreezeBenefit(Settings):
    """Seconds and bytes of forward and backward over a few images: frozen as in the stage, and
    ("whole") with nothing frozen.

    label: what is frozen, in words. Bytes are the activations that backward needs, counted, so that
    they mean the same on a CPU and a GPU; None where the larger step did not fit in memory.
    """

    model_config = ConfigDict(extra="ignore")  # the sentence in the file, which is made from these

    label: str
    seconds: float
    bytes: int
    whole_seconds: float | None
    whole_bytes: int | None

    @override
    def __str__(self) -> str:
        absolute = f"{self.seconds:.2f} s and {self.bytes / 1e6:.1f} MB"
        if self.whole_seconds is None or self.whole_bytes is None:
            return (
                f"with {self.label} frozen a step takes {absolute} of activations; with nothing "
                "frozen it does not fit"
            )
        time_share, size_share = self.seconds / self.whole_seconds, self.bytes / self.whole_bytes
        return (
            f"with {self.label} frozen a step takes {time_share:.2f} of the time and "
            f"{size_share:.2f} of the activation memory of a step that trains all parts "
            f"({absolute} instead of "
            f"{self.whole_seconds:.2f} s and "
            f"{self.whole_bytes / 1e6:.1f} MB)"
        )


def write(stage: Path, benefit: FreezeBenefit) -> None:
    """Write saving.json into a stage's folder, with its sentence for people.

    Raises:
        OSError: if the disk is full or fails.
    """
    write_json(stage / FILE, {**benefit.model_dump(), "text": str(benefit)}, indent=2)


def read(stage: Path) -> FreezeBenefit | None:
    """What a stage has measured; None if it has not.

    Raises:
        CheckpointError: if the file is damaged.
    """
    path = stage / FILE
    try:
        return FreezeBenefit.model_validate(read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        kind = "another layout" if isinstance(error, ValidationError) else f"not readable ({error})"
        raise CheckpointError(path, kind, "what freezing saves", "remove it") from None


def measure_once(
    learner: Learner, samples: Samples, stage: Path, say: Callable[[str], None]
) -> None:
    """At the beginning of a stage that freezes something, measure what that saves on this machine,
    say it, and write it down for the report.
    """
    if learner.progress.steps or not learner.chain.frozen_label():
        return
    if processes.rank() == 0:
        first = [samples[(0, index)] for index in range(min(len(samples), MOST_IMAGES))]
        benefit = measure(learner, collate(first))
        if benefit is not None:
            write(stage, benefit)
            say(str(benefit))
    processes.barrier()


def measure(learner: Learner, batch: Batch) -> FreezeBenefit | None:
    """Take the step both ways on the first images of a batch; None if not even the frozen one fits
    in memory.

    Weights, buffers, gradients and random numbers are as before.
    """
    batch = batch.split(MOST_IMAGES)[0]
    frozen: list[tuple[float, int]] = []
    whole: list[tuple[float, int]] = []
    with _as_before(learner):
        position = learner.chain.frozen_to
        try:
            for _ in range(ROUNDS):
                frozen.append(_step(learner, batch, position))
                whole.append(_step(learner, batch, 0.0))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
    if not frozen:
        return None
    (seconds, size), (whole_seconds, whole_size) = (
        min(frozen),
        min(whole) if whole else (None, None),
    )
    return FreezeBenefit(
        label=learner.chain.frozen_label(),
        seconds=seconds,
        bytes=size,
        whole_seconds=whole_seconds,
        whole_bytes=whole_size,
    )


@contextmanager
def _as_before(learner: Learner) -> Iterator[None]:
    """Put everything back that a step without its update changes, also if it fails half-way."""
    chain, device = learner.chain, learner.device
    position, cpu = chain.frozen_to, torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.startswith("cuda") else None
    buffers = {name: buffer.clone() for name, buffer in chain.named_buffers()}
    try:
        yield
    finally:
        chain.freeze_to(position)
        for parameter in chain.parameters():
            parameter.grad = None
        for name, buffer in chain.named_buffers():
            buffer.copy_(buffers[name])
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)


def _step(learner: Learner, batch: Batch, position: float) -> tuple[float, int]:
    """Seconds and activations of a forward and backward with the boundary at `position`."""
    learner.chain.freeze_to(position)
    learner.chain.train()
    for parameter in learner.chain.parameters():
        parameter.grad = None
    began = time.perf_counter()
    # ends by reading values, so that a GPU has finished, too
    kept = counted(learner.chain, lambda: accumulate(learner, batch, batch.counts()))
    return time.perf_counter() - began, kept


def counted(chain: Chain, step: Callable[[], object]) -> int:
    """Bytes of activations that autograd keeps for backward while `step` runs; weights are none."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in chain.state_dict().values()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(held.values())
