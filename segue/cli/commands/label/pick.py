"""`segue label pick`: which images to label by hand, and what was found in them as a start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segue.cli.commands.prediction_files import side_of
from segue.data.scene_groups import group_of
from segue.errors import DataError, PlanError
from segue.inference.loading import load
from segue.inference.predict import pictures_in
from segue.inference.tiles import Tiling
from segue.labelling import disagreement, export_for_annotators
from segue.labelling.auto import LabelJob
from segue.labelling.disagreement import Assessor
from segue.labelling.pick import Candidate, Pick, choose
from segue.labelling.sources import Sources, doubts, flat, read_sources
from segue.run.console import Console
from segue.structures.channels import Channel


@dataclass(frozen=True)
class PickOptions:
    """Options of the command.

    count: how many images to pick. labels: a data set with labels that exist already. group: see
    `scene_groups.group_of`. out: the folder to write.
    """

    count: int
    labels: Path | None = None
    group: str | None = None
    out: Path = Path("pick")


def assessor_from_checkpoint(
    checkpoint: Path, threshold: float, device: str, tile: str | None
) -> tuple[Assessor, dict[str, int]]:
    """Assess with a checkpoint, whole images or tile by tile; returns its class ids, too."""
    predictor = load(checkpoint, device)
    known = predictor.card.data.get("classes", {})
    ids = {name: known.get(name, number) for number, name in enumerate(predictor.class_names, 1)}
    return disagreement.model_assessor(predictor, threshold, Tiling(side_of(tile, predictor))), ids


def assessor_from_kind(job: LabelJob) -> tuple[Assessor, dict[str, int]]:
    """Assess with image processing; returns the id of its class, too."""
    return disagreement.kind_assessor(job), {job.class_name: 1}


def assessor_from_labels(labels: Path | None) -> tuple[Assessor, dict[str, int]]:
    """Take the algorithm's labels of a data set; returns the ids of its classes, too.

    Raises:
        PlanError: if there are none.
    """
    sources = read_sources(labels) if labels else None
    records = sources.algorithmic() if sources else {}
    if sources is None or not records:
        where = "labels made by hand only" if labels else "nothing to look at images with"
        raise PlanError(
            "label pick",
            where,
            "--checkpoint CKPT, --kind tubes|blobs, or --labels with those of auto",
        )
    return disagreement.label_assessor(
        {flat(name): record for name, record in records.items()}, list(sources.ids)
    ), sources.ids


def pick_images(
    images: Path, assessor: Assessor, ids: dict[str, int], options: PickOptions, as_json: bool
) -> str:
    """Look at every image, pick, write pre-annotations; returns the list as text or JSON.

    Raises:
        DataError: if there is nothing to pick from, an image cannot be read, or a model finds
        nothing in any.
        PlanError: if the folder to write exists, or no image is options for.
    """
    if options.count < 1:
        raise PlanError("--count", str(options.count), "at least 1")
    if options.out.exists():
        raise PlanError(options.out, "exists", "--out with a name that is free")
    console = Console()
    paths = _pictures(images, assessor.channels)
    known = read_sources(options.labels) if options.labels else None
    left, by_hand = _unlabelled(paths, known, options.group, console)
    if not left:
        raise DataError(
            images,
            "all images, or others of their fields, are labelled by hand",
            "some that are not",
        )
    candidates = _looked_at(left, assessor, options, console)
    _say_if_blind(images, candidates, assessor, console)
    if all(candidate.assessment.disagreement is None for candidate in candidates):
        console.say(
            "labels are one view: picked by objects and looks alone; --checkpoint or --kind "
            "gives more views"
        )
    picks = choose(
        candidates, options.count, [(name, assessor.features(path)) for name, path in by_hand]
    )
    if len(picks) < options.count:
        rest = len(left) - len(picks)
        why = "there are no more"
        if rest:
            why = f"the other {rest} show fields or are copies of those"
        console.say(f"{len(picks)} images, not {options.count}: {why}")
    root = images if images.is_dir() else images.parent
    export_for_annotators.export_picks(
        options.out, picks, assessor.source, ids, {"images": str(root), "source": assessor.source}
    )
    console.say(
        f"correct {options.out}/labelme, {options.out}/cvat or {options.out}/coco "
        "(overlays show what was found)"
    )
    into = options.labels or "DATASET"
    console.say(f"next: segue label import {options.out}/labelme --into {into}")
    return json.dumps(export_for_annotators.entries(picks)) if as_json else "\n".join(_lines(picks))


def _pictures(images: Path, channels: Sequence[Channel]) -> list[tuple[str, Path]]:
    root = images if images.is_dir() else images.parent
    return [(path.relative_to(root).as_posix(), path) for path in pictures_in(images, channels)]


def _unlabelled(
    paths: Sequence[tuple[str, Path]], known: Sources | None, pattern: str | None, console: Console
) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]]]:
    """Images that may be picked, and those that are labelled by hand.

    Other views of a field that is labelled by hand are in neither.
    """
    manual = known.manual() if known else {}
    files = {flat(name) for name in manual}
    fields = {group_of(name, pattern) for name in manual}
    left = [
        (name, path)
        for name, path in paths
        if flat(name) not in files and group_of(name, pattern) not in fields
    ]
    if manual:
        others = sum(flat(name) not in files for name, _ in paths) - len(left)
        twins = f", {others} others show the same fields" if others else ""
        console.say(f"{len(manual)} images are labelled by hand{twins}; {len(left)} to pick from")
    return left, [(name, record.image) for name, record in sorted(manual.items())]


def _looked_at(
    paths: Sequence[tuple[str, Path]], assessor: Assessor, options: PickOptions, console: Console
) -> list[Candidate]:
    doubt_of: dict[str, str] = {}
    if options.labels:
        doubt_of = {flat(name): doubt for name, doubt in doubts(options.labels).items()}
    candidates = []
    with console.progress("looking") as tick:
        for number, (name, path) in enumerate(paths, 1):
            assessment = assessor.assess(path, flat(name))
            candidates.append(
                Candidate(
                    name,
                    path,
                    group_of(name, options.group),
                    assessment,
                    doubt_of.get(flat(name), ""),
                )
            )
            tick(number, len(paths))
    return candidates


def _say_if_blind(
    images: Path, candidates: Sequence[Candidate], assessor: Assessor, console: Console
) -> None:
    """Warn of a model that finds nothing in most images: its pick would mean little.

    Raises:
        DataError: if it finds nothing in any image.
    """
    empty = sum(not len(candidate.assessment.detections) for candidate in candidates)
    if assessor.threshold is None or 2 * empty <= len(candidates):
        return
    images_of = f"{empty} of {len(candidates)} images"
    message = f"the model finds nothing above {assessor.threshold:g} in {images_of}"
    advice = "train longer, lower --threshold or pick with --kind tubes|blobs"
    if empty == len(candidates):
        raise DataError(images, message, "objects to correct", advice)
    console.say(f"warning: {message}: {advice}")


def _lines(picks: Sequence[Pick]) -> list[str]:
    return [
        f"{number}. {pick.candidate.name}: {pick.reason}" for number, pick in enumerate(picks, 1)
    ]
