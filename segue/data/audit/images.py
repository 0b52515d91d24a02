"""Image files: their headers against what is annotated, their values, and a small picture of each
to compare.

Headers alone are quick. With pixels, every image is decoded once, exactly as training would decode
it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from segue.data.images import image_io, tiff
from segue.data.images.image_error import ImageError
from segue.data.pipeline.samples import read_image
from segue.data.problems import Place, Problem
from segue.data.records import Record, Split
from segue.errors import DataError
from segue.structures.channels import Channel

SIDE = 16  # of the small pictures
LEAST_CONTRAST = 1e-3  # of a small picture, relative to its largest value
DEEP_USE = 0.25  # of the values of its type: what stays below has fewer bits than its type


@dataclass(frozen=True, slots=True)
class Header:
    """height, width: as `images.read` gives them.

    mode: colours and bits. turned: by an EXIF mark, to another shape.
    """

    height: int
    width: int
    mode: str
    wide: bool = False
    orientation: int = 1


@dataclass(slots=True)
class Pictures:
    """What the files of a data set are: their problems, and what others compare.

    Both lists go with `records`.
    """

    problems: list[Problem] = field(default_factory=list)
    records: list[tuple[Split, Record]] = field(default_factory=list)
    # grey (SIDE, SIDE), None if not decoded
    small: list[np.ndarray | None] = field(default_factory=list)


def read_header(path: Path) -> Header:
    """What a file's header says.

    Raises:
        DataError: if there is no such file, or its header cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in image_io.TIFF or suffix == ".npy":
        height, width = image_io.size(path)
        bits = image_io.bits(path)
        channels = tiff.shape(path)[1] if suffix in image_io.TIFF else 0
        return Header(height, width, f"{channels or 'several'} channels, {bits} bits", bits > 8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=image_io.FORMATS) as image:
                orientation = image_io.orientation(image)
                width, height = image.size if orientation < 5 else image.size[::-1]
                return Header(height, width, image.mode, image.mode.startswith("I"), orientation)
    except Image.DecompressionBombError as error:
        raise ImageError(
            "image too large",
            path,
            f"exceeds limit of pixels ({error})",
            f"at most {image_io.MOST_PIXELS}",
        ) from None
    except image_io.UNREADABLE as error:
        raise ImageError(
            "damaged image",
            path,
            f"no readable image header ({str(error)[:120]})",
            "an undamaged image",
        ) from None


def look(
    splits: dict[str, Split],
    channels: Sequence[Channel] | None,
    pixels: bool,
    tick: Callable[[int, int], None],
) -> Pictures:
    """Look at the file of every record, decoded if `pixels`.

    channels: None takes whatever channels there are.
    """
    out = Pictures()
    modes: dict[str, list[Record]] = {}
    out.records = [(split, record) for split in splits.values() for record in split.records]
    for number, (split, record) in enumerate(out.records, 1):
        small = None
        try:
            header = _header(out.problems, split, record, modes)
            if header is not None and pixels:
                small = _decoded(out.problems, split, record, header, channels)
        except DataError as error:
            _refuse(out.problems, split, record, error)
        out.small.append(small)
        tick(number, len(out.records))
    _note_modes(out.problems, splits, modes)
    return out


def _header(
    problems: list[Problem], split: Split, record: Record, modes: dict[str, list[Record]]
) -> Header | None:
    """The header of a record's file; None, with a problem, if it is of no use to decode it."""
    path = record.image
    if path.is_file() and not path.stat().st_size:
        problems.append(_of("empty image file", split, record, f"{path.name} has 0 bytes"))
        return None
    header = read_header(path)
    if header.height * header.width > image_io.MOST_PIXELS:
        text = f"{path.name}: {header.width} x {header.height} pixels"
        problems.append(_of("image too large", split, record, text))
        return None
    modes.setdefault(header.mode, []).append(record)
    if header.orientation != 1:
        problems.append(
            _of("turned by EXIF", split, record, f"{path.name}: orientation {header.orientation}")
        )
    off = max(abs(header.height - record.height), abs(header.width - record.width))
    if not off:
        return header
    text = (
        f"{path.name}: {header.width} x {header.height} pixels, annotated {record.width} x "
        f"{record.height}"
    )
    before = header.orientation >= 5 and (header.width, header.height) == (
        record.height,
        record.width,
    )
    kind = (
        "annotated before turning"
        if before
        else "size off by one"
        if off == 1
        else "size other than annotated"
    )
    problems.append(_of(kind, split, record, text))
    return header if off == 1 else None


