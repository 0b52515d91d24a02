"""A folder of images labelled by classical image processing: records for a COCO file, and pictures
to look at.

What is written is a data set: `images/` (links, so that they take no space; copies where the disk
cannot link) and `annotations/algorithmic_{train,valid}_annotations.json`, fields of view never
separated. Images with a doubt are in neither; their labels are in
`annotations/algorithmic_doubtful_annotations.json`, which nothing trains on.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.base.settings import Settings
from segue.data.images import image_io as image_files
from segue.data.images.pixel_size import pixel_size_um
from segue.data.records import Annotation, Record
from segue.data.scene_groups import groups, split_groups
from segue.data.writing.coco import coco
from segue.data.writing.folders import link
from segue.errors import DataError
from segue.evaluation.overlay import as_picture
from segue.labelling.kinds import Finding, Show, unseen
from segue.labelling.pictures import draw_shapes, step_picture
from segue.structures.masks import encoded

DOUBTFUL = "doubtful"
PARTS = ("train", "valid", DOUBTFUL)
# what a length of a setting is in where no scale is known: this share of the longer side
UNIT = 1e-3
MOST_CHANNELS = 16


@dataclass(frozen=True, slots=True)
class Labelled:
    """One image, its objects as a record, and how they were found. um: micrometres per pixel, if
    known.

    overlay: the picture of its objects, below the data set's folder.
    """

    name: Path
    record: Record
    finding: Finding
    um: float | None
    overlay: Path


@dataclass(frozen=True, slots=True)
class LabelJob:
    """What is asked for: one kind of object, with its settings, in all images.

    um: their scale if it is given.
    """

    kind: ModuleType
    settings: Settings
    class_name: str
    um: float | None = None
    show_steps: bool = False


def label_images(
    paths: Sequence[Path], root: Path, out: Path, job: LabelJob, tick: Callable[[int, int], None]
) -> Iterator[Labelled]:
    """Label images below `root` one by one; writes overlays, steps if asked for, and the image's
    link below `out`.

    Raises:
        DataError: if an image cannot be read, before any is labelled; or if another one stands at
        its place in `out`.
    """
    for path in paths:
        read_any(path)
    names = [path.relative_to(root) for path in paths]
    for number, (path, name, overlay) in enumerate(
        zip(paths, names, _overlays(names), strict=True), 1
    ):
        pixels = read_any(path)
        um = job.um or pixel_size_um(path)
        show = _saver(out / "steps" / name) if job.show_steps else unseen
        try:
            finding = find(pixels, job, um, show)
        except DataError as error:
            raise DataError(
                f"{path}: {error.where}", error.found, error.expected, error.run
            ) from None
        _save(draw_shapes(as_picture(pixels), finding.shapes), out / overlay)
        record = record_of(
            place_image(path, out / "images" / name), pixels, finding, number, job.class_name
        )
        tick(number, len(paths))
        yield Labelled(name, record, finding, um, overlay)


def find(pixels: Tensor, job: LabelJob, um: float | None, show: Show = unseen) -> Finding:
    """The objects in an image (C, H, W), each length in its unit."""
    return job.kind.find(
        pixels.permute(1, 2, 0).numpy(), job.settings, _pixels_per_unit(pixels, um), show
    )


def with_estimates(job: LabelJob, finding: Finding, pixels: Tensor, um: float | None) -> LabelJob:
    """The job with what was found out about an image: channel, polarity, and the size of a typical
    object.
    """
    found: dict[str, Any] = {
        "channel": finding.plane,
        "polarity": "dark" if finding.dark else "bright",
    }
    if finding.width:
        found[job.kind.LENGTH] = finding.width / _pixels_per_unit(pixels, um)
    return replace(job, settings=job.settings.model_copy(update=found))


def _pixels_per_unit(pixels: Tensor, um: float | None) -> float:
    return 1 / um if um else UNIT * max(pixels.shape[-2:])


def read_any(path: Path) -> Tensor:
    """An image (C, H, W) with all its levels and however many channels it has; grey may come as
    three equal ones.

    Raises:
        DataError: if the file is damaged, or has more than MOST_CHANNELS.
    """
    try:
        return image_files.read(path, 3)
    except DataError as error:
        if "channels" not in error.found:
            raise
        for channels in (1, 2, *range(4, MOST_CHANNELS + 1)):
            with suppress(DataError):
                return image_files.read(path, channels)
        raise


def _overlays(names: Sequence[Path]) -> list[Path]:
    """Where the pictures of the images' objects are: NAME.png; NAME.SUFFIX.png where two images
    would share one.
    """
    short = [name.with_suffix(".png") for name in names]
    alone = len({path.as_posix().casefold() for path in short}) == len(names)
    return [
        "overlays" / (path if alone else Path(f"{name}.png"))
        for name, path in zip(names, short, strict=True)
    ]


def annotations_of(out: Path, part: str) -> Path:
    """Where the objects of a part are: train, valid, or the doubtful ones, which are no part that
    training finds.
    """
    return out / "annotations" / f"algorithmic_{part}_annotations.json"


def parts(done: Sequence[Labelled], valid: float, keep_doubtful: bool) -> dict[str, list[Labelled]]:
    """The images of each of PARTS.

    valid: the share held back for validation; none of a single field of view.
    """
    trusted = [labelled for labelled in done if keep_doubtful or not labelled.finding.doubt]
    names = [labelled.name.as_posix() for labelled in trusted]
    shares = (
        {"train": 1 - valid, "valid": valid} if valid and len(groups(names)) > 1 else {"train": 1.0}
    )
    part_of = (
        {name: part for part, some in split_groups(names, shares, seed=0).items() for name in some}
        if names
        else {}
    )
    found: dict[str, list[Labelled]] = {part: [] for part in PARTS}
    for labelled in done:
        found[part_of.get(labelled.name.as_posix(), DOUBTFUL)].append(labelled)
    return found


def refuse_label_loss(out: Path, names: set[str], job: LabelJob) -> None:
    """Labels in `out` that the job would not make again are not replaced; doubtful ones, which
    train nothing, are.

    names: of the images that are labelled now; more than before lose nothing. Labels by hand count,
    too: they are divided into parts as the algorithm's are.

    Raises:
        DataError: if there are such labels.
    """
    for path in sorted((out / "annotations").glob("*_annotations.json")):
        found = ""
        if path.name.startswith("manual_"):
            found = "labels by hand, which are divided as the algorithm's are"
        elif path.name.startswith("algorithmic_") and path != annotations_of(out, DOUBTFUL):
            found = _differs(path, names, job)
        if found:
            raise DataError(
                path, found, "a new --out", "the same command with --out NEW, or --replace"
            )


def _differs(path: Path, names: set[str], job: LabelJob) -> str:
    """How the labels of a file are others than those that the job makes."""
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
    """All that labels depend on but the images."""
    kind = job.kind.__name__.removeprefix("segue.labelling.kinds.")
    return {
        "kind": kind,
        "class": job.class_name,
        "um_per_pixel": job.um,
        **job.settings.model_dump(mode="json"),
    }


def write(out: Path, found: dict[str, list[Labelled]], job: LabelJob) -> None:
    """An annotation file for each part, with the doubt and the scale of its images; those of empty
    parts go.
    """
    for part, done in found.items():
        target = annotations_of(out, part)
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


def record_of(path: Path, pixels: Tensor, finding: Finding, number: int, class_name: str) -> Record:
    """An image with what was found in it, as labels of an algorithm."""
    height, width = pixels.shape[-2:]
    annotations = []
    for shape in finding.shapes:
        rows, columns = shape.mask.shape
        box = (float(shape.x), float(shape.y), float(shape.x + columns), float(shape.y + rows))
        mask = encoded(shape.mask, shape.x, shape.y, height, width)
        annotations.append(
            Annotation(box, class_name, mask, source="algorithm", quality=shape.quality)
        )
    return Record(path, height, width, number, tuple(annotations))


def place_image(source: Path, target: Path) -> Path:
    """The image at its place in the data set, as a second name of the same file where the disk
    allows it.
    """
    if target.exists():
        if not filecmp.cmp(source, target, shallow=False):
            raise DataError(
                target, f"another image than {source}", "a free place", "give another --out"
            )
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    return link(source, target)


def _saver(folder: Path) -> Show:
    def show(name: str, step: np.ndarray) -> None:
        _save(step_picture(step), folder / f"{name}.png")

    return show


def _save(picture: Any, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, compress_level=1)
