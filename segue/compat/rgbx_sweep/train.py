"""Train one backbone; --model gets the weights with the best validation AP."""

from __future__ import annotations

from single_flags import BACKBONE, parse
from sweep_plan import plan_of
from sweep_run import main, write_selected

from segue.errors import show
from segue.run.console import Console
from segue.run.runner import run_plan


def command() -> None:
    args = parse(__doc__, {"epochs", "lr", "resolution", "weights"})
    backbone = args.backbone or BACKBONE
    plan = plan_of(args, backbone, args.model.parent / "runs", args.model.stem)
    found = write_selected(run_plan(plan, Console()), args.model, backbone)
    show(f"{args.model}: {backbone}, epoch {found['epoch']}, val AP {found['val_ap']:.4f}")


if __name__ == "__main__":
    main(command)
