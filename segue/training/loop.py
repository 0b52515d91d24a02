"""One optimizer step, and an epoch of them. Nothing here knows about files, plans or metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.deterministic
from torch import Tensor

from segue import models
from segue.errors import NonFiniteError, OutOfMemoryError
from segue.structures.seeds import seed_for
from segue.structures.target import Batch
from segue.training import optim, processes
from segue.training.learner import Learner, random_state, set_random_state

# What else than torch's own allocator for GPUs says: the one for CPUs, and CUDA's libraries where
# it left them no room.
OUT_OF_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
MOST_SKIPPED = 20  # fp16 steps in a row whose gradients overflowed


@dataclass(frozen=True, slots=True)
class StepSnapshot:
    """What a step began with, apart from the weights, which do not move before it is known to be
    finite.
    """

    batch: Batch
    rng: dict[str, Tensor]


def train_step(learner: Learner, batch: Batch) -> dict[str, float]:
    """One optimizer step over this process's share of a step, equal to any other way of splitting
    the step.

    The loss terms are sums, divided by what they count in the whole step on all processes. Where
    memory runs out the step is begun again in smaller parts; nothing was changed until then.

    Raises:
        NonFiniteError: before any weight has moved, if the loss or the gradient is NaN or infinite.
        OutOfMemoryError: if a single image does not fit.
    """
    counts = processes.summed(batch.counts())
    while True:
        try:
            terms = accumulate(learner, batch, counts)
            break
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        # outside the handler, which would keep the failed step's tensors alive
        _split_smaller(learner)
    parameters = [p for group in learner.optimizer.param_groups for p in group["params"]]
    processes.sum_gradients(parameters)
    learner.scaler.unscale_(learner.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(parameters, learner.settings.clip or float("inf"))
    terms = processes.summed(terms)
    _require_finite(learner, terms, norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.ema is not None:
        learner.ema.update(learner.chain)
    return {
        **terms,
        "grad_norm": float(norm),
        "images": counts["images"],
        "objects": counts["objects"],
    }


def accumulate(learner: Learner, batch: Batch, counts: dict[str, float]) -> dict[str, float]:
    """Gradients of all parts of a batch; returns the value of the loss and of each term."""
    family = models.get(learner.chain.spec.family)
    values = {
        name: torch.zeros((), device=learner.device) for name in ("loss", *learner.loss.names)
    }
    with _random_state_kept_on_failure(learner.device), exact_sums(learner.device):
        for part in batch.split(learner.progress.images_per_forward):
            part = part.to(learner.device)
            with torch.autocast(
                learner.device.split(":")[0],
                learner.precision,
                enabled=learner.precision != torch.float32,
            ):
                state = learner.chain(
                    part.inputs, start=0 if "images" in part.inputs else learner.chain.boundary
                )
                predictions = family.predictions(learner.chain, state)
            sums = learner.loss(predictions, part.targets)
            loss = learner.loss.total(sums, counts)
            learner.scaler.scale(loss).backward()
            divided = {
                name: learner.loss.total({name: value}, counts) for name, value in sums.items()
            }
            for name, value in {"loss": loss, **divided}.items():
                values[name] += value.detach()
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


@contextmanager
def exact_sums(device: str) -> Iterator[None]:
    """Gradients of indexed tensors added in one order. By default torch's CPU threads add them as
    they arrive, which changes the last bit now and then on a busy machine. A GPU has no such order
    for all that is needed here.
    """
    memory: Any = torch.utils.deterministic
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fill = memory.fill_uninitialized_memory
    if device == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False  # costs time, and nothing reads it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out: torch's allocators, or CUDA's own libraries."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in OUT_OF_MEMORY
    )


def _split_smaller(learner: Learner) -> None:
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.device.startswith("cuda"):
        torch.cuda.empty_cache()
    images = learner.progress.images_per_forward
    if images == 1:
        raise OutOfMemoryError(
            "training step",
            "a single image does not fit in memory",
            next_step="lower model.resolution",
        )
    learner.progress.images_per_forward = -(-images // 2)


@contextmanager
def _random_state_kept_on_failure(device: str) -> Iterator[None]:
    """If the block fails, random numbers (dropout) are drawn again as if it had not begun."""
    before = random_state(device)
    try:
        yield
    except RuntimeError:
        set_random_state(before, device)
        raise


def _require_finite(learner: Learner, terms: dict[str, float], norm: Tensor) -> None:
    """The gate before weights move. An overflow of fp16 is no error: the scaler skips that step."""
    if not not_finite(terms):
        if bool(torch.isfinite(norm)):
            learner.progress.skipped = 0
            return
        if learner.scaler.is_enabled() and learner.progress.skipped < MOST_SKIPPED:
            learner.progress.skipped += 1
            return
    learner.optimizer.zero_grad(set_to_none=True)
    raise NonFiniteError(
        "training step",
        f"{', '.join(not_finite(terms) or ['the gradient'])} became NaN or infinite",
    )


def not_finite(terms: Mapping[str, float]) -> list[str]:
    """Names of the terms that are NaN or infinite."""
    return [name for name, value in terms.items() if not abs(value) < float("inf")]


def train_epoch(
    learner: Learner,
    batches: Iterable[Batch],
    steps: int,
    steps_per_epoch: int,
    after_step: Callable[[dict[str, float]], None],
    keep_bad: Callable[[StepSnapshot, NonFiniteError], NonFiniteError],
) -> None:
    """The remaining steps of the current epoch. `after_step` sees each step's numbers and may stop
    by raising.

    steps: of the whole stage, for the schedule. keep_bad: what is done about a step that is not
    finite; returns the error to end with.
    """
    progress = learner.progress
    learner.chain.train()
    for batch in batches:
        began = time.perf_counter()
        optim.set_rates(
            learner.optimizer,
            learner.schedule,
            progress.steps,
            steps,
            steps_per_epoch,
            progress.drops,
        )
        step = StepSnapshot(_at_scale(learner, batch), random_state(learner.device))
        try:
            numbers = train_step(learner, step.batch)
        except NonFiniteError as error:
            raise keep_bad(step, error) from None
        progress.step += 1
        progress.steps += 1
        rate = max(group["lr"] for group in learner.optimizer.param_groups)
        position = {"step": progress.steps, "epoch": progress.epoch + 1}
        after_step({**position, **numbers, "lr": rate, "seconds": time.perf_counter() - began})


def _at_scale(learner: Learner, batch: Batch) -> Batch:
    """The batch at one of the learner's sizes, the same for the whole step; boxes and masks are
    relative anyway.
    """
    if not learner.scales or not len(batch):
        return batch
    drawn = seed_for(learner.seed, "scale", learner.progress.epoch, learner.progress.step)
    side = learner.scales[drawn % len(learner.scales)]
    images = batch.inputs["images"]
    if images.dtype == torch.uint8:
        images = images / 255
    images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    return Batch({**batch.inputs, "images": images}, batch.targets)
