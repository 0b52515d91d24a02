"""`segue data ...` in this process, and data that are not divided yet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segue.cli.app import main
from segue.data.synthetic import render_dataset

SIDE = 64


@pytest.fixture
def data(capsys):
    """Runs `segue data ...`: the exit code and what was printed."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def flat(tmp_path_factory) -> Path:
    """Twelve fields in two colours each, not divided: 24 images, every object twice."""
    folder = (
        render_dataset(tmp_path_factory.mktemp("flat"), {"train": 12}, side=SIDE, seed=5) / "train"
    )
    path = folder / "_annotations.coco.json"
    content = json.loads(path.read_text())
    twins = {"images": [], "annotations": []}
    for colour, (first_image, first_object) in {"green": (0, 0), "grey": (100, 10_000)}.items():
        for entry in content["images"]:
            stem = entry["file_name"].removesuffix(".png")
            pixels = np.array(Image.open(folder / entry["file_name"]))
            Image.fromarray(pixels if colour == "green" else 255 - pixels).save(
                folder / f"{stem}_{colour}.png"
            )
            twins["images"].append(
                {**entry, "id": entry["id"] + first_image, "file_name": f"{stem}_{colour}.png"}
            )
        for entry in content["annotations"]:
            moved = {"id": entry["id"] + first_object, "image_id": entry["image_id"] + first_image}
            twins["annotations"].append({**entry, **moved})
    for entry in content["images"]:
        (folder / entry["file_name"]).unlink()
    path.write_text(json.dumps({**content, **twins}))
    return folder
