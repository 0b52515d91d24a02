"""What `segue check --time` foretells, and what a run then takes.

    python benchmarks/estimate.py DATA [DATA ...] [--family rfdetr] [--resolution 320] [--epochs 3]
    [--threads 1]

A detector, then masks on the frozen detector if the data have masks (other families: both at once),
of size pico, 4 images a step, on the real images of each data set. Seconds of a stage are those of
its steps and validations, as its run says them.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from segue.cli.commands.costs import needed, taken
from segue.data.dataset import Data, read_dataset
from segue.plan.schema import Plan
from segue.run import build
from segue.run.console import Console
from segue.run.context import StageContext
from segue.run.runner import run_plan
from segue.training.journal import read_rows


def plan_of(data: Path, runs: str, args: argparse.Namespace) -> Plan:
    common = {"epochs": args.epochs, "images_per_step": 4, "workers": 0}
    listed: list[dict[str, Any]] = [{"name": "both", "task": "joint", **common}]
    if args.family == "rfdetr" and with_masks(data):
        masks = {
            "name": "masks",
            "task": "masks",
            "freeze": "decoder",
            "fresh": ["mask_head"],
            **common,
        }
        listed = [{"name": "detector", **common}, masks]
    elif args.family == "rfdetr":
        listed = [{"name": "detector", **common}]
    model = {"family": args.family, "size": "pico", "resolution": args.resolution}
    return Plan.model_validate(
        {
            "device": args.device,
            "data": {"root": str(data)},
            "runs": runs,
            "model": model,
            "stages": listed,
        }
    )


def with_masks(data: Path) -> bool:
    records = read_dataset(Data(root=data)).splits["train"].records
    return any(
        annotation.mask is not None for record in records for annotation in record.annotations
    )


class Timed(Console):
    """Keeps the seconds that a stage's last line says."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.seconds: dict[str, str] = {}

    @override
    def say(self, line: str) -> None:
        if "  epoch " in line:
            self.seconds[line.split("  ")[0]] = line.split("  ")[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--family", default="rfdetr")
    parser.add_argument("--resolution", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    for path in args.data:
        with tempfile.TemporaryDirectory() as runs:
            plan, console = plan_of(path, runs, args), Timed()
            data = read_dataset(plan.data)
            for stage in plan.stages:
                context = StageContext(plan, stage, data, args.device, plan.runs, lambda line: None)
                chain = build.build_model(context, None)
                chain.freeze_through(stage.freeze)
                print(f"{path.name} {stage.name}: foretold")
                for line in needed(context, chain) + taken(context, chain):
                    print(f"  {line}")
            run = run_plan(plan, console)
            for number, stage in enumerate(plan.stages, 1):
                name = f"{number}-{stage.name}"
                steps = [float(row["seconds"]) for row in read_rows(run / name / "steps.csv")]
                print(
                    f"{path.name} {stage.name}: taken {console.seconds[name]}, "
                    f"{sum(steps) / len(steps):.3g} s a step"
                )


if __name__ == "__main__":
    main()
