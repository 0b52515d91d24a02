"""`segue label auto`: labels from nothing, for a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segue.errors import DataError, PlanError
from segue.inference.predict import pictures_in
from segue.labelling import kinds, sheet
from segue.labelling.auto import DOUBTFUL, LabelJob, Labelled, by_split, label_images
from segue.labelling.label_files import refuse_label_loss, write
from segue.plan.reading import validated
from segue.plan.yaml_text import read_yaml
from segue.run.console import Console


def label_folder(
    images: Path, out: Path, job: LabelJob, valid: float, keep_doubtful: bool, replace: bool = False
) -> Path:
    """Label every image, report doubtful ones, write annotations and sheet.html; returns the
    folder.

    valid: share of the images to validate on, from 0 to below 1. replace: overwrite labels in `out`
    that are of other images, or were made with other settings.

    Raises:
        DataError: if there are no images, one cannot be read, nothing is left to train on, or
        labels would be lost.
    """
    if not 0 <= valid < 1:
        raise PlanError("--valid", f"{valid:g}", "at least 0, less than 1")
    root = images if images.is_dir() else images.parent
    ours = (out / "overlays", out / "steps", *((out / "images",) if root != out / "images" else ()))
    paths = [
        path
        for path in pictures_in(images)
        if not any(path.is_relative_to(folder) for folder in ours)
    ]
    if not paths:
        raise DataError(images, "no images but those that are written here", "images")
    if not replace:
        refuse_label_loss(out, {path.relative_to(root).as_posix() for path in paths}, job)
    console = Console()
    with console.progress("labelling") as tick:
        done = list(label_images(paths, root, out, job, tick))
    splits = by_split(done, valid, keep_doubtful)
    write(out, splits, job)
    page = sheet.write(out / "sheet.html", out, splits, job)
    for labelled in done:
        if labelled.finding.doubt:
            console.say(f"doubt: {labelled.name}: {labelled.finding.doubt}")
    console.say(f"{_objects(done)} objects in {len(done)} images; look at {page}")
    if left := splits[DOUBTFUL]:
        console.say(
            f"{len(left)} doubtful images with {_objects(left)} objects are left out of the data "
            "set; --keep-doubtful puts them in"
        )
    if len(left) == len(done):
        raise DataError(
            images, "doubt about every image", "at least one without", f"look at {page}"
        )
    if not splits["valid"]:
        console.say("all in one part: there is nothing to validate on but the same field of view")
    console.say(f"next: segue check {out}")
    return out


def _objects(done: list[Labelled]) -> int:
    return sum(len(labelled.finding.shapes) for labelled in done)


def job_of(
    kind: str, values: tuple[str, ...], channel: str, class_name: str, um: float | None, steps: bool
) -> LabelJob:
    """The job of a command line. values: key=value for the kind. um: micrometres per pixel.

    Raises:
        PlanError: for an unknown kind or setting, or a value that it cannot have.
    """
    module = kinds.get(kind)
    content: dict[str, Any] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals:
            raise PlanError(f"setting {value!r}", "no '='", "key=value, such as polarity=dark")
        content[key], _ = read_yaml(text, f"setting {key}")
    if channel:
        content["channel"] = channel
    if um is not None and um <= 0:
        raise PlanError("--scale", f"{um} um per pixel", "more than 0")
    return LabelJob(
        module,
        validated(module.Settings, content, f"--kind {kind}", {}),
        class_name or module.CLASS,
        um,
        steps,
    )
