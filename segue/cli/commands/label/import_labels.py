"""`segue label import`: labels that were corrected by hand become the data of the second stage."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segue.errors import DataError, PlanError
from segue.labelling.add_corrections import (
    ALGORITHMIC,
    MANUAL,
    TRAIN,
    SplitAssignment,
    add_corrections,
    assign_splits,
    file_of,
)
from segue.labelling.read_corrections import (
    CorrectedImage,
    PickFolder,
    checked,
    put,
    read_corrected,
)
from segue.labelling.sources import read_sources
from segue.plan import recipes
from segue.plan.yaml_text import read_yaml
from segue.run.console import Console

RECIPE, STAGE = "noisy-then-manual", "manual"


@dataclass(frozen=True)
class ImportOptions:
    """Options of the command.

    classes: accepted in addition to the data set's. held: share of the fields to hold back, 0 to
    below 1. picked: the folder of `label pick`; if None, the one in which the labels lie. group:
    see `scene_groups.group_of`. keep_unreviewed: take images in which nothing was changed.
    """

    classes: tuple[str, ...] = ()
    held: float = 0.0
    picked: Path | None = None
    group: str | None = None
    keep_unreviewed: bool = False


def import_labels(corrected: Path, into: Path, options: ImportOptions) -> Path:
    """Check corrected labels and add them to the data set `into`; returns the file of labels by
    hand.

    Raises:
        DataError: if anything about the labels or the data set is wrong; nothing is written then.
        PlanError: if the share is out of range.
    """
    if not 0 <= options.held < 1:
        raise PlanError("--held", f"{options.held:g}", "at least 0, less than 1")
    if not corrected.exists():
        raise DataError(
            corrected,
            "no such file or folder",
            "corrected labels",
            "segue label pick IMAGES --count 5",
        )
    console = Console()
    sources = read_sources(into)
    if not all(name.startswith((ALGORITHMIC, MANUAL)) for name in sources.splits):
        layout = f"annotations called {', '.join(sources.splits)}"
        expected = f"those of label auto, such as {file_of(into, ALGORITHMIC, TRAIN)}"
        raise DataError(into, layout, expected, "segue data merge, for data sets of other layouts")
    pick_folder = PickFolder.read(options.picked) if options.picked else PickFolder.find(corrected)
    records, problems = read_corrected(corrected, into, pick_folder)
    for problem in problems:
        console.say(str(problem))
    ids = sources.ids
    images = checked(records, into, pick_folder, (*ids, *options.classes))
    for name in sorted({a.class_name for image in images for a in image.record.annotations}):
        ids.setdefault(name, max(ids.values(), default=0) + 1)
    images = _reviewed(images, options.keep_unreviewed, console)
    if not images:
        raise DataError(
            corrected,
            "nothing was changed since it was picked",
            "corrected labels",
            "--keep-unreviewed",
        )
    assignment = assign_splits(
        [image.name for image in images], sources, options.held, options.group
    )
    images = [put(image, into) for image in images]
    for line in add_corrections(into, images, sources, assignment, ids):
        console.say(line)
    console.say(_next(into, assignment, options.held))
    files = (file_of(into, MANUAL, part) for part in (TRAIN, assignment.held))
    return next(path for path in files if path.exists())


def _reviewed(
    images: Sequence[CorrectedImage], keep: bool, console: Console
) -> list[CorrectedImage]:
    """Images that a person has probably reviewed; reports what is odd about the others."""
    kept = []
    for image in images:
        count = len(image.record.annotations)
        if image.unreviewed:
            left = "taken nevertheless" if keep else "left out (--keep-unreviewed takes it)"
            console.say(
                f"{image.name}: all {count} objects are as they were picked, to the point: not "
                f"reviewed? {left}"
            )
        elif image.untouched:
            console.say(
                f"{image.name}: {image.untouched} of {count} objects are as they were "
                "picked, to the point"
            )
        elif not count:
            console.say(f"{image.name}: no objects; it says that there are none")
        if keep or not image.unreviewed:
            kept.append(image)
    return kept


def _next(into: Path, assignment: SplitAssignment, share: float) -> str:
    """The command to run next, with the files that the second stage reads."""
    train = file_of(into, MANUAL, TRAIN)
    if not train.exists():
        return (
            "all fields are held back: nothing to train on by hand yet; label images that "
            f"{into} trains on"
        )
    held = [file_of(into, source, assignment.held) for source in (MANUAL, ALGORITHMIC)]
    valid = next((path for path in held if path.exists()), None)
    advice = _why_none(train, assignment, share) if share else "--held 0.2 holds some by hand back"
    if valid is None:
        command = "" if share else f"; next: segue label import ... --into {into} --held 0.2"
        return "nothing is held back to validate on" + (f": {advice}" if share else command)
    if valid != held[0]:
        return _run(train, valid, into) + f"  (validates on the algorithm's labels; {advice})"
    return _run(train, valid, into)


def _why_none(train: Path, assignment: SplitAssignment, share: float) -> str:
    """Why nothing is held back although a share was given, and what to do."""
    if assignment.free:
        return (
            f"--held {share:g} holds nothing back of one field of view: label images of a "
            "second one"
        )
    return (
        f"--held {share:g} holds nothing back: these fields are in manual training already;"
        f" label images of others, or delete {train} and import all again"
    )


def _run(train: Path, valid: Path, into: Path) -> str:
    """The command, with those files that the recipe would not find from the current folder."""
    files = {TRAIN: train, "valid": valid}
    paths = [((part, "annotations"), path) for part, path in files.items()]
    paths += [((part, "images"), into / "images") for part in files]
    plan, _ = read_yaml(recipes.text(RECIPE), RECIPE)
    known = next(stage["data"] for stage in plan["stages"] if stage["name"] == STAGE)
    others = [
        f"stages.{STAGE}.data.{part}.{key}={path}"
        for (part, key), path in paths
        if Path(known[part][key]).resolve() != path.resolve()
    ]
    return " ".join(["next: segue run plan.yaml", *map(shlex.quote, others)])
