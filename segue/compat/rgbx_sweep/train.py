"""Train one backbone; --model gets the weights with the best validation AP."""

from __future__ import annotations

from segue.compat.rgbx_sweep.attempts import write_selected
from segue.compat.rgbx_sweep.plan import plan_of
from segue.compat.rgbx_sweep.single_flags import BACKBONE, parse
from segue.errors import show
from segue.run.console import Console
from segue.run.runner import run_plan


def command() -> None:
    args = parse(__doc__, {"epochs", "lr", "resolution", "weights"})
    backbone = args.backbone or BACKBONE
    plan = plan_of(args, backbone, args.model.parent / "runs", args.model.stem)
    selected = write_selected(run_plan(plan, Console()), args.model, backbone)
    show(f"{args.model}: {backbone}, epoch {selected['epoch']}, val AP {selected['val_ap']:.4f}")
