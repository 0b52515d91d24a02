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
from typing import Any

import numpy as np
from torch import Tensor

from segue.base.settings import Settings
from segue.data.images import image_io as image_files
from segue.data.images.image_error import ImageError
from segue.data.images.pixel_size import pixel_size_um
from segue.data.records import Annotation, Record
from segue.data.scene_groups import groups, split_groups
from segue.data.writing.folders import link
from segue.errors import DataError
from segue.evaluation.overlay import as_picture
from segue.labelling.kinds import Finding, Kind, Show, unseen
from segue.labelling.pictures import draw_shapes, step_picture
from segue.structures.masks import encoded

DOUBTFUL = "doubtful"
SPLITS = ("train", "valid", DOUBTFUL)
# the unit of lengths in settings where the pixel size is unknown: a share of the longer side
UNIT = 1e-3
MOST_CHANNELS = 16


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled image.

    name: its path below the folder of images. um: micrometres per pixel, None if unknown. overlay:
    the picture of its objects, below the data set's folder.
    """

    name: Path
    record: Record
    finding: Finding
    um: float | None
    overlay: Path


@dataclass(frozen=True, slots=True)
class LabelJob:
    """What to label in all images: one kind of object, with its settings.

    um: micrometres per pixel; None if each image is to say it. show_steps: whether a picture of
    each step is written.
    """

    kind: Kind
    settings: Settings
    class_name: str
    um: float | None = None
    show_steps: bool = False


def label_images(
    paths: Sequence[Path], root: Path, out: Path, job: LabelJob, tick: Callable[[int, int], None]
) -> Iterator[Labelled]:
    """Label images below `root` one by one; write overlays, steps and links to the images below
    `out`.

    tick: called with the number of images done and in all.

    Raises:
        DataError: if an image cannot be read, before any is labelled; if its place in `out` holds
        another image; or if the kind refuses it.
    """
    # read all before the first is labelled: a damaged file is to end the command before it writes
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
                f"{path}: {error.where}", error.found, error.expected, error.next_step
            ) from None
        _save(draw_shapes(as_picture(pixels), finding.shapes), out / overlay)
        record = record_of(
            place_image(path, out / "images" / name), pixels, finding, number, job.class_name
        )
        tick(number, len(paths))
        yield Labelled(name, record, finding, um, overlay)


def find(pixels: Tensor, job: LabelJob, um: float | None, show: Show = unseen) -> Finding:
    """The objects in an image (C, H, W). um: micrometres per pixel, None if unknown.

    Raises:
        DataError: if the image has no channel that the settings name.
    """
    return job.kind.find(
        pixels.permute(1, 2, 0).numpy(), job.settings, _pixels_per_unit(pixels, um), show
    )


def with_estimates(job: LabelJob, finding: Finding, pixels: Tensor, um: float | None) -> LabelJob:
    """The job with the channel, polarity and typical size that were estimated from an image."""
    estimates: dict[str, Any] = {
        "channel": finding.plane,
        "polarity": "dark" if finding.dark else "bright",
    }
    if finding.width:
        estimates[job.kind.LENGTH] = finding.width / _pixels_per_unit(pixels, um)
    return replace(job, settings=job.settings.model_copy(update=estimates))


def _pixels_per_unit(pixels: Tensor, um: float | None) -> float:
    return 1 / um if um else UNIT * max(pixels.shape[-2:])


def read_any(path: Path) -> Tensor:
    """Read an image (C, H, W) with all its levels and all its channels; grey as three equal ones.

    Raises:
        DataError: if the file is damaged, or has more than MOST_CHANNELS.
    """
    try:
        return image_files.read(path, 3)
    except ImageError as error:
        if error.kind != "other channels":
            raise
        for channels in (1, 2, *range(4, MOST_CHANNELS + 1)):
            with suppress(DataError):
                return image_files.read(path, channels)
        raise


def _overlays(names: Sequence[Path]) -> list[Path]:
    """Where the overlays of images are: NAME.png; NAME.SUFFIX.png where two would share one."""
    short = [name.with_suffix(".png") for name in names]
    alone = len({path.as_posix().casefold() for path in short}) == len(names)
    return [
        "overlays" / (path if alone else Path(f"{name}.png"))
        for name, path in zip(names, short, strict=True)
    ]


def by_split(
    done: Sequence[Labelled], valid: float, keep_doubtful: bool
) -> dict[str, list[Labelled]]:
    """The images of each of SPLITS; views of one field of view stay together.

    valid: the share held back for validation; nothing is of a single field of view. keep_doubtful:
    treat doubtful images as all others.
    """
    trusted = [labelled for labelled in done if keep_doubtful or not labelled.finding.doubt]
    names = [labelled.name.as_posix() for labelled in trusted]
    shares = {"train": 1.0}
    if valid and len(groups(names)) > 1:
        shares = {"train": 1 - valid, "valid": valid}
    split_of: dict[str, str] = {}
    for split, members in (split_groups(names, shares, seed=0) if names else {}).items():
        split_of |= dict.fromkeys(members, split)
    splits: dict[str, list[Labelled]] = {split: [] for split in SPLITS}
    for labelled in done:
        splits[split_of.get(labelled.name.as_posix(), DOUBTFUL)].append(labelled)
    return splits


def record_of(path: Path, pixels: Tensor, finding: Finding, number: int, class_name: str) -> Record:
    """An image (C, H, W) with its objects, as labels of an algorithm. number: the image's id."""
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
    """Link an image to its place in the data set, or copy it where the disk cannot link.

    Raises:
        DataError: if another image is there.
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
