"""Stage 1: train a detector on boxes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segue.compat.common import plan_errors
from segue.compat.detector_then_masks.common import (
    PROJECTOR,
    SIZES,
    add_training,
    find_weights,
    fresh_parts,
    run_as_promised,
    training,
)
from segue.errors import show
from segue.models.rfdetr import SIZES as FAMILY_SIZES
from segue.plan.schema import Data, Model, Plan, StagePlan
from segue.training.optim import Optimizer


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small")
    add_training(parser, epochs=1, batch=1, accum=4, multi_scale=False)
    parser.add_argument(
        "--pretrain_exclude_keys", default=PROJECTOR, help="comma-separated prefixes"
    )
    parser.add_argument(
        "--pretrain_weights", default="auto", help="a file, a folder, a hub id, or none"
    )
    return parser.parse_args()


def command() -> None:
    args = parse()
    weights = find_weights(args.size, args.pretrain_weights)
    fresh = fresh_parts(args.pretrain_exclude_keys) if weights else ()
    with plan_errors(Path(sys.argv[0]).name):
        stage = StagePlan(
            name="detector",
            task="boxes",
            fresh=fresh,
            # rfdetr's rates: encoder 1.5e-4 and decoder 1e-4 with component decay 0.7 (twice for
            # the encoder)
            optimizer=Optimizer(
                lr=1e-4, lr_factors={"backbone": 0.735, "decoder": 0.7}, layer_decay=0.8
            ),
            **training(args),
        )
        plan = Plan(
            name=f"detector_{args.size}_{FAMILY_SIZES[args.size].resolution}",
            seed=42,
            data=Data(root=args.dataset),
            model=Model(size=args.size, weights=weights),
            stages=(stage,),
        )
    out, _ = run_as_promised(plan)
    show(f"best checkpoint: {out / 'best.pt'}")
