"""One process or several (torchrun): the few things that must be agreed between them.

Gradients are summed over processes once per optimizer step, after all parts of the step.
DistributedDataParallel averages during backward instead, which needs equal numbers of parts
everywhere, hangs when one process has to split its share further (out of memory), and never reduces
parameters thawed after wrapping.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from segue.errors import PlanError

BUCKET = 25_000_000  # bytes of gradients summed at once
TIMEOUT = timedelta(hours=2)  # the others wait while one process evaluates or fills a cache


def start(device: str) -> None:
    """Join the group torchrun describes in the environment; nothing to do for a single process.

    Raises:
        PlanError: if this machine has not a GPU for each of its processes, or the plan names one
        for all of them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if device == "cpu":
        dist.init_process_group("gloo", timeout=TIMEOUT)
        return
    local_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device != "cuda":
        raise PlanError(
            "device", f"{device} for several processes", "auto or cuda, of which each takes its own"
        )
    if local_rank >= gpus:
        place = f"process {local_rank + 1} of a machine with {gpus} GPUs"
        raise PlanError("torchrun", place, "a process for each GPU, or device: cpu")
    torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl", timeout=TIMEOUT, device_id=torch.device("cuda", local_rank))


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def local_device(device: str) -> str:
    """The device of this process: each of a machine's processes takes its own GPU."""
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def summed(values: dict[str, float]) -> dict[str, float]:
    """Each value summed over all processes."""
    if not dist.is_initialized():
        return values
    table = torch.tensor(list(values.values()), dtype=torch.float64, device=_device())
    dist.all_reduce(table)
    return dict(zip(values, table.tolist(), strict=True))


def anywhere(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return summed({"flag": float(flag)})["flag"] > 0


def gathered(value: Any) -> list[Any]:
    """Every process's value, in order of rank."""
    if not dist.is_initialized():
        return [value]
    values = [None] * world()
    dist.all_gather_object(values, value)
    return values


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes; one without a gradient here counts as zero."""
    if not dist.is_initialized():
        return
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        size += parameter.grad.numel() * parameter.grad.element_size()
        if size > BUCKET:
            _sum_bucket(bucket)
            bucket.clear()
            size = 0
    _sum_bucket(bucket)


def _sum_bucket(bucket: list[Tensor]) -> None:
    if bucket:
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _device() -> str:
    return f"cuda:{torch.cuda.current_device()}" if dist.get_backend() == "nccl" else "cpu"
