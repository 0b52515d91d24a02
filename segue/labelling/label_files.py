"""The annotation files of `segue label auto`, one for each split, and what they may not replace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.data.records import Record
from segue.data.writing.coco import coco
from segue.errors import DataError
from segue.labelling.auto import DOUBTFUL, LabelJob, Labelled


def annotations_of(out: Path, split: str) -> Path:
    """The annotation file of a split: train, valid, or doubtful, which training does not read."""
    return out / "annotations" / f"algorithmic_{split}_annotations.json"


def refuse_label_loss(out: Path, names: set[str], job: LabelJob) -> None:
    """Refuse to replace labels in `out` that the job would not make again.

    Doubtful labels, which train nothing, may be replaced. names: of the images that are labelled
    now; more than before lose nothing. Labels by hand count, too: they are split as the algorithm's
    are, so that a new split would put images that they test on into training.

    Raises:
        DataError: if there are such labels.
    """
    for path in sorted((out / "annotations").glob("*_annotations.json")):
        loss = ""
        if path.name.startswith("manual_"):
            loss = "labels by hand, which are split as the algorithm's are"
        elif path.name.startswith("algorithmic_") and path != annotations_of(out, DOUBTFUL):
            loss = _differs(path, names, job)
        if loss:
            raise DataError(
                path, loss, "a new --out", "the same command with --out NEW, or --replace"
            )


def _differs(path: Path, names: set[str], job: LabelJob) -> str:
    """How the labels of a file differ from those that the job makes; empty if they do not."""
    try:
        content = read_json(path)
        before = dict(content["info"]["made_by"])
        lost = {image["file_name"] for image in content["images"]} - names
    except (ValueError, KeyError, TypeError):
        return "labels that do not say how they were made"
    for key, value in _made_by(job).items():
        if before.get(key) != value:
            return f"labels made with other settings ({key}: {before.get(key)}, now {value})"
    return f"labels of {len(lost)} other images, such as {min(lost)}" if lost else ""


def _made_by(job: LabelJob) -> dict[str, Any]:
    """Everything that labels depend on, except the images."""
    kind = job.kind.__name__.removeprefix("segue.labelling.kinds.")
    return {
        "kind": kind,
        "class": job.class_name,
        "um_per_pixel": job.um,
        **job.settings.model_dump(mode="json"),
    }


def write(out: Path, splits: dict[str, list[Labelled]], job: LabelJob) -> None:
    """Write an annotation file for each split, with the doubt and pixel size of its images.

    The file of an empty split is removed: it would be one of an earlier run.
    """
    for split, done in splits.items():
        target = annotations_of(out, split)
        if done:
            write_json(target, _content(out, done, job))
        else:
            target.unlink(missing_ok=True)


def _content(out: Path, done: Sequence[Labelled], job: LabelJob) -> dict[str, Any]:
    def name_of(record: Record) -> str:
        return record.image.relative_to(out / "images").as_posix()

    content = coco([labelled.record for labelled in done], {job.class_name: 1}, name_of)
    content["info"] = {"description": "labelled by segue label auto", "made_by": _made_by(job)}
    for image, labelled in zip(content["images"], done, strict=True):
        image |= {"doubt": labelled.finding.doubt} if labelled.finding.doubt else {}
        image |= {"um_per_pixel": labelled.um} if labelled.um else {}
    return content
