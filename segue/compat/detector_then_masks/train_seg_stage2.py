"""Stage 2: train a mask head on the frozen detector of stage 1."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from segue.compat.common import chosen, plain, plan_errors
from segue.compat.detector_then_masks.common import (
    SIZES,
    add_training,
    print_test,
    run_as_promised,
    training,
)
from segue.compat.flags import add_switch, positive
from segue.errors import CheckpointError, show
from segue.models.rfdetr import SIZES as FAMILY_SIZES
from segue.models.rfdetr import Options
from segue.plan.schema import Data, Model, Plan, StagePlan
from segue.run.build import pick_device
from segue.training import checkpoint
from segue.training.optim import Optimizer, Schedule

SEARCHED = (
    "best.pt", "best.pth", "checkpoint_best_regular.pth", "checkpoint_best_total.pth",
    "last.pt", "last.pth", "checkpoint.pt", "checkpoint.pth",
)  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--stage1_run", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    add_training(parser, epochs=50, batch=2, accum=2, multi_scale=True)
    parser.add_argument("--seg_lr", type=positive(float), default=1e-4)
    parser.add_argument("--mask_loss_coef", type=float, default=1.0)
    parser.add_argument("--dice_loss_coef", type=float, default=1.0)
    parser.add_argument("--resolution", type=int)
    add_switch(parser, "--run_test", True, "print the figures of the test split")
    heads = ("dot", "attention", "attention-nano")
    parser.add_argument(
        "--mask_head", choices=heads, help="default: attention-nano for nano, else attention"
    )
    return parser.parse_args()


def find_checkpoint(run: Path) -> Path:
    """The first of the names stage 1 may have left, else any .pt or .pth."""
    named = [run / name for name in SEARCHED]
    for path in (*named, *sorted(run.glob("*.pt")), *sorted(run.glob("*.pth"))):
        if path.is_file():
            return path
    raise CheckpointError(
        run, "no checkpoint", ", ".join(SEARCHED[:3]), "train_detector_stage1.py first"
    )


def command() -> None:
    args = parse()
    start = args.checkpoint or find_checkpoint(args.stage1_run)
    small = args.size in ("nano", "pico")
    mask_head = args.mask_head or ("attention-nano" if small else "attention")
    resolution = args.resolution or FAMILY_SIZES[args.size].resolution
    with plan_errors(Path(sys.argv[0]).name):
        stage = StagePlan(
            name="masks",
            task="masks",
            freeze="decoder",
            fresh=("mask_head",),
            optimizer=Optimizer(lr=args.seg_lr),
            schedule=Schedule(warmup_epochs=min(5, args.epochs // 2)),
            loss={"mask_bce": args.mask_loss_coef, "dice": args.dice_loss_coef},
            **training(args),
        )
        options = Options(resolution=args.resolution, mask_head=mask_head)
        plan = Plan(
            name=f"segmentation_{args.size}_{resolution}",
            seed=42,
            data=Data(root=args.dataset),
            model=Model(size=args.size, weights=str(start), **chosen(options)),
            stages=(stage,),
        )
    out, folder = run_as_promised(plan)
    write_config(out / "stage2_config.json", args, start, folder, resolution)
    show(f"best checkpoint: {out / 'best.pt'}")
    if args.run_test:
        print_test(out)


def write_config(
    path: Path, args: argparse.Namespace, start: Path, folder: Path, resolution: int
) -> None:
    """What stage 2 ran with; parameters are counted, not tensors."""
    card = checkpoint.read_card(folder / "selected")
    frozen = sum(part.parameters for part in card.parts.values() if part.frozen)
    learned = sum(part.parameters for part in card.parts.values() if not part.frozen)
    config = {
        "stage": 2,
        "size": args.size,
        "resolution": resolution,
        "stage1_checkpoint": str(start),
        "epochs": args.epochs,
        "batch_size": args.batch,
        "grad_accum": args.accum,
        "learning_rate": args.seg_lr,
        "amp_enabled": not args.no_amp and pick_device("auto") != "cpu",
        "device": pick_device("auto"),
        "num_classes": len(card.spec.classes),
        "class_names": list(card.spec.classes),
        "param_stats": {
            "detector_frozen": frozen,
            "detector_trainable": 0,
            "seg_head_trainable": learned,
            "seg_head_frozen": 0,
        },
        "args": plain(vars(args)),
    }
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
