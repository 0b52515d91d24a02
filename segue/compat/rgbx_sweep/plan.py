"""What the commands of this recipe mean as a plan, and the flags they share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from segue.compat.common import at_least
from segue.data.formats import WHOLE, yolo
from segue.errors import PlanError
from segue.models import rgbx_rcnn
from segue.plan.reading import from_values
from segue.plan.schema import Plan

BACKBONES = ("mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5")
ALL = ("mit_b0", "mit_b1", "mit_b2", "mit_b4", "mit_b5")  # what the text trains when none is named
CHANNELS = ("r", "g", "b", "thermal", "event")
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
TEST_SHARE, SEED = 0.2, 42
STAGE = "train"
# What commands without these flags take.
DEFAULTS: dict[str, Any] = {"lr_step_size": 10, "lr_gamma": 0.1, "num_workers": 4}


def share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1 - TEST_SHARE:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {1 - TEST_SHARE:g}")
    return value


def above_zero(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def decay(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def side(text: str) -> int:
    value = int(text)
    if value % rgbx_rcnn.STRIDE or value < rgbx_rcnn.LEAST:
        found = f"{text} is no multiple of {rgbx_rcnn.STRIDE} from {rgbx_rcnn.LEAST} on"
        raise argparse.ArgumentTypeError(found)
    return value


def add_data(parser: argparse.ArgumentParser, **data: Any) -> None:
    """Flags that say which images there are, and which of them are measured on."""
    parser.add_argument("--data", type=Path, help="folder with images/ and labels/", **data)
    parser.add_argument(
        "--channels", nargs="+", default=CHANNELS, metavar="NAME", help="of the images, in order"
    )
    parser.add_argument(
        "--valid-share", type=share, default=0.1, help="of the images, beside 0.2 for the test"
    )
    parser.add_argument(
        "--group",
        default="(.*)",
        metavar="REGEX",
        help="finds the scene in a name; scenes stay whole",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0")
    parser.add_argument("--batch-size", type=at_least(1), default=2)


def add_training(parser: argparse.ArgumentParser, epochs: int) -> None:
    """Flags that say how to train."""
    parser.add_argument("--epochs", type=at_least(1), default=epochs)
    parser.add_argument("--lr", type=above_zero, default=0.005)
    parser.add_argument(
        "--resolution", type=side, help="side of the square input in pixels; 640 if left out"
    )
    parser.add_argument(
        "--weights",
        help="what to begin from: a .pth of these commands, a run, or SegFormer's weights",
    )


def add_schedule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lr-step-size", type=at_least(1), default=DEFAULTS["lr_step_size"], help="epochs"
    )
    parser.add_argument("--lr-gamma", type=decay, default=DEFAULTS["lr_gamma"])
    parser.add_argument("--num-workers", type=at_least(0), default=DEFAULTS["num_workers"])


def add_backbones(parser: argparse.ArgumentParser, default: tuple[str, ...] | None = ALL) -> None:
    parser.add_argument(
        "--backbones", nargs="+", choices=BACKBONES, default=default, metavar="mit_bN"
    )


def plan_of(args: argparse.Namespace, backbone: str, runs: Path, name: str) -> Plan:
    """The one-stage plan that these flags mean for a backbone.

    Raises:
        PlanError: if a value cannot be, or the command was started in several processes.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise PlanError(
            "torchrun", "several processes", "one", "segue run with a plan, which takes any number"
        )
    given = {**DEFAULTS, **vars(args)}
    stage: dict[str, Any] = {
        "name": STAGE,
        "task": "boxes",
        "epochs": given["epochs"],
        "images_per_step": given["batch_size"],
        "workers": given["num_workers"],
        "precision": "fp32",
        "ema": None,
        "augment": None,
        "early_stop": {"patience": 0},
        "fresh": fresh_parts(given["weights"]),
        "optimizer": {
            "kind": "sgd", "lr": given["lr"], "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY, "clip": 0,
        },
        "schedule": {"kind": "step", "every_epochs": given["lr_step_size"], "factor": given["lr_gamma"]}
        if given["lr_gamma"] < 1
        else {"kind": "constant"},
    }  # fmt: skip
    model = {
        "family": "rgbx_rcnn",
        "size": backbone,
        "resolution": given["resolution"],
        "weights": given["weights"],
    }
    content = {
        "name": name,
        "seed": SEED,
        "device": given["device"],
        "runs": runs,
        "data": data_of(args),
        "model": {key: value for key, value in model.items() if value is not None},
        "stages": [stage],
    }
    return from_values(content, "command line")


def data_of(args: argparse.Namespace) -> dict[str, Any]:
    """The plan's data: undivided folders are divided here, as the text's are; others stay as they
    are.
    """
    content: dict[str, Any] = {"root": args.data, "format": "yolo", "channels": list(args.channels)}
    if set(yolo.splits(args.data)) == {WHOLE}:
        content["split"] = {
            "valid": args.valid_share,
            "test": TEST_SHARE,
            "seed": SEED,
            "group": args.group,
        }
    return content


def fresh_parts(weights: str | None) -> list[str]:
    """What weights of an encoder alone do not have."""
    whole = weights is None or weights.endswith(".pth") or (Path(weights) / "run.json").is_file()
    return [] if whole else ["fusion", "neck", "head"]
