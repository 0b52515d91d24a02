"""Detector and masks together, nothing frozen: the alternative to the two stages."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import (
    PROJECTOR,
    SIZES,
    add_switch,
    add_training,
    find_weights,
    fresh_parts,
    main,
    positive,
    print_test,
    run_as_promised,
    training,
    warn,
)

from segue.errors import PlanError, show
from segue.models.rfdetr import SIZES as FAMILY_SIZES
from segue.models.weights.rfdetr import layout_of
from segue.plan.schema import Model
from segue.run.build import pick_device
from segue.run.opening import open_weights


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
    add_switch(parser, "--run_test", False, "print the figures of the test part")
    return parser.parse_args()


def device(asked: str) -> str:
    found = pick_device("auto")
    if asked.startswith("cuda") and found == "cpu":
        show("no GPU here: training on the CPU")
        return "cpu"
    return asked


def stage(args: argparse.Namespace, fresh: list[str]) -> dict:
    return {
        "name": "joint",
        "task": "joint",
        "fresh": fresh,
        "optimizer": {
            "lr": args.lr,
            "lr_factors": {"backbone": args.lr_encoder / args.lr},
            "weight_decay": args.weight_decay,
        },
        "schedule": {
            "kind": args.lr_scheduler,
            "warmup_epochs": min(args.warmup_epochs, args.epochs / 2),
        },
        "early_stop": {"patience": args.patience if args.early_stopping else 0},
        "loss": {
            "classes": args.cls_loss_coef,
            "l1": args.bbox_loss_coef,
            "giou": args.giou_loss_coef,
            "mask_bce": args.mask_loss_coef,
            "dice": args.dice_loss_coef,
        },
        **training(args),
    }


def command() -> None:
    args = parse()
    resolution = FAMILY_SIZES[args.size].resolution
    if args.resolution != "auto":
        if not args.resolution.isdigit():
            raise PlanError("--resolution", args.resolution, "auto or a number of pixels")
        resolution = int(args.resolution)
    weights = args.init_ckpt or find_weights(args.size, args.pretrain_weights)
    excluded = [] if args.init_ckpt else fresh_parts(args.pretrain_exclude_keys)
    queries = min(args.num_queries, FAMILY_SIZES[args.size].queries)
    if queries < args.num_queries:
        warn(f"--num_queries {args.num_queries}: {args.size} has {queries}")
    has_head = bool(args.init_ckpt) and "mask_head" in layout_of(
        open_weights(args.init_ckpt, Model()).tensors
    )
    out, _ = run_as_promised(
        {
            "name": f"joint_{args.size}_{resolution}",
            "seed": args.seed,
            "device": device(args.device),
            "data": {"root": args.dataset},
            "model": {
                "size": args.size,
                "weights": weights,
                "resolution": resolution,
                "queries": queries,
            },
            "stages": [
                stage(args, [*excluded, *([] if has_head else ["mask_head"])] if weights else [])
            ],
        },
        None if args.output_dir == "auto" else Path(args.output_dir),
    )
    show(f"best checkpoint: {out / 'best.pt'}")
    if args.run_test:
        print_test(out)


if __name__ == "__main__":
    main(command)
