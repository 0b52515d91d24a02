"""What the tests of the rgbx-sweep recipe share: commands run in this process, small models,
rendered data.
"""

from __future__ import annotations

import csv
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from segue.models import rgbx_rcnn
from tests.conftest import ROOT

FOLDER = ROOT / "scripts" / "rgbx-sweep"
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
        pixels, lines = rng.integers(90, 110, (SIDE, SIDE, 5), dtype=np.uint8), []
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
