"""How long the audit takes a core for headers and annotations: 5,000 images with 36,000 objects.

    python benchmarks/audit.py

Only annotations are rendered; the images are blotches. Files lie in memory or in the file cache.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.data.synthetic import render_dataset

IMAGES, OBJECTS, SIDE, DRAWN = 5_000, 36_000, 640, 40
PARTS = {"train": 4_000, "valid": 1_000}


def write(root: Path) -> None:
    """The objects of a few rendered images again and again, each time moved a little."""
    render_dataset(root / "drawn", {"train": DRAWN}, side=SIDE, objects=(8, 14))
    drawn = json.loads((root / "drawn" / "train" / "_annotations.coco.json").read_text())
    of = [[a for a in drawn["annotations"] if a["image_id"] == number] for number in range(DRAWN)]
    full = [some for some in of if len(some) >= 8]
    rng = np.random.default_rng(0)
    count = 0
    for part, images in PARTS.items():
        content: dict[str, list] = {
            "images": [],
            "annotations": [],
            "categories": drawn["categories"],
        }
        (root / part).mkdir()
        wanted = OBJECTS * images // IMAGES
        for number in range(images):
            name = f"{part}_{number:05d}.jpg"
            picture(rng).save(root / part / name)
            content["images"].append(
                {"id": number, "file_name": name, "height": SIDE, "width": SIDE}
            )
            objects = wanted * (number + 1) // images - wanted * number // images
            for entry in full[number % len(full)][:objects]:
                count += 1
                content["annotations"].append(
                    {**entry, **moved(entry, rng), "id": count, "image_id": number}
                )
        (root / part / "_annotations.coco.json").write_text(json.dumps(content))
    shutil.rmtree(root / "drawn")


def picture(rng: np.random.Generator) -> Image.Image:
    """Soft blotches: quick to make, and no two alike."""
    blotches = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    return blotches.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def moved(entry: dict, rng: np.random.Generator) -> dict:
    x, y = (round(float(v), 2) for v in rng.uniform(-3, 3, 2))
    box = [entry["bbox"][0] + x, entry["bbox"][1] + y, *entry["bbox"][2:]]
    ring = (np.array(entry["segmentation"][0]).reshape(-1, 2) + (x, y)).round(2)
    return {"bbox": box, "segmentation": [ring.ravel().tolist()]}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        taken = []
        for _ in range(3):
            began = time.process_time()
            splits = read_splits(Data(root=Path(folder)))
            read = time.process_time() - began
            found = audit(splits, pixels=False)
            taken.append((time.process_time() - began, read))
        began = time.process_time()
        audit(splits)
        full = time.process_time() - began
        objects = sum(len(r.annotations) for split in splits.values() for r in split.records)
        total, read = min(taken)
        print(
            f"{IMAGES} images, {objects} objects: {total:.1f} s of one core ({read:.1f} s "
            "reading the annotations)"
        )
        print(
            f"{len(found)} findings; with every picture decoded and compared {full:.1f} s beyond "
            "reading"
        )


if __name__ == "__main__":
    main()
