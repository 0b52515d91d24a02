"""What the commands of this recipe share: their flags' types, running a plan, and the file names
people expect.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Literal

from typing_extensions import TypedDict

from segue.compat.common import warn
from segue.compat.flags import add_switch, positive
from segue.errors import CheckpointError, PlanError, show
from segue.evaluation.outcome import METRICS, read_outcome
from segue.models.weights import foreign, hub
from segue.models.weights.rfdetr import rfdetr_file
from segue.plan.schema import Plan
from segue.run.console import Console
from segue.run.runner import run_plan
from segue.training import checkpoint

SIZES = ("nano", "small", "base", "medium", "large", "pico")
PROJECTOR = "backbone.0.projector.*"
# Prefixes of rfdetr's tensor names, and the parts of ours that they are.
PARTS = {
    "backbone.0.projector": "projector",
    "backbone.0.encoder": "backbone",
    "transformer": "decoder",
}


def add_training(
    parser: argparse.ArgumentParser, epochs: int, batch: int, accum: int, multi_scale: bool
) -> None:
    parser.add_argument("--epochs", type=positive(int), default=epochs)
    parser.add_argument(
        "--batch", type=positive(int), default=batch, help="images in memory at once"
    )
    parser.add_argument(
        "--accum", type=positive(int), default=accum, help="such micro-batches behind one step"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no_amp", action="store_true", help="float32 also on a GPU")
    add_switch(parser, "--multi_scale", multi_scale)
    add_switch(parser, "--expanded_scales", False)
    parser.add_argument("--dataset", type=Path, default=Path("dataset"))


class TrainingKeys(TypedDict, closed=True):
    """The settings of a `StagePlan` that all of this recipe's flags decide alike."""

    epochs: int
    images_per_step: int
    images_per_forward: int
    workers: int
    precision: Literal["auto", "fp32"]
    multi_scale: Literal["off", "standard", "expanded"]
    ema: None


def training(args: argparse.Namespace) -> TrainingKeys:
    """What the flags of `add_training` mean."""
    if args.expanded_scales and not args.multi_scale:
        warn("--expanded_scales has no effect without --multi_scale")
    scales = "expanded" if args.expanded_scales else "standard"
    return {
        "epochs": args.epochs,
        "images_per_step": args.batch * args.accum,
        "images_per_forward": args.batch,
        "workers": args.workers,
        "precision": "fp32" if args.no_amp else "auto",
        "multi_scale": scales if args.multi_scale else "off",
        "ema": None,
    }


def find_weights(size: str, given: str) -> str | None:
    """auto: rf-detr-<size>.pth here, else the published model from the hub, else none with a
    warning.
    """
    if given != "auto":
        return None if given in ("", "none") else given
    local = Path(f"rf-detr-{size}.pth")
    if local.is_file():
        return str(local)
    try:
        return str(hub.download(f"Roboflow/rf-detr-{size}"))
    except CheckpointError:
        warn(
            f"neither {local} here nor Roboflow/rf-detr-{size} within reach: training starts "
            "from random weights "
            "and needs far more images and epochs. Give --pretrain_weights FILE."
        )
        return None


def fresh_parts(patterns: str | list[str]) -> list[str]:
    """Parts that start with new weights because a pattern such as backbone.0.projector.* excludes
    their pretrained weights.

    Class heads need no pattern: rows are matched by class name.
    """
    listed = patterns.split(",") if isinstance(patterns, str) else patterns
    parts = []
    for pattern in filter(None, (p.strip() for p in listed)):
        stem = pattern.removesuffix("*").removesuffix(".")
        if "class_embed" in stem:
            continue
        if stem not in PARTS:
            raise PlanError("--pretrain_exclude_keys", pattern, ", ".join(f"{p}.*" for p in PARTS))
        parts.append(PARTS[stem])
    return parts


def run_as_promised(plan: Plan, out: Path | None = None) -> tuple[Path, Path]:
    """Run a one-stage plan and leave best.pt and the rest in `<runs>/<name>_<n>`; returns that and
    the stage folder.
    """
    run = run_plan(plan, Console())
    stage = run / f"1-{plan.stages[0].name}"
    out = out or run.with_name(run.name.rpartition("-")[0] + "_" + run.name.rpartition("-")[2])
    out.mkdir(parents=True, exist_ok=True)
    for source, names in {
        "selected": ("best.pt", "checkpoint_best_regular.pth"),
        "last": ("last.pt", "checkpoint.pt"),
    }.items():
        # a stage that was taken over from an earlier run has brought its selected checkpoint only
        write_file(
            stage / source if (stage / source).is_dir() else stage / "selected", out / names[0]
        )
        _link(out / names[0], out / names[1])
    shutil.copyfile(stage / METRICS, out / METRICS)
    shutil.copytree(stage / "tb", out / "tb", dirs_exist_ok=True)
    return out, stage


def print_test(out: Path) -> None:
    test = read_outcome(out).test
    if test is None:
        show("test: no test part")
        return
    show(f"test: mask_ap {test.figures['mask_ap']:.3f}, box_ap {test.figures['box_ap']:.3f}")


def write_file(folder: Path, target: Path) -> None:
    """A segue checkpoint as a file that the rfdetr package and these commands read."""
    card, tensors = checkpoint.read(folder)
    height = card.spec.options["resolution"]
    options = card.spec.options
    args = {
        "resolution": height,
        "num_queries": options["queries"],
        "group_detr": options["groups"],
    }
    args |= {"size": card.spec.size, "segmentation_head": "mask_head" in card.parts}
    content = rfdetr_file(tensors, card.spec.classes, args)
    foreign.write_pickle(target, {**content, "epoch": card.epoch})


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
