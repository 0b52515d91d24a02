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
    """What is measured in addition to the model as it is, and how.

    without: channels to leave out, each entry measured by itself. shift: NAME=X,Y, channels to
    displace by pixels. Both are compared with the model as it is, image by image. any_class:
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
    """Print the figures; write them and the predictions to the folder `out`, if it is given.

    root: a data set folder, an annotation file (which is one split), or a plan, for its data.
    split: train, valid or test.

    Raises:
        CheckpointError: if no model can be loaded.
        DataError: if the data has no such split, or no object of a class the model knows.
        PlanError: if a channel or a shift is not understood.
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
    outcome: dict[str, Any] = {
        "split": split,
        "images": len(metrics.records),
        "detections_counted": metrics.most,
    }
    outcome |= {"classes": ANY} if options.any_class else {}
    figures = metrics.figures()
    outcome |= figures
    outcome |= {f"{kind}_ap_by_class": metrics.by_class(kind) for kind in metrics.kinds}
    differences = _compared(metrics, views, measured)
    if views:
        outcome["disturbed"] = {name: list(map(_plain, by)) for name, by in differences.items()}
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
    for name, by_kind in differences.items():
        show("\n".join(f"{name}: {difference}" for difference in by_kind))


def _data(
    predictor: Predictor, checkpoint: Path, root: Path, split: str, any_class: bool
) -> tuple[DataSet, str]:
    """The data set with the model's classes, and the split that is meant: a file's only one."""
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
        return DataSet(
            {split: _as_one_class(splits[split])}, (ANY,), (1,), notes=[], manifest=""
        ), split
    if not any(name in categories for name in predictor.class_names):
        expected = ", ".join(predictor.class_names)
        file = splits[split].source
        next_step = (
            f"segue evaluate {checkpoint} {root} --any-class, or with COPY of {file}, with "
            "such names under categories"
        )
        raise DataError(
            root, "classes " + ", ".join(categories), f"some of {expected}, the model's", next_step
        )
    # Predictions of classes that the file does not have get ids after its own.
    top = max(categories.values(), default=0)
    missing = [name for name in predictor.class_names if name not in categories]
    ids = {**categories, **{name: top + number for number, name in enumerate(missing, 1)}}
    classes = predictor.class_names
    # notes and manifest are for training only
    return DataSet(splits, classes, tuple(ids[n] for n in classes), notes=[], manifest=""), split


def _as_one_class(split: Split) -> Split:
    """A split whose objects are all of one class."""
    records = []
    for record in split.records:
        annotations = tuple(replace(a, class_name=ANY) for a in record.annotations)
        records.append(replace(record, annotations=annotations))
    return replace(split, records=records)


def _name_the_file(error: DataError, checkpoint: Path, root: Path, split: str) -> None:
    """If a folder has several annotation files for a split, name the one to give: one labelled
    manually, if there is one.

    Raises:
        DataError: if the folder has annotation files for the split.
    """
    files = (
        {name: source.annotations for name, source in coco.files(root).items()}
        if root.is_dir()
        else {}
    )
    words = SPLIT_WORDS.get(split, (split,))
    of_split = [name for name in files if any(word in name for word in words)]
    candidates = sorted(of_split, key=lambda name: "manual" not in name)
    if candidates:
        several = isinstance(error, SeveralFiles)
        trouble = error.found + ("" if several else f" ({len(files)} annotation files)")
        next_step = f"segue evaluate {checkpoint} {files[candidates[0]]}"
        raise DataError(root, trouble, "one file", next_step) from None


def disturbed_views(
    predictor: Predictor, without: Sequence[str], shift: Sequence[str]
) -> dict[str, View]:
    """The corrupted views that are measured in addition to the model as it is, by name.

    without: channel names, several joined by +. shift: NAME=X,Y in whole pixels.

    Raises:
        PlanError: if a channel is unknown, none is left, or a shift is not of the form NAME=X,Y.
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
        parsed = re.fullmatch(r"(.+)=([+-]?\d{1,6}),([+-]?\d{1,6})", text)
        if not parsed:
            raise PlanError(
                f"--shift {text}",
                "not understood",
                "NAME=X,Y in whole pixels, such as thermal=3,-2",
            )
        views[f"shift {text}"] = CorruptedView(
            size,
            channels,
            displaced=rows_of(parsed[1], channels),
            right=int(parsed[2]),
            down=int(parsed[3]),
        )
    return views


def _compared(
    plain: CocoMetrics, views: dict[str, View], measured: Callable[[str, View], CocoMetrics]
) -> dict[str, list[Difference]]:
    """The change of AP in each corrupted view, by name: one for boxes, and one for masks."""
    differences = {}
    for name, view in views.items():
        corrupted = measured(name, view)
        differences[name] = [compare(plain, corrupted, kind) for kind in plain.kinds]
    return differences


def _plain(difference: Difference) -> dict[str, Any]:
    return {**asdict(difference), "gain": difference.gain, "verdict": difference.verdict}
