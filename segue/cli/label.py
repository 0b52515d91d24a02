"""The verbs below `segue label`: labels from image processing, and labels by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from segue.errors import show

label = App(
    name="label",
    help="Label images with classical image processing, and correct its labels by hand.",
)


@label.command
def auto(
    images: Path,
    *settings: str,
    kind: str,
    out: Path = Path("labels"),
    scale: float | None = None,
    channel: str = "",
    class_name: Annotated[str, Parameter(name=["--class", "--class-name"])] = "",
    show_steps: Annotated[bool, Parameter(negative="")] = False,
    valid: float = 0.15,
    keep_doubtful: Annotated[bool, Parameter(negative="")] = False,
    replace: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Label images by image processing: write a data set with masks, overlays, and a page that
    shows objects and doubts.

    Parameters
    ----------
    images
        A folder (with all folders below it) or one file: 8 or 16 bit, any number of channels.
    settings
        key=value for the kind, such as polarity=dark or diameter=12; an unknown key lists
        all keys.
    kind
        tubes (long and thin, crossing) or blobs (roundish, touching).
    out
        The data set's folder. Images in it are hard links to yours and take no space.
    scale
        Micrometres per pixel; default: as TIFF files say. Without it lengths are thousandths of the
        image's longer side.
    channel
        Name (red, green, blue) or number from 0 of the channel to use; default: the one with the
        clearest objects.
    class_name
        Class name of the objects; default: tube or blob.
    show_steps
        Also write an image of every step.
    valid
        Fraction of the images to hold back for validation; views of one field stay together.
    keep_doubtful
        Also put doubtful images into the data set.
    replace
        Replace the labels in --out even if they have other settings or images, or include manual
        labels.
    """
    from segue.cli.commands.label.auto import job_of, label_folder

    job = job_of(kind, settings, channel, class_name, scale, show_steps)
    show(label_folder(images, out, job, valid, keep_doubtful, replace))


@label.command
def pick(
    images: Path,
    *settings: str,
    count: int,
    checkpoint: Path | None = None,
    kind: str = "",
    labels: Path | None = None,
    group: str | None = None,
    out: Path = Path("pick"),
    threshold: float = 0.5,
    scale: float | None = None,
    channel: str = "",
    class_name: Annotated[str, Parameter(name=["--class", "--class-name"])] = "",
    device: str = "auto",
    tile: str | None = None,
    json: bool = False,
) -> None:
    """Pick the images that are most useful to label by hand, and write their objects for CVAT,
    LabelMe and COCO.

    Parameters
    ----------
    images
        A folder, with all folders below it.
    settings
        key=value for the kind, as in label auto.
    count
        How many images to pick.
    checkpoint
        Detect objects with this checkpoint, stage or run folder, or file as predict takes.
    kind
        Detect tubes or blobs by image processing; without it and --checkpoint, take the labels.
    labels
        The data set of label auto: do not pick images with manual labels, nor other views of
        their fields.
    group
        Regular expression: its first group names the field of view, of which one image is picked.
    out
        A new folder for the list, overlays and the files of each program.
    threshold
        Lowest score of an object that the checkpoint detects.
    scale
        Micrometres per pixel, as in label auto.
    channel
        The channel to use, as in label auto.
    class_name
        Class name of the objects, as in label auto.
    tile
        Cut images into tiles with this side in pixels, or auto, as in predict.
    json
        Print the list as JSON.
    """
    from segue.cli.commands.label.auto import job_of
    from segue.cli.commands.label.pick import (
        PickOptions,
        assessor_from_checkpoint,
        assessor_from_kind,
        assessor_from_labels,
        pick_images,
    )
    from segue.errors import DataError, PlanError

    if not images.exists():
        raise DataError(images, "no such file or folder", "images")
    if checkpoint and kind:
        raise PlanError("--checkpoint and --kind", "both are given", "one of them")
    if tile and not checkpoint:
        raise PlanError(
            "--tile",
            "without --checkpoint",
            "a model, which sees every image at one size, or no tiles",
        )
    if checkpoint:
        assessor, ids = assessor_from_checkpoint(checkpoint, threshold, device, tile)
    elif kind:
        assessor, ids = assessor_from_kind(
            job_of(kind, settings, channel, class_name, scale, False)
        )
    else:
        assessor, ids = assessor_from_labels(labels)
    show(pick_images(images, assessor, ids, PickOptions(count, labels, group, out), json))


@label.command(name="import")
def import_(
    corrected: Path,
    *,
    into: Path,
    classes: Annotated[tuple[str, ...], Parameter(name=["--class", "--class-name"])] = (),
    held: float = 0.0,
    picked: Path | None = None,
    group: str | None = None,
    keep_unreviewed: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Check manually corrected labels, and add them to a data set for the second stage.

    Parameters
    ----------
    corrected
        A file or folder of CVAT, LabelMe, VIA or COCO.
    into
        The data set of label auto; images that it lacks are hard-linked into it.
    classes
        Accept a class that the data set does not have yet; repeat for each.
    held
        Fraction of the fields of view to hold back for validation, with all their views.
    picked
        The folder of label pick that the labels come from, if they are not in it.
    group
        Regular expression: its first group names the field of view.
    keep_unreviewed
        Also import images without any change since label pick.
    """
    from segue.cli.commands.label.import_labels import ImportOptions, import_labels

    show(
        import_labels(corrected, into, ImportOptions(classes, held, picked, group, keep_unreviewed))
    )