def _decoded(
    problems: list[Problem],
    split: Split,
    record: Record,
    header: Header,
    channels: Sequence[Channel] | None,
) -> np.ndarray:
    """The small picture of a decoded image, with a problem if its values do not fit their scale."""
    pixels = (
        image_io.read_for_display(record.image)
        if channels is None
        else read_image(record, tuple(channels))
    )
    channels = channels or ()
    if header.wide and all(channel.scale != "percentile" for channel in channels):
        largest = float(image_io.read_stack(record.image).max())
        scales = [channel.scale for channel in channels if isinstance(channel.scale, float | int)]
        if scales and largest > min(scales):
            text = f"{record.image.name}: values up to {largest:g}, scale {min(scales):g}"
            problems.append(_of("values beyond the scale", split, record, text))
        elif not scales and 1 < largest < DEEP_USE * 65535:
            bits = int(largest).bit_length()
            text = (
                f"{record.image.name}: values up to {largest:g} ({bits} bits) in 16 bits; "
                f"scale: {2**bits - 1}"
            )
            problems.append(_of("wide values without a scale", split, record, text))
    return F.adaptive_avg_pool2d(pixels.float().mean(0)[None], SIDE)[0].numpy()


def _refuse(problems: list[Problem], split: Split, record: Record, error: DataError) -> None:
    kind = error.kind if isinstance(error, ImageError) else "damaged image"
    # the error may be about a partner, for another channel
    file = record.image.name if error.where == str(record.image) else error.where
    problems.append(_of(kind, split, record, f"{file}: {error.found}", error.expected))


def _note_modes(
    problems: list[Problem], splits: dict[str, Split], modes: dict[str, list[Record]]
) -> None:
    if len(modes) > 1:
        counts = Counter({mode: len(records) for mode, records in modes.items()}).most_common()
        rarest = modes[counts[-1][0]][0]
        text = (
            ", ".join(f"{mode} ({count})" for mode, count in counts)
            + f"; {counts[-1][0]}: {rarest.image.name}"
        )
        source = next(split for split in splits.values() if rarest in split.records)
        problems.append(_of("mixed kinds of images", source, rarest, text))


def _of(kind: str, split: Split, record: Record, finding: str, expected: str = "") -> Problem:
    place = Place(str(split.source), image_id=record.id, image=str(record.image))
    return Problem(kind, place, finding, expected, split.name)


def small_pictures(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """The small pictures without mean and contrast (M, SIDE, SIDE), and the records (M,) they are
    of.

    Pictures of one colour are left out: they are equal to any other.
    """
    contrast = [
        0.0 if small is None else np.ptp(small) / max(np.abs(small).max(), 1e-6)
        for small in pictures.small
    ]
    chosen = [i for i, relative in enumerate(contrast) if relative > LEAST_CONTRAST]
    if not chosen:
        return np.zeros((0, SIDE, SIDE), dtype=np.float32), np.zeros(0, dtype=np.int64)
    chosen_pictures = [pictures.small[i] for i in chosen]
    values = np.stack(chosen_pictures).astype(np.float32)  # type: ignore[arg-type]
    values -= values.mean((1, 2), keepdims=True)
    values /= np.linalg.norm(values, axis=(1, 2), keepdims=True)
    return values, np.array(chosen)


def best_match(values: np.ndarray, block: int = 1024) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each small picture (M, SIDE, SIDE) the earlier one that is most like it, in any of eight
    positions.

    Returns the likeness (M,) in -1..1, the index (M,) of the earlier one, and whether it is turned
    or mirrored (M,).
    """
    count = len(values)
    flat = torch.from_numpy(values.reshape(count, SIDE * SIDE))
    best, which, turned = (
        np.full(count, -1.0),
        np.zeros(count, dtype=np.int64),
        np.zeros(count, dtype=bool),
    )
    for position in range(8):
        moved = np.rot90(values if position < 4 else values[:, :, ::-1], position % 4, axes=(1, 2))
        other = torch.from_numpy(np.ascontiguousarray(moved).reshape(count, SIDE * SIDE))
        for begin in range(0, count, block):
            end = min(begin + block, count)
            likeness = flat[begin:end] @ other[:end].T
            # of these pictures with each other: only earlier ones count
            square = likeness[:, begin:]
            square.masked_fill_(torch.ones_like(square, dtype=torch.bool).triu(), -1.0)
            top, index = likeness.max(1)
            # a symmetrical picture is first of all itself
            better = top.numpy() > best[begin:end] + 1e-4
            best[begin:end][better] = top.numpy()[better]
            which[begin:end][better] = index.numpy()[better]
            turned[begin:end][better] = position > 0
    return best, which, turned
