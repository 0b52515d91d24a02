"""What the tests of label import share: a correction, the command, and the files it writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from segue.cli.app import main

NEW = [[20.0, 30.0], [60.0, 30.0], [60.0, 70.0], [20.0, 70.0]]  # 40 x 40 px


def add_labelme(work: Any, *stems: str, label: str = "nucleus") -> None:
    """A square more in each of these images."""
    for stem in stems:
        path = work / "pick" / "labelme" / f"{stem}.json"
        content = json.loads(path.read_text())
        content["shapes"].append(
            {"label": label, "points": NEW, "shape_type": "polygon", "group_id": None}
        )
        path.write_text(json.dumps(content))


def imported(work: Any, corrected: str, *more: object) -> int:
    return main(
        ["label", "import", str(work / corrected), "--into", str(work / "labels"), *map(str, more)]
    )


def content(work: Any, name: str) -> dict[str, Any]:
    return json.loads((work / "labels" / "annotations" / f"{name}_annotations.json").read_text())


def files(work: Any, name: str) -> set[str]:
    path = work / "labels" / "annotations" / f"{name}_annotations.json"
    return (
        {image["file_name"] for image in content(work, name)["images"]} if path.exists() else set()
    )


def trained(work: dict[str, list[list[float]] | str | None]) -> list[str]:
    return sorted(files(work, "algorithmic_train"))


def stem_of(name: str) -> str:
    return name.replace("/", "_").removesuffix(".tif")


def holds_the_square(work: Any, name: str) -> bool:
    """Whether one object of an image is the square, to 1 px on each side."""
    for part in ("manual_train", "manual_valid"):
        if name in files(work, part):
            number = next(i["id"] for i in content(work, part)["images"] if i["file_name"] == name)
            boxes = [
                a["bbox"] for a in content(work, part)["annotations"] if a["image_id"] == number
            ]
            return any(np.abs(np.array(box) - (20, 30, 40, 40)).max() <= 1 for box in boxes)
    return False
