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
from segue.labelling.auto import Job
from segue.labelling.disagreement import Eye
from segue.labelling.pick import Candidate, Pick, choose
from segue.labelling.sources import Sources, doubts, flat, read_sources
from segue.run.console import Console
from segue.structures.channels import Channel


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    labels: a data set with what is labelled already; group: see `data/scene_groups.py`.
    """

    count: int
    labels: Path | None = None
    group: str | None = None
    out: Path = Path("pick")


def model_eye(
    checkpoint: Path, threshold: float, device: str, tile: str | None
) -> tuple[Eye, dict[str, int]]:
    """Looks with a checkpoint, at whole images or tile by tile; also the ids of its classes."""
    predictor = load(checkpoint, device)
    known = predictor.card.data.get("classes", {})
    ids = {name: known.get(name, number) for number, name in enumerate(predictor.class_names, 1)}
    return disagreement.of_model(predictor, threshold, Tiling(side_of(tile, predictor))), ids


def kind_eye(job: Job) -> tuple[Eye, dict[str, int]]:
    """Looks with image processing."""
    return disagreement.of_kind(job), {job.class_name: 1}


def label_eye(labels: Path | None) -> tuple[Eye, dict[str, int]]:
    """Takes the labels of the data set.

    Raises:
        PlanError: if there are none.
    """
    sources = read_sources(labels) if labels else None
    found = sources.algorithmic() if sources else {}
    if sources is None or not found:
        where = "labels made by hand only" if labels else "nothing to look at images with"
        raise PlanError(
            "label pick",
            where,
            "--checkpoint CKPT, --kind tubes|blobs, or --labels with those of auto",
        )
    return disagreement.of_labels(
        {flat(name): record for name, record in found.items()}, list(sources.ids)
    ), sources.ids


def pick_images(images: Path, eye: Eye, ids: dict[str, int], asked: Asked, as_json: bool) -> str:
    """Look at every image, pick, write pre-annotations; returns the list as text or JSON.

    Raises:
        DataError: if there is nothing to pick from, an image cannot be read, or a model finds
        nothing in any.
        PlanError: if the folder to write exists, or no image is asked for.
    """
    if asked.count < 1:
        raise PlanError("--count", str(asked.count), "at least 1")
    if asked.out.exists():
        raise PlanError(asked.out, "exists", "--out with a name that is free")
    console = Console()
    paths = _pictures(images, eye.channels)
    known = read_sources(asked.labels) if asked.labels else None
    left, by_hand = _unlabelled(paths, known, asked.group, console)
    if not left:
        raise DataError(
            images,
            "all images, or others of their fields, are labelled by hand",
            "some that are not",
        )
    candidates = _looked_at(left, eye, asked, console)
    _say_if_blind(images, candidates, eye, console)
    if all(candidate.seen.disagreement is None for candidate in candidates):
        console.say(
            "labels are one view: picked by objects and looks alone; --checkpoint or --kind "
            "gives more views"
        )
    picks = choose(candidates, asked.count, [(name, eye.features(path)) for name, path in by_hand])
    if len(picks) < asked.count:
        rest = len(left) - len(picks)
        found = f"{len(picks)} images, not {asked.count}"
        console.say(
            found
            + (
                f": the other {rest} show fields or are copies of those"
                if rest
                else ": there are no more"
            )
        )
    root = images if images.is_dir() else images.parent
    export_for_annotators.hand_over(
        asked.out, picks, eye.source, ids, {"images": str(root), "source": eye.source}
    )
    console.say(
        f"correct {asked.out}/labelme, {asked.out}/cvat or {asked.out}/coco (overlays show what "
        "was found)"
    )
    into = asked.labels or "DATASET"
    console.say(f"next: segue label import {asked.out}/labelme --into {into}")
    return json.dumps(export_for_annotators.entries(picks)) if as_json else "\n".join(_lines(picks))


def _pictures(images: Path, channels: Sequence[Channel]) -> list[tuple[str, Path]]:
    root = images if images.is_dir() else images.parent
    return [(path.relative_to(root).as_posix(), path) for path in pictures_in(images, channels)]


def _unlabelled(
    paths: Sequence[tuple[str, Path]], known: Sources | None, pattern: str | None, console: Console
) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]]]:
    """Images that may be picked, and those with labels by hand, which are not; nor is what shows
    the same field.
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
    paths: Sequence[tuple[str, Path]], eye: Eye, asked: Asked, console: Console
) -> list[Candidate]:
    said = (
        {flat(name): doubt for name, doubt in doubts(asked.labels).items()} if asked.labels else {}
    )
    candidates = []
    with console.progress("looking") as tick:
        for number, (name, path) in enumerate(paths, 1):
            seen = eye.look(path, flat(name))
            candidates.append(
                Candidate(name, path, group_of(name, asked.group), seen, said.get(flat(name), ""))
            )
            tick(number, len(paths))
    return candidates


def _say_if_blind(
    images: Path, candidates: Sequence[Candidate], eye: Eye, console: Console
) -> None:
    """A model that finds nothing in most images says little about which of them to label; in none,
    nothing.

    Raises:
        DataError: if it finds nothing in any.
    """
    empty = sum(not len(candidate.seen.found) for candidate in candidates)
    if eye.threshold is None or 2 * empty <= len(candidates):
        return
    found = (
        f"the model finds nothing above {eye.threshold:g} in {empty} of {len(candidates)} images"
    )
    advice = "train longer, lower --threshold or pick with --kind tubes|blobs"
    if empty == len(candidates):
        raise DataError(images, found, "objects to correct", advice)
    console.say(f"warning: {found}: {advice}")


def _lines(picks: Sequence[Pick]) -> list[str]:
    return [
        f"{number}. {pick.candidate.name}: {pick.reason}" for number, pick in enumerate(picks, 1)
    ]
