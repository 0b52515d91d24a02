"""The verbs below `segue label`: labels from image processing, and labels by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

label = App(name="label", help="Labels: from classical image processing, and by hand with what is found as a start.")


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
) -> None:
    """Label images from nothing: a data set with masks, overlays, and a sheet of what was found and what is doubtful.

    Parameters
    ----------
    images
        A folder (with all folders below it) or one file: 8 or 16 bit, any number of channels.
    settings
        key=value for the kind, such as polarity=dark or diameter=12; an unknown key lists those there are.
    kind
        tubes (long and thin, crossing) or blobs (roundish, touching).
    out
        The data set's folder. Images in it are second names of yours and take no space.
    scale
        Micrometres per pixel; read from TIFF files that say it. Without it lengths are thousandths of the image.
    channel
        Name (red, green, blue) or number from 0 of the channel to look at; else the one with the clearest objects.
    class_name
        What the objects are called; else tube or blob.
    show_steps
        Write a picture of every step too.
    valid
        Share of the images held back for validation; files that show the same field of view stay together.
    keep_doubtful
        Put images with a doubt into the data set as well.
    """
    from segue.commands.label_auto import job_of, label_folder

    job = job_of(kind, settings, channel, class_name, scale, show_steps)
    print(label_folder(images, out, job, valid, keep_doubtful))
