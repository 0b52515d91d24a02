"""Say what each stage trains and validates on.

Nothing has to be registered here: a plan names its files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.compat.common import warn
from segue.data.records import refuse_errors
from segue.data.writing import merge
from segue.errors import show

REGISTERED = {
    "myotube_stage1_train": "algorithmic_train",
    "myotube_stage1_val": "algorithmic_test",
    "myotube_stage2_train": "manual_train",
    "myotube_stage2_val": "manual_test",
}


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset_root", type=Path, default=Path("myotube_batch_output"))
    parser.add_argument("--instance", action="store_true", help="what is always done")
    for flag in ("--panoptic", "--both"):
        parser.add_argument(flag, action="store_true", help="ignored")
    args = parser.parse_args()
    for flag in ("panoptic", "both"):
        if getattr(args, flag):
            warn(f"--{flag} has no effect: these are instances")
    splits = merge.read(args.dataset_root)
    refuse_errors(
        (problem for split in splits.values() for problem in split.problems), "setup_two_stage.py"
    )
    for name, key in REGISTERED.items():
        if key in splits:
            objects = sum(splits[key].class_counts().values())
            show(
                f"{name}: {len(splits[key].records)} images, {objects} objects "
                f"({splits[key].source})"
            )
        else:
            show(f"{name}: no {key}_annotations.json")
