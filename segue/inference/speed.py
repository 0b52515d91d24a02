"""How long models take for an image on this machine: all in turns, so that what else it does falls
on all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from segue.inference.predict import Predictor

ROUNDS = 7
FEWEST_ROUNDS = 3
MOST_SECONDS = 120.0
MOST_IMAGES = 4


def milliseconds(
    predictors: Mapping[str, Predictor],
    images: Mapping[str, Sequence[Path]],
    device: str,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Median milliseconds for one image, from its pixels in memory to detections.

    predictors: on the CPU; on a GPU there is one at a time. images: for each predictor, at most
    MOST_IMAGES are used; each is taken once in a round, after one that only warms up. The rounds
    end when they get too long.
    """
    pixels = {
        name: [predictors[name].pixels(path) for path in images[name][:MOST_IMAGES]]
        for name in predictors
    }
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    began = time.perf_counter()
    for number in range(ROUNDS):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > MOST_SECONDS:
            break
        for name, predictor in predictors.items():
            predictor.chain.to(device)
            _seconds(predictor, pixels[name][0], device)
            taken[name] += [_seconds(predictor, one, device) for one in pixels[name]]
            predictor.chain.to("cpu")
        tick(number + 1, ROUNDS)
    return {name: 1000 * statistics.median(values) for name, values in taken.items()}


def _seconds(predictor: Predictor, pixels: Tensor, device: str) -> float:
    began = time.perf_counter()
    predictor.predict_ready(pixels, threshold=0.0)
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
