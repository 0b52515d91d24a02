"""Train one backbone; --model gets the weights with the best validation AP."""

from __future__ import annotations

from single_flags import parse
from sweep_plan import plan_of
from sweep_run import main, write_selected

from segue.console import Console
from segue.errors import show
from segue.run import run_plan


def command() -> None:
    args = parse(__doc__, {"epochs", "lr", "resolution", "weights"})
    plan = plan_of(args, args.backbone, args.model.parent / "runs", args.model.stem)
    found = write_selected(run_plan(plan, Console()), args.model, args.backbone)
    show(f"{args.model}: {args.backbone}, epoch {found['epoch']}, val AP {found['val_ap']:.4f}")


if __name__ == "__main__":
    main(command)
