"""What benchmarks/gpu.py measures in addition to training steps: losses by precision, predict,
evaluation, and two cards.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gpu_cases
import numpy as np
import torch
import yaml
from gpu_cases import CLASSES
from gpu_measure import freed, synchronize, timed
from gpu_sizes import Case
from PIL import Image

from segue import models
from segue.data.dataset import Data, read_dataset
from segue.data.pipeline.loader import loader
from segue.data.pipeline.samples import Samples, StepSampler
from segue.data.pipeline.transforms import Augment, View
from segue.data.synthetic import render_dataset
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.evaluate import evaluate, input_size
from segue.inference.predict import Predictor
from segue.models.weights.rfdetr import rfdetr_file
from segue.training.checkpoint import Card
from segue.training.journal import read_rows
from segue.training.loop import train_step

PIXELS = (640, 480)


def losses_by_precision(family: str, device: str, steps: int) -> dict[str, Any]:
    """The first loss and the mean of the last three, of a small model in each precision and on the
    CPU in fp32.

    differences are relative to that; `scale` is what fp16's loss scale came down to, halved at each
    step it skipped.
    """
    options = {"resolution": 128, "groups": 2, "queries": 30} if family == "rfdetr" else {}
    extra = ("x",) if family == "rgbx_rcnn" else ()
    case = Case("", family, "pico", 4, 5, "joint", options=options, extra=extra)
    rows: dict[str, Any] = {}
    first = last = 0.0
    for where, precision in (
        ("cpu", "fp32"),
        *((device, name) for name in ("fp32", "bf16", "fp16")),
    ):
        _, learner, batch = gpu_cases.ours(case, where, precision)
        losses = [train_step(learner, batch)["loss"] for _ in range(steps)]
        end = statistics.mean(losses[-3:])
        if not rows:
            first, last = losses[0], end
        row = {
            "first": losses[0],
            "last": end,
            "first_difference": losses[0] / first - 1,
            "last_difference": end / last - 1,
        }
        rows[f"{where} {precision}" if rows else "reference"] = row | (
            {"scale": learner.scaler.get_scale()} if precision == "fp16" else {}
        )
    return rows


def predicted(folder: Path, device: str, quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Milliseconds for an image, of lists of several lengths, on the way that a user takes and of
    the network alone.
    """
    counts = (1, 2) if quick else (1, 8, 32)
    rng = np.random.default_rng(0)
    noise = [
        rng.integers(0, 256, (PIXELS[1], PIXELS[0], 3), dtype=np.uint8) for _ in range(counts[-1])
    ]
    pictures = [Image.fromarray(pixels) for pixels in noise]
    for size in ("nano",) if quick else ("nano", "seg-nano"):
        case = Case(
            "",
            "rfdetr",
            size,
            1,
            task="joint" if size.startswith("seg") else "boxes",
            options={"groups": 13},
        )
        chain = gpu_cases.chain_of(case, device).eval()
        predictor = Predictor(chain, Card(spec=chain.spec))
        peer = rfdetr_package(folder, predictor, device)
        side = input_size(chain)[0]
        for count in counts:
            row = {}
            for name, each in {"segue": predictor, "rfdetr": peer}.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    once = partial(each.predict, pictures[:count], threshold=0.0)
                    row[name] = timed(once, device, 3.0, 5)["ms"] / count
            batch = gpu_cases.images_of(case, side, count).inputs
            for precision in ("fp32", "bf16"):
                row[f"network {precision}"] = network(predictor, batch, device, precision) / count
            yield f"{size}, ms an image of {count}", row
        freed(device)


def rfdetr_package(folder: Path, predictor: Predictor, device: str) -> Any:
    """The rfdetr package's predictor with our weights."""
    import rfdetr

    spec = predictor.chain.spec
    options = spec.options
    names = {
        "resolution": options["resolution"],
        "num_queries": options["queries"],
        "group_detr": options["groups"],
    }
    weights = {name: tensor.cpu() for name, tensor in predictor.chain.state_dict().items()}
    torch.save(rfdetr_file(weights, CLASSES, names), folder / f"{spec.size}.pth")
    kind = {"nano": "RFDETRNano", "seg-nano": "RFDETRSegNano"}[spec.size]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(rfdetr, kind)(
            pretrain_weights=str(folder / f"{spec.size}.pth"),
            num_classes=len(CLASSES),
            device=device.split(":")[0],
        )


