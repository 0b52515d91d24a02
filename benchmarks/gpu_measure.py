"""How benchmarks/gpu.py measures: times behind a synchronisation, peak memory, what a step waits
for and launches.
"""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WARM_UP, LEAST, MOST = 3, 10, 20
DATASHEET = {"H100": 989e12, "H200": 989e12}  # dense bf16 operations a second, of the SXM parts


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def freed(device: str) -> None:
    """Give back what the last case held."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def timed(
    step: Callable[[], object], device: str, seconds: float, least: int = LEAST
) -> dict[str, Any]:
    """Median and quartiles of a step in ms, and its peak memory; as many as fit into `seconds`, but
    at least three.
    """
    began = time.perf_counter()
    taken: list[float] = []
    for _ in range(WARM_UP):
        step()
        if time.perf_counter() - began > seconds / 2:
            break
    synchronize(device)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    while len(taken) < MOST:
        start = time.perf_counter()
        step()
        synchronize(device)
        taken.append(1000 * (time.perf_counter() - start))
        over = time.perf_counter() - began > seconds
        if (over and len(taken) >= min(3, least)) or (
            len(taken) >= least and time.perf_counter() - began > seconds / 2
        ):
            break
    low, _, high = statistics.quantiles(taken, n=4) if len(taken) > 1 else (taken[0],) * 3
    timing: dict[str, Any] = {
        "ms": statistics.median(taken),
        "low": low,
        "high": high,
        "steps": len(taken),
    }
    if device.startswith("cuda"):
        timing["peak_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
        timing["reserved_mb"] = torch.cuda.max_memory_reserved(device) / 1e6
    return timing


def waits(step: Callable[[], object]) -> dict[str, Any]:
    """How often one step waits for the GPU, as torch's debug mode sees it, and where in the Python
    code.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{'/'.join(Path(warning.filename).parts[-3:])}:{warning.lineno}"
        for warning in caught
        if "synchroniz" in str(warning.message)
    )
    return {"waits": places.total(), "wait_places": dict(places.most_common(12))}


def launches(step: Callable[[], object]) -> dict[str, Any]:
    """How many kernels and copies one step launches, how long the GPU is at work for them, and the
    longest kinds.
    """
    kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds, acc_events=True) as profile:
        step()
        torch.cuda.synchronize()
    ours: Counter[str] = Counter()
    times: Counter[str] = Counter()
    copies: Counter[str] = Counter()
    for event in profile.events() or ():
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        ours[event.name[:80]] += 1
        times[event.name[:80]] += event.time_range.elapsed_us() / 1000
        if event.name.startswith("Memcpy"):
            copies[event.name] += 1
    longest = {name: [round(ms, 3), ours[name]] for name, ms in times.most_common(10)}
    return {
        "launches": ours.total(),
        "busy_ms": times.total(),
        "longest": longest,
        "copies": dict(copies),
    }


def ceilings(device: str) -> dict[str, float]:
    """Operations a second of a large bf16 product of random values, and bytes a second of a copy on
    the device.
    """
    side, count = 8192, 256 * 1024**2
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = timed(lambda: a @ b, device, 2.0)["ms"] / 1000
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    copy = timed(lambda: target.copy_(source), device, 2.0)["ms"] / 1000
    return {"bf16_flops": 2 * side**3 / product, "copy_bytes": 2 * source.nbytes / copy}


def datasheet_flops(device: str) -> float | None:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else ""
    return next((flops for word, flops in DATASHEET.items() if word in name), None)
