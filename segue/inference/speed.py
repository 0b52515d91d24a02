"""How long models take for an image on this machine: all in turns, so that other load on the
machine slows all of them alike.
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
    """Median milliseconds for one image, from its pixels in memory to detections, of each model.

    predictors: by name, on the CPU; on a GPU there is one at a time. images: paths for each
    predictor, of which at most MOST_IMAGES are used; each is predicted once in a round, after one
    that only warms up. After FEWEST_ROUNDS, no round begins later than MOST_SECONDS. tick: called
    with rounds done and in all.

    Raises:
        DataError: if an image cannot be read or has other channels than the model.
    """
    pixels = {
        name: [predictors[name].pixels(path) for path in images[name][:MOST_IMAGES]]
        for name in predictors
    }
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    began = time.perf_counter()
    for number in range(ROUNDS):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > MOST_SECONDS:
            break
        for name, predictor in predictors.items():
            predictor.chain.to(device)
            _seconds(predictor, pixels[name][0], device)
            seconds[name] += [_seconds(predictor, image, device) for image in pixels[name]]
            predictor.chain.to("cpu")
        tick(number + 1, ROUNDS)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def _seconds(predictor: Predictor, pixels: Tensor, device: str) -> float:
    began = time.perf_counter()
    predictor.predict_ready(pixels, threshold=0.0)
    # kernels run asynchronously: without waiting, only their launch is measured
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
