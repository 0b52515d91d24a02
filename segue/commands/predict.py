"""`segue predict`: overlays and a COCO file for a folder of images."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from segue.console import Console
from segue.errors import PlanError
from segue.evaluation.overlay import as_picture, draw_detections
from segue.inference.predict import load, pictures_in, predict_folder


def predict_to_folder(checkpoint: Path, images: Path, out: Path, threshold: float, device: str) -> Path:
    """Write `<name>.png` for every image and predictions.coco.json; returns the latter's path.

    The COCO file is complete in itself: images, categories (ids from the training data where the checkpoint
    knows them) and annotations with scores. Overlays keep the folders of the images.
    """
    predictor = load(checkpoint, device)
    paths = pictures_in(images)
    root = images if images.is_dir() else images.parent
    if out.resolve() == root.resolve():
        raise PlanError("--out", f"{out} is the folder of the images", "another folder, so that none is replaced")
    stems = Counter(path.with_suffix("") for path in paths)
    known = predictor.card.data.get("classes", {})
    ids = tuple(known.get(name, number) for number, name in enumerate(predictor.class_names, 1))
    content: dict[str, list] = {
        "images": [],
        "categories": [{"id": number, "name": name} for number, name in zip(ids, predictor.class_names, strict=True)],
        "annotations": [],
    }
    console = Console()
    with console.progress("predicting") as tick:
        for number, (path, pixels, found) in enumerate(predict_folder(predictor, paths, threshold), 1):
            name = path.relative_to(root)
            height, width = found.size
            content["images"].append({"id": number, "file_name": name.as_posix(), "height": height, "width": width})
            for entry in found.to_coco(number, ids):
                content["annotations"].append({"id": len(content["annotations"]) + 1, **entry})
            alone = stems[path.with_suffix("")] == 1
            target = (out / name).with_suffix(".png") if alone else out / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            draw_detections(as_picture(pixels), found).save(target)
            tick(number, len(paths))
    result = out / "predictions.coco.json"
    result.write_text(json.dumps(content), encoding="utf-8")
    console.say(f"{len(content['annotations'])} objects in {len(paths)} images; overlays in {out}")
    return result
