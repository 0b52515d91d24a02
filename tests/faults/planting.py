"""How a data set is spoiled: a change of its annotation file, of a picture, or of its folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segue.structures.channels import RGB, Channel

Plant = Callable[[Path], Any]
LOOSE = tuple(Channel(name=name, scale=255) for name in "rgb")
WARM = (*RGB, Channel(name="warm", folder="warm"))
CROSSED = [10, 10, 50, 50, 50, 10, 10, 50]


def edit(change: Callable[[dict], object], part: str = "train") -> Plant:
    def plant(data: Path) -> None:
        path = data / part / "_annotations.coco.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return plant


def thing(**fields: Any) -> Plant:
    """The fourth object of the training part, changed; None takes a field away."""

    def change(content: dict) -> None:
        entry = {**content["annotations"][3], **fields}
        content["annotations"][3] = {
            key: value for key, value in entry.items() if value is not None
        }

    return edit(change)


def image(**fields: Any) -> Plant:
    return edit(lambda content: content["images"][1].update(fields))


def text(content: str | bytes) -> Plant:
    def plant(data: Path) -> None:
        path = data / "train" / "_annotations.coco.json"
        whole = isinstance(content, str)
        path.write_bytes(content.encode() if whole else path.read_bytes() + content)

    return plant


def category(number: int, **fields: Any) -> Plant:
    return edit(lambda content: content["categories"][number].update(fields))


def picture(change: Callable[[Path], object]) -> Plant:
    return lambda data: change(data / "train" / "train_0001.png")


def saved(path: Path, pixels: np.ndarray, **options: Any) -> None:
    Image.fromarray(pixels).save(path, **options)


def resized(width: int, height: int) -> Plant:
    return picture(lambda path: Image.open(path).resize((width, height)).save(path))


def oriented(mark: int, sides: tuple[int, int]) -> Plant:
    """A JPEG with an EXIF mark in place of a picture; sides: width, height as annotated."""

    def plant(data: Path) -> None:
        path = data / "train" / "train_0001.jpg"
        exif = Image.Exif()
        exif[0x0112] = mark
        Image.open(path.with_suffix(".png")).convert("RGB").resize((96, 64)).save(path, exif=exif)
        path.with_suffix(".png").unlink()
        image(file_name=path.name, width=sides[0], height=sides[1])(data)

    return plant


def deep(largest: int) -> Plant:
    def plant(data: Path) -> None:
        ramp = np.linspace(0, largest, 96 * 96).reshape(96, 96).astype(np.uint16)
        saved(data / "train" / "train_0001.png", ramp)

    return plant


def into(
    part: str, name: str, change: Callable[[np.ndarray], np.ndarray] = lambda pixels: pixels
) -> Plant:
    """The second training picture again, changed, in place of another."""

    def plant(data: Path) -> None:
        pixels = np.asarray(Image.open(data / "train" / "train_0001.png"))
        saved(data / part / name, np.ascontiguousarray(change(pixels)))

    return plant


def linked(data: Path) -> None:
    target = data.parent / "outside.png"
    shutil.move(data / "train" / "train_0001.png", target)
    (data / "train" / "train_0001.png").symlink_to(target)


def linked_below(data: Path) -> None:
    linked(data)
    (data / "train" / "deep").mkdir()
    (data / "train" / "train_0001.png").rename(data / "train" / "deep" / "train_0001.png")


def renamed(keys: dict[str, str]) -> Plant:
    """Other names for keys of the file, and of every entry of images."""

    def change(content: dict) -> None:
        for old, new in keys.items():
            if old in content:
                content[new] = content.pop(old)
            for entry in content.get("images", []):
                if old in entry:
                    entry[new] = entry.pop(old)

    return edit(change)


def as_corners(masks: bool) -> Plant:
    def change(content: dict) -> None:
        for entry in content["annotations"]:
            x, y, w, h = entry["bbox"]
            entry["bbox"] = [x, y, x + w, y + h]
            if not masks:
                entry["segmentation"] = []

    return edit(change)


def only_box(content: dict) -> None:
    content["annotations"][3]["segmentation"] = []


def areas(content: dict) -> None:
    for entry in content["annotations"]:
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]


def twice(content: dict) -> None:
    content["annotations"].append({**content["annotations"][3], "id": 9001})


def sides(content: dict) -> None:
    content["categories"][0]["name"], content["categories"][1]["name"] = "left cell", "right cell"


def crowded(content: dict) -> None:
    first = content["annotations"][3]
    for number in range(101):
        box = [number % 10 * 9, number // 10 * 8, 6, 6]
        content["annotations"].append(
            {**first, "id": 9000 + number, "bbox": box, "segmentation": []}
        )


def scene(data: Path) -> None:
    """One field of view, its colours in two parts."""
    for part, number, name in (("train", 1, "field7_green.png"), ("valid", 1, "field7_red.png")):
        (data / part / f"{part}_{number:04d}.png").rename(data / part / name)
        edit(
            lambda content, number=number, name=name: content["images"][number].update(
                file_name=name
            ),
            part,
        )(data)


def bomb(path: Path) -> None:
    """A PNG of 121 million pixels in 15 KB."""
    Image.new("1", (11_000, 11_000)).save(path)


def rle(size: list[int], counts: Any) -> Plant:
    return thing(segmentation={"size": size, "counts": counts})


SIDE = [96, 96]
PIXELS = 96 * 96
NAN = float("nan")


def partners(change: Callable[[Path], object]) -> Plant:
    """A grey partner in warm/ for every image; that of one is changed."""

    def plant(data: Path) -> None:
        for path in data.glob("*/*.png"):
            (path.parent / "warm").mkdir(exist_ok=True)
            Image.open(path).convert("L").save(path.parent / "warm" / path.name)
        change(data / "train" / "warm" / "train_0001.png")

    return plant


# kind of finding, what is planted, channels if they matter
