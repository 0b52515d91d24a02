"""How long the audit takes one core for headers and annotations: 5,000 images, 36,000 objects.

    python benchmarks/audit.py

Only annotations are rendered; the images are blotches. Files lie in memory or in the file cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.data.synthetic import render_dataset

IMAGES, OBJECTS, SIDE, DRAWN = 5_000, 36_000, 640, 40
SPLITS = {"train": 4_000, "valid": 1_000}


def write(root: Path) -> None:
    """Write the data set: objects of a few rendered images, repeated and each time moved a
    little.
    """
    render_dataset(root / "drawn", {"train": DRAWN}, side=SIDE, objects=(8, 14))
    drawn = json.loads((root / "drawn" / "train" / "_annotations.coco.json").read_text())
    objects_of: list[list[dict[str, Any]]] = [[] for _ in range(DRAWN)]
    for entry in drawn["annotations"]:
        objects_of[entry["image_id"]].append(entry)
    full = [objects for objects in objects_of if len(objects) >= 8]
    rng = np.random.default_rng(0)
    count = 0
    for split, images in SPLITS.items():
        content: dict[str, list[Any]] = {
            "images": [],
            "annotations": [],
            "categories": drawn["categories"],
        }
        (root / split).mkdir()
        share = OBJECTS * images // IMAGES
        for number in range(images):
            name = f"{split}_{number:05d}.jpg"
            picture(rng).save(root / split / name)
            content["images"].append(
                {"id": number, "file_name": name, "height": SIDE, "width": SIDE}
            )
            objects = share * (number + 1) // images - share * number // images
            for entry in full[number % len(full)][:objects]:
                count += 1
                content["annotations"].append(
                    {**entry, **moved(entry, rng), "id": count, "image_id": number}
                )
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    shutil.rmtree(root / "drawn")


def picture(rng: np.random.Generator) -> Image.Image:
    """An image (SIDE, SIDE, 3) of soft blotches: quick to make, and no two alike."""
    blotches = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    return blotches.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def moved(entry: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Box and outline of an annotation, moved by up to 3 px: no two are to be copies."""
    x, y = (round(float(v), 2) for v in rng.uniform(-3, 3, 2))
    box = [entry["bbox"][0] + x, entry["bbox"][1] + y, *entry["bbox"][2:]]
    ring = (np.array(entry["segmentation"][0]).reshape(-1, 2) + (x, y)).round(2)
    return {"bbox": box, "segmentation": [ring.ravel().tolist()]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        seconds = []  # in all, and of these for reading
        for _ in range(3):
            began = time.process_time()
            splits = read_splits(Data(root=Path(folder)))
            read = time.process_time() - began
            findings = audit(splits, pixels=False)
            seconds.append((time.process_time() - began, read))
        began = time.process_time()
        audit(splits)
        full = time.process_time() - began
        objects = sum(len(r.annotations) for split in splits.values() for r in split.records)
        total, read = min(seconds)
        print(
            f"{IMAGES} images, {objects} objects: {total:.1f} s of one core ({read:.1f} s "
            "reading the annotations)"
        )
        print(
            f"{len(findings)} findings; with every picture decoded and compared {full:.1f} s "
            "beyond reading"
        )


if __name__ == "__main__":
    main()
