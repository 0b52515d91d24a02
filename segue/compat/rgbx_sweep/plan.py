"""What the commands of this recipe mean as a plan, and the flags they share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from segue.compat.common import chosen, plan_errors
from segue.compat.flags import at_least, decay, positive, share_below
from segue.data.formats import WHOLE, yolo
from segue.data.splitting import SplitShares
from segue.errors import PlanError
from segue.models import rgbx_rcnn
from segue.plan.schema import Data, Model, Plan, StagePlan
from segue.structures.channels import Channel
from segue.training.optim import Optimizer, Schedule
from segue.training.stage import EarlyStop

BACKBONES = ("mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5")
ALL = ("mit_b0", "mit_b1", "mit_b2", "mit_b4", "mit_b5")  # what the text trains when none is named
CHANNELS = ("r", "g", "b", "thermal", "event")
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
TEST_SHARE, SEED = 0.2, 42
STAGE = "train"
# What commands without these flags take.
DEFAULTS: dict[str, Any] = {"lr_step_size": 10, "lr_gamma": 0.1, "num_workers": 4}


def side(text: str) -> int:
    """A type for the side of the square input, in pixels."""
    value = int(text)
    if value % rgbx_rcnn.STRIDE or value < rgbx_rcnn.LEAST:
        message = f"{text} is no multiple of {rgbx_rcnn.STRIDE} from {rgbx_rcnn.LEAST} on"
        raise argparse.ArgumentTypeError(message)
    return value


def add_data(parser: argparse.ArgumentParser, **data: Any) -> None:
    """Flags that say which images there are, and which of them are measured on."""
    parser.add_argument("--data", type=Path, help="folder with images/ and labels/", **data)
    parser.add_argument(
        "--channels", nargs="+", default=CHANNELS, metavar="NAME", help="of the images, in order"
    )
    parser.add_argument(
        "--valid-share",
        type=share_below(1 - TEST_SHARE),
        default=0.1,
        help="of the images, next to 0.2 for the test",
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
    parser.add_argument("--lr", type=positive(float), default=0.005)
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
    with plan_errors("command line"):
        schedule = Schedule(kind="constant")
        if given["lr_gamma"] < 1:
            schedule = Schedule(
                kind="step", every_epochs=given["lr_step_size"], factor=given["lr_gamma"]
            )
        weights, options = args.weights, rgbx_rcnn.Options(resolution=args.resolution)
        stage = StagePlan(
            name=STAGE,
            task="boxes",
            epochs=args.epochs,
            images_per_step=args.batch_size,
            workers=given["num_workers"],
            precision="fp32",
            ema=None,
            augment=None,
            early_stop=EarlyStop(patience=0),
            fresh=fresh_parts(weights),
            optimizer=Optimizer(
                kind="sgd", lr=args.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, clip=0
            ),
            schedule=schedule,
        )
        return Plan(
            name=name,
            seed=SEED,
            device=args.device,
            runs=runs,
            data=data_of(args, channels_of(args)),
            model=Model(family="rgbx_rcnn", size=backbone, weights=weights, **chosen(options)),
            stages=(stage,),
        )


def channels_of(args: argparse.Namespace) -> tuple[Channel, ...]:
    """The channels of --channels; r, g and b have ImageNet's mean and deviation."""
    return tuple(Channel.model_validate(name) for name in args.channels)


def data_of(args: argparse.Namespace, channels: tuple[Channel, ...]) -> Data:
    """The plan's data: undivided folders are divided here, as the text's are; others stay as they
    are.
    """
    division = None
    if set(yolo.splits(args.data)) == {WHOLE}:
        division = SplitShares(valid=args.valid_share, test=TEST_SHARE, seed=SEED, group=args.group)
    return Data(root=args.data, format="yolo", channels=channels, split=division)


def fresh_parts(weights: str | None) -> list[str]:
    """What weights of an encoder alone do not have."""
    whole = weights is None or weights.endswith(".pth") or (Path(weights) / "run.json").is_file()
    return [] if whole else ["fusion", "neck", "head"]
