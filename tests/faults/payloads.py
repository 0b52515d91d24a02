"""Files that try to do harm.

Each planter writes one into a folder, with what belongs to it, and returns its path.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segue.models import ModelSpec, rfdetr
from segue.training import checkpoint

MODULE = "segue_payload_family"  # a module on the path whose import leaves the marker
SCRIPT = "<script>alert(1)</script>"
CONTROL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b1m\u202e"


class Payload:
    """Unpickled in full, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


def png(height: int, width: int) -> bytes:
    """A header that claims so many pixels, and hardly any behind it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def coco(folder: Path, image: str, class_name: str = "cell") -> Path:
    """A data set of one image and one object; the image is written unless it is there."""
    folder.mkdir(exist_ok=True)
    content = {
        "images": [{"id": 1, "file_name": image, "height": 64, "width": 64}],
        "categories": [{"id": 1, "name": class_name}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [8, 8, 24, 24],
                "segmentation": [[8, 8, 32, 8, 32, 32]],
            }
        ],
    }
    try:
        if not (folder / image).exists():
            Image.new("RGB", (64, 64), "grey").save(folder / image)
    except (OSError, ValueError):
        Image.new("RGB", (64, 64), "grey").save(folder / "other.png")
    (folder / "_annotations.coco.json").write_text(json.dumps(content))
    return folder / "_annotations.coco.json"


def archive(folder: Path, marker: Path) -> Path:
    torch.save({"model": {"w": torch.ones(2)}, "args": Payload(marker)}, folder / "model.pth")
    return folder / "model.pth"


def legacy(folder: Path, marker: Path) -> Path:
    torch.save({"model": Payload(marker)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    return folder / "old.pt"


def nested(folder: Path, marker: Path) -> Path:
    """Inside of a type that is allowed."""
    torch.save(
        {"state_dict": {}, "hyper_parameters": argparse.Namespace(x=[Payload(marker)])},
        folder / "model.ckpt",
    )
    return folder / "model.ckpt"


def plain_pickle(folder: Path, marker: Path) -> Path:
    (folder / "model.pkl").write_bytes(pickle.dumps({"model": Payload(marker)}, protocol=2))
    return folder / "model.pkl"


def object_array(folder: Path, marker: Path) -> Path:
    np.save(folder / "image.npy", np.array([[Payload(marker)]], dtype=object), allow_pickle=True)
    coco(folder, "image.npy")
    return folder / "image.npy"


def yaml_tag(folder: Path, marker: Path) -> Path:
    """A plan and, for YOLO, the description of a data set."""
    text = f"!!python/object/apply:os.mkdir ['{marker}']"
    for place in ("images/train", "images/val", "labels/train", "labels/val"):
        (folder / place).mkdir(parents=True)
        if place.startswith("images"):
            Image.new("RGB", (64, 64)).save(folder / place / "a.png")
    (folder / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {text}\n")
    (folder / "plan.yaml").write_text(
        f"name: {text}\ndata: {text}\nmodel: {text}\nstages: [{text}]\n"
    )
    return folder / "plan.yaml"


def zip_bomb(folder: Path, marker: Path) -> Path:
    """260 kB that claim and unpack to 268 MB."""
    torch.save({"model": {"w": torch.ones(2)}}, folder / "small.pth")
    with (
        zipfile.ZipFile(folder / "small.pth") as small,
        zipfile.ZipFile(folder / "bomb.pth", "w") as bomb,
    ):
        for entry in small.infolist():
            content = bytes(1 << 28) if entry.filename.endswith("data/0") else small.read(entry)
            bomb.writestr(entry.filename, content, zipfile.ZIP_DEFLATED)
    (folder / "small.pth").unlink()
    return folder / "bomb.pth"


def lying_header(folder: Path, marker: Path) -> Path:
    """Of transformers' folder: a header of 2^60 bytes, and offsets outside of the file."""
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    ).encode()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    (folder / "more.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + header)
    return folder / "model.safetensors"


def picture_bomb(folder: Path, marker: Path) -> Path:
    (folder / "bomb.png").write_bytes(png(60_000, 60_000))
    coco(folder, "bomb.png")
    return folder / "bomb.png"


def deep_json(folder: Path, marker: Path) -> Path:
    """Nested 200,000 deep, and a number of 5,000 digits."""
    coco(folder, "a.png")
    text = (
        '{"images": '
        + "[" * 200_000
        + "]" * 200_000
        + ', "annotations": [], "categories": ['
        + "9" * 5000
        + "]}"
    )
    for name in ("_annotations.coco.json", "card.json", "run.json", "sweep.json", "config.json"):
        (folder / name).write_text(text)
    (folder / "plan.yaml").write_text("data: " + "[" * 200_000)
    return folder / "_annotations.coco.json"


def entities(folder: Path, marker: Path) -> Path:
    """A billion laughs, and a file of this machine."""
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY l0 "ha">{laughs}'
        '<!ENTITY f SYSTEM "file:///etc/passwd">]>'
        '<annotations><image id="0" name="a.png" width="64" height="64">&l9;&f;'
        "</image></annotations>"
    )
    return folder / "annotations.xml"


