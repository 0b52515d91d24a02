"""Is it worth it: noisy algorithmic labels first, then a few made by hand?

    python benchmarks/noisy_then_manual.py [--folder FOLDER] [--steps 600 200] [--seed 0] [--each]

Renders fields of dim cells around bright nuclei, labels most of them with `segue label auto --kind
blobs` (which takes many a nucleus for the cell, and halves and background for cells), takes the
truth of a few as labels made by hand, and trains Mask2Former pico on the CPU in four ways: on the
manual labels alone (for as many steps as both stages together), on the algorithmic labels alone, on
one after the other, and so without the noise handling of the first stage. mask_ap on test images
that none has seen, with paired intervals. With --each also what each part of the noise handling
does to the first stage alone. Runs go on where they stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rendered_fields import render_fields

from segue.cli.app import guarded
from segue.cli.app import main as segue
from segue.data.dataset import Data, DataSet, read_dataset
from segue.evaluation.bootstrap import compare
from segue.evaluation.coco_metrics import CocoMetrics
from segue.inference.loading import load
from segue.plan.schema import Plan
from segue.run import build
from segue.run.console import Console
from segue.run.runner import run_plan

UNLABELLED, IMAGES = 160, {"train": 5, "valid": 5, "test": 80}
SIDE = 128
OBJECTS = (3, 8)
NOISE = {"quality": True, "boundary": 1.0, "missed": 0.5}
NO_NOISE = {"quality": False}
WAYS = ("manual alone", "algorithmic alone", "algorithmic, then manual", "the same, noise ignored")


def data_of(folder: Path, seed: int) -> tuple[Path, Path]:
    """Data sets of algorithmic and of manual labels; the latter has the test images, too."""
    manual, algorithmic = folder / "manual", folder / "algorithmic"
    if not (manual / "test" / "_annotations.coco.json").is_file():
        render_fields(manual, {"unlabelled": UNLABELLED}, "cells", SIDE, seed + 1000, OBJECTS)
        render_fields(manual, IMAGES, "cells", SIDE, seed, OBJECTS)
    if not (algorithmic / "annotations").is_dir():
        flags = ["--kind", "blobs", "--class", "cell", "--valid", "0.1", "--out", str(algorithmic)]
        assert segue(["label", "auto", str(manual / "unlabelled"), *flags]) == 0
    return algorithmic, manual


def plan_of(name: str, folder: Path, seed: int, trained: list[dict[str, Any]]) -> Plan:
    """A plan of pico on the CPU with these stages."""
    common = {
        "task": "joint",
        "images_per_step": 8,
        "workers": 0,
        "evaluate_every_steps": 100,
        "optimizer": {"lr": 1e-3, "clip": 1.0},
        "augment": {"crop": 0.3, "vertical_flip": 0.5},
    }
    return Plan.model_validate(
        {
            "name": name,
            "seed": seed,
            "device": "cpu",
            "runs": folder / "runs",
            "data": trained[0]["data"],
            "model": {"family": "mask2former", "size": "pico", "queries": 20},
            "stages": [{**common, **stage} for stage in trained],
        }
    )


def noisy_stage(data: Path, steps: int, noise: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "algorithmic",
        "data": {"root": str(data), "classes": ["cell"]},
        "steps": steps,
        "noise": noise,
    }


def each(folder: Path, steps: int, seed: int) -> dict[str, Path]:
    """The selected checkpoint of the first stage with none, each one, and all of the switches."""
    algorithmic, _ = data_of(folder, seed)
    ignored, both = folder / "runs" / "ignored-1", folder / "runs" / "both-1"
    folders = {"no noise handling": ignored / "1-algorithmic" / "selected"}
    for name, value in NOISE.items():
        noise = {**NO_NOISE, name: value}
        run = run_plan(
            plan_of(name, folder, seed, [noisy_stage(algorithmic, steps, noise)]), Console()
        )
        folders[f"{name}: {value}"] = run / "1-algorithmic" / "selected"
    return {**folders, "all three": both / "1-algorithmic" / "selected"}


def checkpoints(folder: Path, steps: tuple[int, int], seed: int) -> dict[str, Path]:
    """The selected checkpoint of each way."""
    algorithmic, manual = data_of(folder, seed)
    first, second = steps

    def clean(steps: int, lr: float) -> dict[str, Any]:
        data = {"root": str(manual), "classes": ["cell"]}
        return {
            "name": "manual",
            "data": data,
            "steps": steps,
            "optimizer": {"lr": lr, "clip": 1.0},
        }

    heeded, unheeded = (noisy_stage(algorithmic, first, noise) for noise in (NOISE, NO_NOISE))
    console = Console()
    alone = run_plan(plan_of("alone", folder, seed, [clean(first + second, 1e-3)]), console)
    both = run_plan(plan_of("both", folder, seed, [heeded, clean(second, 5e-4)]), console)
    ignored = run_plan(plan_of("ignored", folder, seed, [unheeded, clean(second, 5e-4)]), console)
    folders = (alone / "1-manual", both / "1-algorithmic", both / "2-manual", ignored / "2-manual")
    return {way: path / "selected" for way, path in zip(WAYS, folders, strict=True)}


def measured(checkpoint: Path, data: DataSet) -> CocoMetrics:
    """Detections of a checkpoint in the test images."""
    return build.measure(data, "test", load(checkpoint, "cpu").chain, 8, 0, lambda: None)


def table(ways: dict[str, Path], data: DataSet) -> dict[str, CocoMetrics]:
    """Measure each way, and print a line for it."""
    print(
        f"\n| {len(data.splits['test'].records)} test images | mask_ap | mask_ap50 "
        "|\n|---|---:|---:|"
    )
    metrics = {}
    for way, path in ways.items():
        metrics[way] = measured(path, data)
        figures = metrics[way].figures()
        print(f"| {way} | {figures['mask_ap']:.3f} | {figures['mask_ap50']:.3f} |", flush=True)
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("noisy-then-manual"))
    parser.add_argument("--steps", type=int, nargs=2, default=(600, 200))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--each", action="store_true", help="also each part of the noise handling by itself"
    )
    args = parser.parse_args()
    ways = checkpoints(args.folder, tuple(args.steps), args.seed)
    data = read_dataset(Data(root=args.folder / "manual"))
    metrics = table(ways, data)
    for way in (WAYS[0], WAYS[1], WAYS[3]):
        print(f"{way} -> {WAYS[2]}: {compare(metrics[way], metrics[WAYS[2]], 'mask')}", flush=True)
    if args.each:
        alone = table(each(args.folder, args.steps[0], args.seed), data)
        without = next(iter(alone))
        for way in list(alone)[1:]:
            print(f"{without} -> {way}: {compare(alone[without], alone[way], 'mask')}")


if __name__ == "__main__":
    sys.exit(guarded(main, Path(__file__).name))
