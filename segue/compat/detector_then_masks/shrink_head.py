"""Keep some classes of a checkpoint, in every head and by name.

Stage 2 does not need it: it matches classes itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.cli.commands.head import keep_classes
from segue.errors import show


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--in_ckpt", type=Path, required=True)
    parser.add_argument("--out_ckpt", type=Path, required=True)
    parser.add_argument("--keep", nargs="+", required=True, metavar="NAME")
    args = parser.parse_args()
    show(keep_classes(args.in_ckpt, args.out_ckpt, args.keep))
