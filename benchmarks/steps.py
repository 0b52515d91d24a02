"""What the benchmarks of a step share: random batches, interleaved medians, and peak memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from segue.structures.masks import PackedMasks
from segue.structures.target import Batch, Target


def batch_of(images: int, side: int, objects: int) -> Batch:
    """Random pixels with elliptic objects."""
    rng = np.random.default_rng(0)
    targets = []
    for number in range(images):
        windows: list[tuple[int, int, int, int]] = []
        rasters: list[np.ndarray] = []
        for _ in range(objects):
            w, h = rng.integers(side // 16, side // 4, 2)
            x, y = rng.integers(0, side - w), rng.integers(0, side - h)
            yy, xx = np.mgrid[0:h, 0:w] / np.array([h, w])[:, None, None]
            rasters.append((yy - 0.5) ** 2 + (xx - 0.5) ** 2 < 0.25)
            windows.append((x, y, x + w, y + h))
        corners = torch.tensor(np.array(windows), dtype=torch.float32) / side
        boxes = torch.cat(
            [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1
        )
        targets.append(
            Target(
                labels=torch.from_numpy(rng.integers(0, 3, objects)),
                boxes_cxcywh=boxes,
                has_mask=torch.ones(objects, dtype=torch.bool),
                object_weights=torch.ones(objects),
                masks=PackedMasks.pack(rasters, windows, side, side),
                key=number,
            )
        )
    pixels = torch.from_numpy(rng.integers(0, 256, (images, 3, side, side), dtype=np.uint8))
    return Batch({"images": pixels}, targets)


def medians(steps: Mapping[str, Callable[[], None]], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each step; every round does each once, and the first only warms up.

    Seconds are this process's on a CPU, wall seconds on a GPU.
    """
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    taken: dict[str, list[float]] = {way: [] for way in steps}
    for number in range(rounds + 1):
        for way, step in steps.items():
            began = clock()
            step()
            if number:
                taken[way].append(clock() - began)
    return {way: statistics.median(values) for way, values in taken.items()}


def peak_bytes(step: Callable[[], None], device: str) -> int:
    """Peak memory of two steps above what is there before them; for a process that does nothing
    else.
    """
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        step()
        return torch.cuda.max_memory_allocated() - before
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark starts from here
    before = _status("VmRSS")
    step()
    step()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
