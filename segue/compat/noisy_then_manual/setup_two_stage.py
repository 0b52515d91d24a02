"""Check that both stages can start: the data set's four files and images, the configurations, the
libraries.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from segue.cli.commands.data.info import part_figures
from segue.data.writing import merge
from segue.errors import DataError, show

FOLDERS = ("myotube_dataset", "myotube_batch_output")
CONFIGS = ("stage1_config.yaml", "stage2_config.yaml")
MODULES = ("torch", "torchvision", "transformers", "numpy", "hotcoco", "skimage")


def command(configs: Path) -> int:
    """configs: the folder of the configurations that are read where there are none here."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    wrong = 0
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    show(
        "modules: "
        + (f"MISSING {', '.join(missing)}" if missing else f"all {len(MODULES)} are there")
    )
    for name in CONFIGS:
        path = next((path for path in (Path(name), configs / name) if path.is_file()), None)
        show(f"configuration: {path or f'MISSING {name}'}")
        wrong += path is None
    return 1 if wrong + len(missing) + _data() else 0


def _data() -> int:
    """Print what the first folder there is has; how many things are wrong."""
    root = next((Path(name) for name in FOLDERS if Path(name).is_dir()), None)
    if root is None:
        show(
            f"data: MISSING, neither {' nor '.join(FOLDERS)} is here; next: "
            "organize_unified_dataset.py"
        )
        return 1
    try:
        splits = merge.read(root)
    except DataError as error:
        show(f"data: {error.message}")
        return 1
    wrong = 0
    for name, split in splits.items():
        figures = part_figures(split)
        show(f"{root} {name}: {figures['images']} images, {figures['objects']} objects")
        errors = [problem for problem in split.problems if problem.severity == "error"]
        unreadable = figures["bits"].get("unreadable", 0)
        wrong += len(errors) + unreadable
        for problem in errors[:3]:
            show(f"  {problem}")
        if len(errors) > 3 or unreadable:
            show(f"  {len(errors)} errors, {unreadable} images that cannot be read")
    return wrong
