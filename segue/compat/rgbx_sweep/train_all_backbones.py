"""Train backbones one after another, and keep the best weights of each."""

from __future__ import annotations

import argparse
from datetime import datetime
from functools import partial
from pathlib import Path

from segue.compat.rgbx_sweep.attempts import (
    Result,
    attempted,
    ranked,
    refuse_bad_data,
    write_selected,
)
from segue.compat.rgbx_sweep.plan import add_backbones, add_data, add_training, plan_of
from segue.errors import show
from segue.run.console import Console
from segue.run.runner import run_plan


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data(parser, required=True)
    add_training(parser, epochs=5)
    add_backbones(parser)
    parser.add_argument("--checkpoint-dir", type=Path, default=Path("checkpoints"))
    return parser.parse_args()


def command() -> int:
    args = parse()
    refuse_bad_data(args, args.backbones[0])

    def train(backbone: str) -> Result:
        run = run_plan(plan_of(args, backbone, args.checkpoint_dir / "runs", backbone), Console())
        target = args.checkpoint_dir / f"crossattentiondet_{backbone}.pth"
        return {"path": str(target), **write_selected(run, target, backbone)}

    results = [attempted(backbone, partial(train, backbone)) for backbone in args.backbones]
    lines = summary_lines(args, results)
    path = args.checkpoint_dir / f"training_summary_{datetime.now():%Y%m%d_%H%M%S}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    show("\n".join([*lines, str(path)]))
    return 0 if all(result["success"] for result in results) else 1


def summary_lines(args: argparse.Namespace, results: list[Result]) -> list[str]:
    head = (
        f"{args.data}: {args.epochs} epochs, batch size {args.batch_size}, learning rate "
        f"{args.lr:g}"
    )
    lines = ranked(
        results,
        lambda result: -result["val_ap"],
        lambda result: (
            f"{result['backbone']}: val AP {result['val_ap']:.4f} (epoch {result['epoch']}), "
            f"{result['path']}"
        ),
    )
    failed = [f"  FAILED {r['backbone']}: {r['error']}" for r in results if not r["success"]]
    return [head, "Best by validation AP:", *lines, *failed]
