"""Stage 2: train a mask head on the frozen detector of stage 1."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import (
    SIZES,
    add_switch,
    add_training,
    main,
    positive,
    print_test,
    run_as_promised,
    training,
)

from segue.errors import CheckpointError, show
from segue.run.build import pick_device
from segue.training import checkpoint

SEARCHED = (
    "best.pt", "best.pth", "checkpoint_best_regular.pth", "checkpoint_best_total.pth", "last.pt", "last.pth",
    "checkpoint.pt", "checkpoint.pth",
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
    add_switch(parser, "--run_test", True, "print the figures of the test part")
    heads = ("dot", "attention", "attention-nano")
    parser.add_argument(
        "--mask_head", choices=heads, help="default: attention-nano for nano, else attention"
    )
    return parser.parse_args()


def find_checkpoint(run: Path) -> Path:
    """The first of the names stage 1 may have left, else any .pt or .pth."""
    named = [run / name for name in SEARCHED]
    found = [
        p for p in (*named, *sorted(run.glob("*.pt")), *sorted(run.glob("*.pth"))) if p.is_file()
    ]
    if not found:
        raise CheckpointError(
            run, "no checkpoint", ", ".join(SEARCHED[:3]), "train_detector_stage1.py first"
        )
    return found[0]


def command() -> None:
    args = parse()
    start = args.checkpoint or find_checkpoint(args.stage1_run)
    small = args.size in ("nano", "pico")
    model = {"size": args.size, "weights": str(start), "resolution": args.resolution}
    model["mask_head"] = args.mask_head or ("attention-nano" if small else "attention")
    stage = {
        "name": "masks",
        "task": "masks",
        "freeze": "decoder",
        "fresh": ["mask_head"],
        "optimizer": {"lr": args.seg_lr},
        "schedule": {"warmup_epochs": min(5, args.epochs // 2)},
        "loss": {"mask_bce": args.mask_loss_coef, "dice": args.dice_loss_coef},
        **training(args),
    }
    resolution = args.resolution or _resolution(args.size)
    out, folder = run_as_promised(
        {
            "name": f"segmentation_{args.size}_{resolution}",
            "seed": 42,
            "data": {"root": args.dataset},
            "model": {key: value for key, value in model.items() if value is not None},
            "stages": [stage],
        }
    )
    write_config(out / "stage2_config.json", args, start, folder, resolution)
    show(f"best checkpoint: {out / 'best.pt'}")
    if args.run_test:
        print_test(out)


def _resolution(size: str) -> int:
    from segue.models.rfdetr import SIZES as FAMILY_SIZES

    return FAMILY_SIZES[size].resolution


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
        "args": {
            key: str(value) if isinstance(value, Path) else value
            for key, value in vars(args).items()
        },
    }
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(command)
