"""Label a folder of myotube images by classical image processing: images/ and annotations/ in
COCO's layout.

Files called *_green* and *_grey* show one field of view: green is looked at, grey gets the same
masks, and both are in training or both in testing. All lengths are relative to the image, so that
the resolutions change detail, not meaning.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image
from torch import Tensor, uint16

from segue.base.files import write_json
from segue.compat.flags import at_least
from segue.data.records import Record
from segue.data.scene_groups import split_groups
from segue.data.writing.coco import coco
from segue.data.writing.folders import new_folder
from segue.data.writing.resize import resized_record
from segue.errors import DataError, show
from segue.evaluation.overlay import as_picture
from segue.inference.predict import pictures_in
from segue.labelling import kinds
from segue.labelling.auto import LabelJob, find, read_any, record_of
from segue.run.console import Console

CLASS = "myotube"
SEED, TEST_SHARE = 42, 0.1
TWIN = re.compile(r"gr[ea]y", re.IGNORECASE)


@dataclass(frozen=True)
class Processed:
    """An image as it is written, with its objects.

    name: of the original file. doubt: why not to train on it.
    """

    name: str
    record: Record
    doubt: str

    @property
    def extras(self) -> dict[str, Any]:
        stem = Path(self.name).stem.lower()
        channel = "grey" if TWIN.search(stem) else "green" if "green" in stem else "unknown"
        count = len(self.record.annotations)
        known: dict[str, Any] = {
            "original_file": self.name,
            "myotube_count": count,
            "channel_type": channel,
        }
        return known | ({"doubt": self.doubt} if self.doubt else {})


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input_dir", type=Path, default=Path("max_projected_images"))
    parser.add_argument(
        "-o", "--output_dir", type=Path, default=Path("myotube_batch_output"), help="a new folder"
    )
    parser.add_argument(
        "-r", "--resolution", type=at_least(64), default=1500, help="longer side of what is written"
    )
    parser.add_argument(
        "-s",
        "--seg_resolution",
        type=at_least(64),
        default=2000,
        help="longer side of what is seen",
    )
    parser.add_argument(
        "--group", help="regular expression for what belongs together, if names do not say it"
    )
    args = parser.parse_args()
    paths = pictures_in(args.input_dir)
    root = args.input_dir if args.input_dir.is_dir() else args.input_dir.parent
    console = Console()
    with new_folder(args.output_dir) as out, console.progress("labelling") as tick:
        done: dict[str, Processed] = {}
        for number, path in enumerate(
            sorted(paths, key=lambda path: bool(TWIN.search(path.stem))), 1
        ):
            name = path.relative_to(root).as_posix()
            done[name] = processed(path, name, out, (args.resolution, args.seg_resolution), done)
            tick(number, len(paths))
        lines = write(out, list(done.values()), args.group)
    show("\n".join([f"{args.output_dir}:", *(f"  {line}" for line in lines)]))


def processed(
    path: Path, name: str, out: Path, sides: tuple[int, int], done: dict[str, Processed]
) -> Processed:
    """Write one image and find its objects, or take those of its green twin."""
    pixels = read_any(path)
    small = resized(pixels, sides[0])
    place = Path(name).with_suffix("").as_posix().replace("/", "_")
    target = out / "images" / f"{place}_processed.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise DataError(
            path,
            f"a second image that would be {target.name}",
            "other names",
            "rename one of the two",
        )
    picture_of(small).save(target)
    height, width = small.shape[-2:]
    twin = done.get(TWIN.sub("green", name))
    if TWIN.search(Path(name).stem) and twin is not None:
        same = resized_record(twin.record, height, width)
        return Processed(name, replace(same, image=target, id=len(done) + 1), twin.doubt)
    seen = resized(pixels, sides[1])
    tubes = kinds.get("tubes")
    finding = find(seen, LabelJob(tubes, tubes.Settings(), CLASS), um=None)
    record = resized_record(record_of(target, seen, finding, len(done) + 1, CLASS), height, width)
    return Processed(name, record, finding.doubt)


def resized(pixels: Tensor, longest: int) -> Tensor:
    """An image (C, H, W) whose longer side is at most `longest` pixels, with its levels; never
    enlarged.
    """
    height, width = pixels.shape[-2:]
    ratio = longest / max(height, width)
    if ratio >= 1:
        return pixels
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    values = F.interpolate(pixels[None].float(), size, mode="bicubic", antialias=True)[0]
    highest = 65535 if pixels.dtype == uint16 else 255
    return values.round().clamp(0, highest).to(pixels.dtype)


def picture_of(pixels: Tensor) -> Image.Image:
    """A PNG's picture: 16 bit where there is one channel of it, else 8 bit."""
    if pixels.dtype == uint16 and bool((pixels[:1].float() == pixels.float()).all()):
        return Image.fromarray(pixels[0].numpy())
    return as_picture(pixels)


def write(out: Path, done: list[Processed], pattern: str | None) -> list[str]:
    """annotations.json with everything, and what is trusted in two splits; returns a line about
    each file.
    """
    done = sorted(done, key=lambda image: image.name)
    trusted = [image for image in done if not image.doubt]
    if not trusted:
        raise DataError(
            out,
            f"doubt about every image; of the first: {done[0].doubt}",
            "one without",
            "segue label auto",
        )
    shares = {"train": 1 - TEST_SHARE, "test": TEST_SHARE}
    splits = split_groups([image.name for image in trusted], shares, SEED, pattern)
    files = {"annotations": done}
    for split, names in splits.items():
        files[f"algorithmic_{split}_annotations"] = [
            image for image in trusted if image.name in set(names)
        ]
    lines = []
    for name, images in files.items():
        records = [image.record for image in images]
        content = coco(records, {CLASS: 1}, lambda record: record.image.name)
        content["categories"][0]["supercategory"] = "cell"
        content["images"] = [
            entry | image.extras for entry, image in zip(content["images"], images, strict=True)
        ]
        write_json(out / "annotations" / f"{name}.json", content)
        lines.append(f"{name}.json: {len(images)} images, {len(content['annotations'])} myotubes")
    doubts = [f"{image.name}: {image.doubt}" for image in done if image.doubt]
    return lines + [f"doubt, in neither part: {doubt}" for doubt in doubts]
