"""What the tests of the rgbx-sweep recipe share: commands run in this process, small models,
rendered data.
"""

from __future__ import annotations

import csv
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segue.models import rgbx_rcnn
from tests.conftest import ROOT

FOLDER = ROOT / "scripts" / "rgbx-sweep"
COMMANDS = {
    "train_all_backbones_comprehensive.py", "train_all_backbones.py", "test_all_backbones.py",
    "train.py", "test.py", "visualize.py",
}  # fmt: skip
SWEEP = "python scripts/train_all_backbones_comprehensive.py "
# Each training command of the text, in its order.
TYPED = (
    "--data data/ --epochs 30",
    "--data data/ --epochs 50 --batch-size 4 --lr 0.005 --backbones mit_b0 mit_b1 mit_b2 "
    "--num-workers 8",
    "--data data/ --epochs 50 --batch-size 4 --lr 0.01 --lr-step-size 15 --lr-gamma 0.1 "
    "--num-workers 8",
    "--data data/ --epochs 10 --batch-size 4 --backbones mit_b0 mit_b1",
    "--data data/ --epochs 30 --batch-size 2 --lr 0.005",
    "--data data/ --epochs 50 --batch-size 4 --lr 0.01 --lr-step-size 15 --lr-gamma 0.1 "
    "--num-workers 8",
    "--data data/ --epochs 30 --backbones mit_b4 mit_b5 --batch-size 2",
    "--data data/ --epochs 50",
    "--data data/ --epochs 50",  # ... 2>&1 | tee training_output.log
)
# What it advises to add when something goes wrong.
ADVICE = (
    "--batch-size 1", "--backbones mit_b0 mit_b1", "--num-workers 0", "--batch-size 4",
    "--num-workers 8", "--lr 0.001", "--lr-step-size 5 --lr-gamma 0.5",
)  # fmt: skip
SIDE = 64
SMALL = rgbx_rcnn.Size("pico", SIDE, 32, 64, 8, 1)


@contextmanager
def small_sizes() -> Iterator[None]:
    """Every MiT as small as pico, so that commands run as they are typed; only the figures of the
    models differ.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in rgbx_rcnn.SIZES if name != "pico"]:
            size = rgbx_rcnn.Size(
                name, SIDE, SMALL.width, SMALL.hidden, SMALL.anchor, SMALL.mask_layers
            )
            patch.setitem(rgbx_rcnn.SIZES, name, size)
            patch.setitem(rgbx_rcnn.MITS, name, rgbx_rcnn.MITS["pico"])
        yield


def typed(line: list[object], cwd: Path) -> int:
    """Type a command in a folder; returns its exit code."""
    name, *arguments = map(str, line)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
    return int(end.value.code or 0)


def render(folder: Path, images: int = 10) -> Path:
    """images/*.npy (64, 64, 5) with two kinds of squares, of which thermal (and half of them RGB)
    shows where; labels. The last image has no label file, the one before an empty one.
    """
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(images):
        pixels = rng.integers(90, 110, (SIDE, SIDE, 5), dtype=np.uint8)
        lines: list[Any] = []
        for kind in range(2 if number < images - 2 else 0):
            x, y, side = rng.integers(4, 40), rng.integers(4, 40), rng.integers(12, 20)
            pixels[y : y + side, x : x + side, 3 - 3 * (number % 2) : 5] = 250 - 200 * kind
            lines.append(
                " ".join(
                    str(v)
                    for v in (kind, *((np.array([x, y]) + side / 2) / SIDE), *[side / SIDE] * 2)
                )
            )
        np.save(folder / "images" / f"scene_{number:02}.npy", pixels)
        if number < images - 1:
            (folder / "labels" / f"scene_{number:02}.txt").write_text(
                "\n".join(lines) + "\n" * bool(lines)
            )
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def short(line: str, epochs: int = 3) -> list[object]:
    """A command of the text, for a test: few epochs, a rate that falls after 2, and images read in
    this process.
    """
    for flag, value in (("epochs", epochs), ("lr-step-size", 2), ("num-workers", 0)):
        line = re.sub(rf"--{flag} \d+", f"--{flag} {value}", line)
    return ["train_all_backbones_comprehensive.py", "--num-workers", 0, *shlex.split(line)]
