"""`segue evaluate`: the COCO figures of a checkpoint on a data set, also with channels missing or
displaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from segue.base.files import write_json
from segue.data.dataset import Data, DataSet, read_splits
from segue.data.formats import coco
from segue.data.formats._coco_files import SeveralFiles
from segue.data.pipeline.corruptions import CorruptedView
from segue.data.pipeline.transforms import View
from segue.data.records import SPLIT_WORDS, Split, refuse_errors
from segue.errors import DataError, PlanError, show
from segue.evaluation.bootstrap import Difference, compare
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.evaluate import input_size
from segue.evaluation.outcome import METRICS
from segue.inference.loading import load
from segue.inference.predict import Predictor
from segue.plan.reading import load_plan
from segue.plan.schema import SUFFIXES
from segue.run.build import measure
from segue.run.console import Console
from segue.run.results import PREDICTIONS, write_predictions
from segue.structures.channels import rows_of

IMAGES_PER_FORWARD = 8
ANY = "any class"


@dataclass(frozen=True)
class EvaluateOptions:
    """without: channels that are missing, each entry measured by itself; shift: NAME=X,Y, channels
    that are displaced. Both are compared with the model as it is, image by image. any_class:
    whether all classes count as one.
    """

    without: Sequence[str] = ()
    shift: Sequence[str] = ()
    any_class: bool = False


def evaluate_checkpoint(
    checkpoint: Path,
    root: Path,
    split: str,
    out: Path | None,
    as_json: bool,
    options: EvaluateOptions = EvaluateOptions(),
) -> None:
    """Print the figures; write them and the predictions where `out` says.

    root: a data set folder, an annotation file, which is one part, or a plan, for its data.

    Raises:
        DataError: if the data has no such part, or no object of a class the model knows.
        PlanError: if a channel is unknown.
    """
    predictor = load(checkpoint)
    views = disturbed_views(predictor, options.without, options.shift)
    data, split = _data(predictor, checkpoint, root, split, options.any_class)

    def measured(name: str, view: View | None = None) -> CocoMetrics:
        with Console().progress(name) as tick:
            total = -(-len(data.splits[split].records) // IMAGES_PER_FORWARD)
            done = iter(range(1, total + 1))
            return measure(
                data,
                split,
                predictor.chain,
                IMAGES_PER_FORWARD,
                0,
                lambda: tick(next(done), total),
                view,
            )

    metrics = measured("evaluating")
    figures = metrics.figures()
    outcome: dict[str, Any] = {
        "split": split,
        "images": len(metrics.records),
        "detections_counted": metrics.most,
    }
    outcome |= {"classes": ANY} if options.any_class else {}
    outcome |= figures
    outcome |= {f"{kind}_ap_by_class": metrics.by_class(kind) for kind in metrics.kinds}
    differences = _compared(metrics, views, measured)
    if views:
        outcome["disturbed"] = {
            name: [_plain(one) for one in found] for name, found in differences.items()
        }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / METRICS, outcome, indent=2)
        write_predictions(out / PREDICTIONS, metrics, data)
    if as_json:
        show(json.dumps(outcome))
        return
    together = ", all classes as one" if options.any_class else ""
    show(
        f"{split}: {outcome['images']} images, up to {metrics.most} detections of each "
        f"count{together}"
    )
    for name, value in figures.items():
        show(f"{name:16} {value:.4f}" if value >= 0 else f"{name:16} -")
    for name, found in differences.items():
        show("\n".join(f"{name}: {difference}" for difference in found))


def _data(
    predictor: Predictor, checkpoint: Path, root: Path, split: str, any_class: bool
) -> tuple[DataSet, str]:
    """The data set as the model names its classes, and the part that is meant: the only one of a
    file.
    """
    is_plan = root.suffix in SUFFIXES and root.is_file()
    settings = load_plan(root).data if is_plan else Data(root=root)
    try:
        splits = read_splits(settings)
    except DataError as error:
        _name_the_file(error, checkpoint, root, split)
        raise
    if root.is_file() and not is_plan and len(splits) == 1:
        split = next(iter(splits))
    if split not in splits:
        raise DataError(root, f"no {split} part", "one of " + ", ".join(splits))
    refuse_errors(splits[split].problems, f"segue check {root}")
    categories = splits[split].categories
    if any_class:
        return DataSet({split: _as_one(splits[split])}, (ANY,), (1,), notes=[], manifest=""), split
    if not any(name in categories for name in predictor.class_names):
        expected = ", ".join(predictor.class_names)
        file = splits[split].source
        run = (
            f"segue evaluate {checkpoint} {root} --any-class, or with COPY of {file}, with "
            "such names under categories"
        )
        raise DataError(
            root, "classes " + ", ".join(categories), f"some of {expected}, the model's", run
        )
    top = max(categories.values(), default=0)
    missing = [name for name in predictor.class_names if name not in categories]
    ids = {**categories, **{name: top + number for number, name in enumerate(missing, 1)}}
    classes = predictor.class_names
    # for training only
    return DataSet(splits, classes, tuple(ids[n] for n in classes), notes=[], manifest=""), split


def _as_one(part: Split) -> Split:
    """A part of the data whose objects are all of one class."""
    annotations = [
        tuple(replace(a, class_name=ANY) for a in record.annotations) for record in part.records
    ]
    records = [
        replace(record, annotations=own)
        for record, own in zip(part.records, annotations, strict=True)
    ]
    return replace(part, records=records)


def _name_the_file(error: DataError, checkpoint: Path, root: Path, split: str) -> None:
    """Say which of a folder's annotation files to give, those made by hand first, if it has
    several.

    Raises:
        DataError: if it has some for the part.
    """
    files = (
        {name: source.annotations for name, source in coco.files(root).items()}
        if root.is_dir()
        else {}
    )
    words = SPLIT_WORDS.get(split, (split,))
    named = [name for name in files if any(word in name for word in words)]
    meant = sorted(named, key=lambda name: "manual" not in name)
    if meant:
        several = isinstance(error, SeveralFiles)
        found = error.found + ("" if several else f" ({len(files)} annotation files)")
        raise DataError(
            root, found, "one file", f"segue evaluate {checkpoint} {files[meant[0]]}"
        ) from None


def disturbed_views(
    predictor: Predictor, without: Sequence[str], shift: Sequence[str]
) -> dict[str, View]:
    """What is measured beside the model as it is, by name.

    Raises:
        PlanError: if a channel is unknown, none is left, or a shift is no NAME=X,Y.
    """
    size, channels = input_size(predictor.chain), predictor.chain.spec.channels
    views: dict[str, View] = {}
    for name in without:
        rows = rows_of(name, channels)
        if len(rows) == len(channels):
            raise PlanError(
                f"--without {name}",
                "no channel is left",
                "fewer of " + ", ".join(c.name for c in channels),
            )
        views[f"without {name}"] = CorruptedView(size, channels, missing=rows)
    for text in shift:
        found = re.fullmatch(r"(.+)=([+-]?\d{1,6}),([+-]?\d{1,6})", text)
        if not found:
            raise PlanError(
                f"--shift {text}",
                "not understood",
                "NAME=X,Y in whole pixels, such as thermal=3,-2",
            )
        views[f"shift {text}"] = CorruptedView(
            size,
            channels,
            displaced=rows_of(found[1], channels),
            right=int(found[2]),
            down=int(found[3]),
        )
    return views


def _compared(
    plain: CocoMetrics, views: dict[str, View], measured: Callable[[str, View], CocoMetrics]
) -> dict[str, list[Difference]]:
    """What each disturbance changes, for boxes and masks."""
    found = {}
    for name, view in views.items():
        disturbed = measured(name, view)
        found[name] = [compare(plain, disturbed, kind) for kind in plain.kinds]
    return found


def _plain(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "gain": difference.gain, "verdict": difference.verdict}
