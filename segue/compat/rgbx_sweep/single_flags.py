"""The flags that train.py, test.py and visualize.py share: each takes all of them, as in the
original.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.compat.common import warn
from segue.compat.flags import at_least
from segue.compat.rgbx_sweep.plan import BACKBONES, add_data, add_training

EPOCHS, LR, BACKBONE = 15, 0.005, "mit_b1"


def parse(description: str | None, used: set[str]) -> argparse.Namespace:
    """The flags, with a warning for those given that this command has no use for.

    used: of those that not all use.
    """
    parser = argparse.ArgumentParser(description=description)
    add_data(parser, default=Path("data"))
    parser.add_argument("--model", type=Path, default=Path("crossattentiondet.pth"))
    parser.add_argument("--backbone", choices=BACKBONES, help=f"{BACKBONE}, or what --model holds")
    add_training(parser, epochs=EPOCHS)
    parser.add_argument(
        "--results-dir", type=Path, default=Path("test_results"), help="for drawings"
    )
    parser.add_argument(
        "--vis", type=at_least(0), nargs="?", const=0, help="number of the batch or sample to draw"
    )
    args = parser.parse_args()
    given = {name for name, value in vars(args).items() if value != parser.get_default(name)}
    for name in sorted(
        given & ({"epochs", "lr", "resolution", "weights", "results_dir", "vis"} - used)
    ):
        warn(f"--{name.replace('_', '-')} has no effect here")
    return args