def network(
    predictor: Predictor, inputs: dict[str, torch.Tensor], device: str, precision: str
) -> float:
    """Milliseconds of the network and the choice of its best answers, for images already on the
    device.
    """
    family, chain = models.get(predictor.chain.spec.family), predictor.chain
    pixels = {name: tensor.to(device) for name, tensor in inputs.items()}
    sizes = [PIXELS[::-1]] * len(pixels["images"])
    dtype = gpu_cases.DTYPES[precision]

    def once() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device.split(":")[0], dtype, enabled=precision != "fp32"),
        ):
            state = chain(pixels)
        family.postprocess(chain, state, sizes, 300)

    return timed(once, device, 2.0, 5)["ms"]


def evaluated(folder: Path, device: str, quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Seconds for 5,000 images as these are, of reading for training and of evaluation, with random
    weights.
    """
    count, workers, at_once, side = (4, 0, 2, 128) if quick else (96, 8, 32, 512)
    data = read_dataset(Data(root=render_dataset(folder, {"train": count, "valid": 2}, side=side)))
    records = data.splits["train"].records
    whole = 5000 / count
    for size, task in (
        (("pico", "boxes"), ("pico", "joint"))
        if quick
        else (("nano", "boxes"), ("seg-nano", "joint"))
    ):
        chain = gpu_cases.chain_of(
            Case("", "rfdetr", size, 1, task=task, options={"groups": 1}), device
        ).eval()
        chain.spec = chain.spec.model_copy(update={"classes": data.classes})
        view = View(*input_size(chain), Augment())
        samples = Samples(
            records, data.classes, chain.spec.channels, view, seed=0, with_masks=chain.has_masks
        )
        row: dict[str, Any] = {}
        ways = {"reading_s": "read", "evaluation_s": "evaluate", "evaluation_again_s": "evaluate"}
        for name, way in ways.items():
            synchronize(device)
            began = time.perf_counter()
            if way == "read":
                for batch in loader(
                    samples, StepSampler(count, at_once, seed=0, epoch=0), workers, device
                ):
                    batch.to(device)
            else:
                kinds = ("box", "mask") if chain.has_masks else ("box",)
                figures = CocoMetrics(records, data.classes, kinds, 100)
                evaluate(chain, records, figures, at_once, workers).figures()
            synchronize(device)
            row[name] = whole * (time.perf_counter() - began)
        yield f"{size} {task}, of 5,000 images", row


def two_processes(folder: Path) -> dict[str, Any]:
    """The losses of a run of two processes, each on its own GPU, and those of one."""
    data = render_dataset(folder / "data", {"train": 16, "valid": 4}, side=128, seed=3)
    stage = {
        "name": "both",
        "task": "joint",
        "epochs": 1,
        "images_per_step": 5,
        "workers": 0,
        "precision": "fp32",
    }
    model = {"family": "rfdetr", "size": "pico", "resolution": 128, "groups": 2, "queries": 30}
    losses: dict[int, list[float]] = {}
    for count in (1, 2):
        runs = folder / f"runs-{count}"
        plan = {
            "name": "two",
            "data": {"root": str(data)},
            "runs": str(runs),
            "model": model,
            "stages": [stage],
        }
        (folder / f"{count}.yaml").write_text(yaml.safe_dump(plan))
        starter = (
            []
            if count == 1
            else ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
        )
        command = [sys.executable, "-m", *starter, "segue", "run", str(folder / f"{count}.yaml")]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        losses[count] = [
            float(row["loss"]) for row in read_rows(runs / "two-1" / "1-both" / "steps.csv")
        ]
    return {"one": losses[1], "two": losses[2]}
