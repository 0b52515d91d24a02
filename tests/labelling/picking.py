"""What the tests of label pick share: the command, and detections to compare."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from segue.cli.app import main
from segue.structures.detections import Detections
from segue.structures.regions import Region


def picked(
    capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[list[dict[str, Any]], str]:
    """The list, as JSON, and what was said."""
    capsys.readouterr()
    assert main(["label", "pick", *map(str, arguments), "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["image"] for entry in entries]


def squares(*objects: tuple[int, int, int, float]) -> Detections:
    """Squares x, y, side with scores in an image of 60 px."""
    regions = tuple(Region.of(np.ones((side, side), dtype=bool), x, y) for x, y, side, _ in objects)
    boxes = torch.tensor([region.window for region in regions], dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(objects), dtype=torch.int64)
    return Detections(
        boxes, torch.tensor([o[3] for o in objects]), labels, ("cell",), (60, 60), regions=regions
    )
