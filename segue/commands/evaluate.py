"""`segue evaluate`: the COCO figures of a checkpoint on a data set."""

from __future__ import annotations

import json
from pathlib import Path

from segue.console import Console
from segue.data.dataset import Data, DataSet, read_splits
from segue.data.records import refuse_errors
from segue.errors import DataError
from segue.inference.predict import load
from segue.outcome import METRICS, PREDICTIONS, write_predictions
from segue.run_folder import write_json
from segue.stages import measure

IMAGES_PER_FORWARD = 8


def evaluate_checkpoint(checkpoint: Path, root: Path, split: str, out: Path | None, as_json: bool) -> None:
    """Print the figures; write them and the predictions where `out` says.

    Raises:
        DataError: if the data has no such part, or no object of a class the model knows.
    """
    predictor = load(checkpoint)
    splits = read_splits(Data(root=root))
    if split not in splits:
        raise DataError(root, f"no {split} part", "one of " + ", ".join(splits))
    refuse_errors(splits[split].problems, f"segue check {root}")
    categories = splits[split].categories
    known = [name for name in predictor.class_names if name in categories]
    if not known:
        raise DataError(root, "classes " + ", ".join(categories), "some of " + ", ".join(predictor.class_names))
    top = max(categories.values(), default=0)
    missing = [name for name in predictor.class_names if name not in categories]
    ids = {**categories, **{name: top + number for number, name in enumerate(missing, 1)}}
    classes = predictor.class_names
    data = DataSet(splits, classes, tuple(ids[n] for n in classes), notes=[], manifest="")  # for training only
    with Console().progress("evaluating") as tick:
        total = -(-len(splits[split].records) // IMAGES_PER_FORWARD)
        done = iter(range(1, total + 1))
        metrics = measure(data, split, predictor.chain, IMAGES_PER_FORWARD, 0, lambda: tick(next(done), total))
    figures = metrics.figures()
    outcome = {"split": split, "images": len(metrics.records), "detections_counted": metrics.most, **figures}
    outcome |= {f"{kind}_ap_by_class": metrics.by_class(kind) for kind in metrics.kinds}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / METRICS, outcome)
        write_predictions(out / PREDICTIONS, metrics, data)
    if as_json:
        print(json.dumps(outcome))
        return
    print(f"{split}: {outcome['images']} images, up to {metrics.most} detections of each count")
    for name, value in figures.items():
        print(f"{name:16} {value:.4f}" if value >= 0 else f"{name:16} -")
