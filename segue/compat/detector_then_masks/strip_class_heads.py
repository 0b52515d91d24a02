"""Remove the class heads of a checkpoint, the decoder's and every encoder group's; all else is
kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.cli.commands.head import strip_heads
from segue.errors import show


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    show(strip_heads(args.source, args.target))
