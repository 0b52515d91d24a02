"""`segue label auto`: labels from nothing, for a folder of images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from segue.console import Console
from segue.errors import DataError, PlanError
from segue.inference.predict import pictures_in
from segue.labelling import kinds, sheet
from segue.labelling.auto import Job, label_images, write
from segue.plan_file import read_yaml, validated


def label_folder(images: Path, out: Path, job: Job, keep_doubtful: bool) -> Path:
    """Label every image, say what is doubtful, write annotations and sheet.html; returns the folder.

    Raises:
        DataError: if there are no images, one cannot be read, or nothing is left to train on.
    """
    root = images if images.is_dir() else images.parent
    ours = (out / "overlays", out / "steps", *((out / "images",) if root != out / "images" else ()))
    paths = [path for path in pictures_in(images) if not any(path.is_relative_to(folder) for folder in ours)]
    if not paths:
        raise DataError(images, "no images but those that are written here", "images")
    console = Console()
    with console.progress("labelling") as tick:
        done = list(label_images(paths, root, out, job, tick))
    target = write(out, done, job.class_name, keep_doubtful)
    sheet.write(out / "sheet.html", out, done, job, keep_doubtful)
    for labelled in done:
        if labelled.finding.doubt:
            console.say(f"doubt: {labelled.name}: {labelled.finding.doubt}")
    doubts = [labelled for labelled in done if labelled.finding.doubt]
    counts = Counter[bool]()
    for labelled in done:
        counts[bool(labelled.finding.doubt)] += len(labelled.finding.shapes)
    console.say(f"{counts.total()} objects in {len(done)} images; look at {out / 'sheet.html'}")
    if doubts and not keep_doubtful:
        left = f"{len(doubts)} doubtful images with {counts[True]} objects are not in {target}"
        console.say(f"{left}; --keep-doubtful puts them in")
    if len(doubts) == len(done) and not keep_doubtful:
        raise DataError(images, "doubt about every image", "at least one without", f"look at {out / 'sheet.html'}")
    console.say(f"next: segue check {out}")
    return out


def job_of(kind: str, values: tuple[str, ...], channel: str, class_name: str, um: float | None, steps: bool) -> Job:
    """The job that a command line asks for.

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
    return Job(module, validated(module.Settings, content, f"--kind {kind}", {}), class_name or module.CLASS, um, steps)
