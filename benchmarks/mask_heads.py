"""What each mask head learns on the same frozen detector, in how many epochs, and what its steps
cost.

    segue demo && python benchmarks/mask_heads.py segue-demo/runs/demo-1 [--epochs 5]

Every head is trained as the demo's second stage is, from the demo's own detector; dot, which starts
from nothing, also for twice as long.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from segue.evaluation.outcome import read_outcome
from segue.plan.reading import load_plan
from segue.plan.schema import Plan
from segue.run.console import Console
from segue.run.runner import run_plan
from segue.training.journal import read_rows


def masks_plan(demo: Path, head: str, epochs: int, runs: Path) -> Plan:
    """The demo's plan without its first stage, with another head."""
    plan = load_plan(demo / "plan.yaml").model_dump()
    masks = {**plan["stages"][1], "start": str(demo / "1-detector" / "selected"), "epochs": epochs}
    masks["early_stop"] = {"patience": 0}
    model = {**plan["model"], "mask_head": head}
    return Plan.model_validate(
        {**plan, "name": f"{head}-{epochs}", "runs": runs, "model": model, "stages": [masks]}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    detector = test_figures(args.run / "1-detector")
    print(f"detector: box_ap {detector['box_ap']:.3f}, box_ap50 {detector['box_ap50']:.3f} (test)")
    print("| mask_head | epochs | parameters | untrained | mask_ap | mask_ap50 | ms a step |")
    with tempfile.TemporaryDirectory() as runs:
        for head, epochs in (
            ("dot", args.epochs),
            ("dot", 2 * args.epochs),
            ("attention-nano", args.epochs),
            ("attention", args.epochs),
        ):
            folder = (
                run_plan(masks_plan(args.run, head, epochs, Path(runs)), Console(quiet=True))
                / "1-masks"
            )
            head_size = read_outcome(folder).parts["mask_head"].parameters
            before = read_rows(folder / "epochs.csv")[0]["mask_ap50"]
            step = statistics.median(row["seconds"] for row in read_rows(folder / "steps.csv"))
            figures = test_figures(folder)
            print(
                f"| {head} | {epochs} | {head_size:,} | "
                f"{before:.3f} | "
                f"{figures['mask_ap']:.3f} | {figures['mask_ap50']:.3f} | {1000 * step:.0f} |",
                flush=True,
            )


def test_figures(stage: Path) -> dict[str, float]:
    """COCO's figures of a stage on the test split, which the demo's data have."""
    measured = read_outcome(stage).test
    if measured is None:
        raise SystemExit(f"{stage}: not measured on a test split")
    return measured.figures


if __name__ == "__main__":
    main()
