"""The verbs below `segue label`: labels from image processing, and labels by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from segue.errors import show

label = App(
    name="label",
    help="Labels: from classical image processing, and by hand with what is found as a start.",
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
    """Label images from nothing: a data set with masks, overlays, and a sheet of what was found and
    what is doubtful.

    Parameters
    ----------
    images
        A folder (with all folders below it) or one file: 8 or 16 bit, any number of channels.
    settings
        key=value for the kind, such as polarity=dark or diameter=12; an unknown key lists those
        there are.
    kind
        tubes (long and thin, crossing) or blobs (roundish, touching).
    out
        The data set's folder. Images in it are second names of yours and take no space.
    scale
        Micrometres per pixel; read from TIFF files that say it. Without it lengths are thousandths
        of the image.
    channel
        Name (red, green, blue) or number from 0 of the channel to look at; else the one with the
        clearest objects.
    class_name
        What the objects are called; else tube or blob.
    show_steps
        Write a picture of every step too.
    valid
        Share of the images held back for validation; files that show the same field of view stay
        together.
    keep_doubtful
        Put images with a doubt into the data set as well.
    replace
        Replace the labels in --out, though they are of other settings or images, or there are
        labels by hand.
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
    """Pick the images that are worth labelling by hand, and write what is found in them for CVAT,
    LabelMe and COCO.

    Parameters
    ----------
    images
        A folder, with all folders below it.
    settings
        key=value for the kind, as in label auto.
    count
        How many.
    checkpoint
        A checkpoint, stage or run folder, or a file as predict takes, to look with.
    kind
        Look with image processing, tubes or blobs, if there is no checkpoint; else the labels are
        taken.
    labels
        The data set of label auto: images in it that are labelled by hand are not picked, nor
        others of their fields.
    group
        Regular expression: its first group names the field of view, of which one image is picked.
    out
        A new folder for the list, overlays and the files of each program.
    threshold
        Lowest score that counts as found by the checkpoint.
    scale
        Micrometres per pixel, as in label auto.
    channel
        The channel to look at, as in label auto.
    class_name
        What objects are called, as in label auto.
    tile
        Let the checkpoint look at squares of so many pixels, or auto, as in predict.
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
    """Read labels that were corrected by hand, check them, and add them to a data set for the
    second stage.

    Parameters
    ----------
    corrected
        A file or folder of CVAT, LabelMe, VIA or COCO.
    into
        The data set of label auto; images that it does not have become second names in it.
    classes
        A class that the data set does not have yet; again for each.
    held
        Share of the fields of view to hold back for validation; others of a field that is held back
        are, too.
    picked
        The folder of label pick that the labels were made from, if they do not lie in it.
    group
        Regular expression: its first group names the field of view.
    keep_unreviewed
        Take images in which nothing was changed since label pick as well.
    """
    from segue.cli.commands.label.import_labels import ImportOptions, import_labels

    show(
        import_labels(corrected, into, ImportOptions(classes, held, picked, group, keep_unreviewed))
    )