def card(folder: Path, marker: Path) -> Path:
    """A checkpoint, complete with its sums, of a family whose import leaves the marker; and a run
    with such a plan.
    """
    options = rfdetr.resolve_options(rfdetr.Options(), rfdetr.SIZES["pico"], 5, "cpu")[
        0
    ].model_dump()
    good = ModelSpec(family="rfdetr", size="pico", classes=("cell",), options=options)
    bad = good.model_copy(update={"family": MODULE + ".model"})
    checkpoint.write(
        folder / "selected", {"w": torch.ones(2)}, checkpoint.Card(spec=bad, complete=True)
    )
    for path in (folder / "selected").iterdir():
        path.rename(folder / path.name)
    (folder / "selected").rmdir()
    plan = (
        f"data: {{root: {folder}}}\nmodel: {{family: {MODULE}.model}}\nstages: [{{name: a, "
        f"epochs: 1}}]\n"
    )
    (folder / "plan.yaml").write_text(plan)
    (folder / "run.json").write_text(json.dumps({"plan": "a", "digest": "", "stages": {}}))
    torch.save(
        {"model_state_dict": {}, "card": {"spec": bad.model_dump(mode="json")}},
        folder / "model.pth",
    )
    return folder / "model.pth"


def names(folder: Path, marker: Path) -> Path:
    """Markup and a terminal's control characters in the names of a class and of an image."""
    return coco(folder, f"a{CONTROL}<b onmouseover=alert(1)>.png", SCRIPT + CONTROL)


def paths(folder: Path, marker: Path) -> Path:
    """Names of files above and next to the data set, of which the second exists."""
    (folder.parent / "beside.png").write_bytes(b"")
    path = coco(folder, "a.png")
    content = json.loads(path.read_text())
    named = ("../beside.png", "/etc/passwd", "a.png", "..\\..\\beside.png")
    content["images"] = [
        {"id": i, "file_name": n, "height": 64, "width": 64} for i, n in enumerate(named, 1)
    ]
    path.write_text(json.dumps(content))
    picked = {"images": "/etc", "picked": [{"image": "../../../etc/passwd", "file": "a"}]}
    (folder / "pick.json").write_text(json.dumps(picked))
    return path


def eps(folder: Path, marker: Path) -> Path:
    """PostScript, for which PIL would start a program, called .png; and a picture in a LabelMe
    file.
    """
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "EPS")
    (folder / "image.png").write_bytes(buffer.getvalue())
    coco(folder, "image.png")
    return folder / "image.png"


PAYLOADS: dict[str, Callable[[Path, Path], Path]] = {
    planter.__name__: planter
    for planter in (
        *(
            archive,
            legacy,
            nested,
            plain_pickle,
            object_array,
            yaml_tag,
            zip_bomb,
            lying_header,
            picture_bomb,
        ),
        *(deep_json, entities, card, names, paths, eps),
    )
}
