"""Check the environment, the data set and the weight files before training; exit code 0 if stage 1
can start.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from segue.cli.commands.check import check_target
from segue.data.dataset import Data, read_splits, require_masks
from segue.errors import DataError, show

MODULES = ("torch", "torchvision", "transformers", "numpy", "PIL", "hotcoco", "tensorboardX")
WEIGHTS = tuple(f"rf-detr-{size}.pth" for size in ("nano", "small", "base", "medium", "large"))


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, default=Path("dataset"))
    args = parser.parse_args()
    missing = [name for name in MODULES if not _imports(name)]
    show(
        "modules: " + (f"MISSING {', '.join(missing)}" if missing else f"all {len(MODULES)} import")
    )
    absent = [name for name in WEIGHTS if not Path(name).is_file()]
    if absent:
        show(f"weights: not here: {', '.join(absent)} (fetched from the hub when needed)")
    try:
        check_target(args.dataset, (), False)
        splits = read_splits(Data(root=args.dataset))
    except DataError as error:
        show(f"data: {error.message}")
        return 1
    try:
        require_masks(splits, ("train",))
        show("masks: stage 2 can follow")
    except DataError as error:
        show(f"masks: {error.message}; stage 1 can run, stage 2 cannot")
    return 1 if missing or sys.version_info < (3, 11) else 0


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
