"""Detector and masks together, nothing frozen: the alternative to the two stages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from segue.compat.common import chosen, plan_errors, warn
from segue.compat.detector_then_masks.common import (
    PROJECTOR,
    SIZES,
    add_training,
    find_weights,
    fresh_parts,
    print_test,
    run_as_promised,
    training,
)
from segue.compat.flags import add_switch, positive
from segue.errors import PlanError, show
from segue.models.rfdetr import SIZES as FAMILY_SIZES
from segue.models.rfdetr import Options
from segue.models.weights.rfdetr import layout_of
from segue.plan.schema import Data, Model, Plan, StagePlan
from segue.run.build import pick_device
from segue.run.opening import open_weights
from segue.training.optim import Optimizer, Schedule
from segue.training.stage import EarlyStop


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="nano")
    parser.add_argument("--output_dir", default="auto")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--resolution", default="auto")
    parser.add_argument("--pretrain_weights", default="auto")
    parser.add_argument("--pretrain_exclude_keys", nargs="*", default=[PROJECTOR])
    parser.add_argument(
        "--init_ckpt", default="", help="weights to start from instead of pretrained ones"
    )
    add_training(parser, epochs=50, batch=1, accum=8, multi_scale=True)
    for name, default in {"lr": 5e-5, "lr_encoder": 1e-4, "weight_decay": 1e-4}.items():
        parser.add_argument(f"--{name}", type=positive(float), default=default)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--num_queries", type=int, default=300)
    for name, default in {"mask": 1.0, "dice": 1.0, "cls": 1.0, "bbox": 5.0, "giou": 2.0}.items():
        parser.add_argument(f"--{name}_loss_coef", type=float, default=default)
    parser.add_argument("--lr_scheduler", choices=("cosine", "step"), default="cosine")
    parser.add_argument("--warmup_epochs", type=float, default=5)
    add_switch(parser, "--early_stopping", True)
    parser.add_argument("--patience", type=int, default=10)
    add_switch(parser, "--tensorboard", False, "no effect: tb/ is always written")
    add_switch(parser, "--run_test", False, "print the figures of the test split")
    return parser.parse_args()


def device_of(given: str) -> str:
    """The device of a plan; the CPU stands in for a GPU that is not there."""
    if given.startswith("cuda") and pick_device("auto") == "cpu":
        show("no GPU here: training on the CPU")
        return "cpu"
    return given


def stage_of(args: argparse.Namespace, fresh: Sequence[str]) -> StagePlan:
    return StagePlan(
        name="joint",
        task="joint",
        fresh=fresh,
        optimizer=Optimizer(
            lr=args.lr,
            lr_factors={"backbone": args.lr_encoder / args.lr},
            weight_decay=args.weight_decay,
        ),
        schedule=Schedule(
            kind=args.lr_scheduler, warmup_epochs=min(args.warmup_epochs, args.epochs / 2)
        ),
        early_stop=EarlyStop(patience=args.patience if args.early_stopping else 0),
        loss={
            "classes": args.cls_loss_coef,
            "l1": args.bbox_loss_coef,
            "giou": args.giou_loss_coef,
            "mask_bce": args.mask_loss_coef,
            "dice": args.dice_loss_coef,
        },
        **training(args),
    )


def resolution_of(args: argparse.Namespace) -> int:
    """Side of the input in pixels.

    Raises:
        PlanError: if --resolution is neither auto nor a number.
    """
    if args.resolution == "auto":
        return FAMILY_SIZES[args.size].resolution
    if not args.resolution.isdigit():
        raise PlanError("--resolution", args.resolution, "auto or a number of pixels")
    return int(args.resolution)


def has_mask_head(checkpoint: str) -> bool:
    return "mask_head" in layout_of(open_weights(checkpoint, Model()).tensors)


def command() -> None:
    args = parse()
    resolution = resolution_of(args)
    weights = args.init_ckpt or find_weights(args.size, args.pretrain_weights)
    fresh = [] if args.init_ckpt else fresh_parts(args.pretrain_exclude_keys)
    queries = min(args.num_queries, FAMILY_SIZES[args.size].queries)
    if queries < args.num_queries:
        warn(f"--num_queries {args.num_queries}: {args.size} has {queries}")
    if not (args.init_ckpt and has_mask_head(args.init_ckpt)):
        fresh.append("mask_head")
    device = device_of(args.device)
    with plan_errors(Path(sys.argv[0]).name):
        options = Options(resolution=resolution, queries=queries)
        plan = Plan(
            name=f"joint_{args.size}_{resolution}",
            seed=args.seed,
            device=device,
            data=Data(root=args.dataset),
            model=Model(size=args.size, weights=weights, **chosen(options)),
            stages=(stage_of(args, fresh if weights else ()),),
        )
    out, _ = run_as_promised(plan, None if args.output_dir == "auto" else Path(args.output_dir))
    show(f"best checkpoint: {out / 'best.pt'}")
    if args.run_test:
        print_test(out)
