"""segue label pick: the folder it writes for each program, its list, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks.rendered_fields import render_field
from segue.cli.app import main
from segue.data.dataset import Data, read_splits
from tests.labelling.picking import names, picked
from tests.labelling.scoring import levels


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory):
    """Two 12-bit TIFFs and a PNG of nuclei, picked with image processing."""
    folder = tmp_path_factory.mktemp("handed")
    (folder / "images" / "plate").mkdir(parents=True)
    for number, name in enumerate(("a.tif", "plate/a.tif")):
        field, _ = render_field(np.random.default_rng(number), 160, "blobs", 12)
        tifffile.imwrite(folder / "images" / name, levels(field)[..., 0])
    field, _ = render_field(np.random.default_rng(2), 160, "blobs", 12)
    Image.fromarray((field * 255).clip(0, 255).astype(np.uint8)).save(folder / "images" / "b.png")
    arguments = [
        "--count",
        "3",
        "--kind",
        "blobs",
        "--class",
        "nucleus",
        "--out",
        str(folder / "out"),
    ]
    assert main(["label", "pick", str(folder / "images"), *arguments]) == 0
    return folder


def test_every_program_gets_the_images_with_what_was_found(handed: Any) -> None:
    listed = json.loads((handed / "out" / "pick.json").read_text())["picked"]
    assert sorted(names(listed)) == ["a.tif", "b.png", "plate/a.tif"]
    assert all(0 < entry["disagreement"] < 0.5 and entry["objects"] >= 3 for entry in listed)
    objects = {entry["file"]: entry["objects"] for entry in listed}
    for program in ("cvat", "labelme", "coco"):
        (split,) = read_splits(Data(root=handed / "out" / program)).values()
        assert split.problems == []
        assert {r.image.stem: len(r.annotations) for r in split.records} == objects
        assert all(
            a.mask is not None and a.class_name == "nucleus"
            for r in split.records
            for a in r.annotations
        )
        # what is no TIFF opens everywhere
        assert {r.image.suffix for r in split.records} == {".png"}
        for record in split.records:
            with Image.open(record.image) as picture:
                assert picture.size == (160, 160) and picture.mode in ("L", "RGB")
    assert len(list((handed / "out" / "overlays").iterdir())) == 3


def test_the_list_says_why_and_is_the_same_again(
    handed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(handed / "images"), "--count", "3", "--kind", "blobs"]
    assert main(["label", "pick", *arguments, "--out", str(handed / "again")]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = json.loads((handed / "out" / "pick.json").read_text())["picked"]
    assert lines == [
        f"{number}. {entry['image']}: {entry['reason']}" for number, entry in enumerate(listed, 1)
    ]
    assert all("of the typical distance to" in line for line in lines[1:])


def test_labels_that_there_are_are_handed_out_and_said_to_be_one_view(
    handed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--out", str(handed / "labels"), "--keep-doubtful")
    assert main(["label", "auto", str(handed / "images"), "--kind", "blobs", *where]) == 0
    more = ("--labels", handed / "labels", "--out", handed / "one-view")
    found, said = picked(capsys, handed / "images", "--count", 9, *more)
    assert "labels are one view" in said and "3 images, not 9: there are no more" in said
    assert all(entry["disagreement"] is None and entry["objects"] >= 3 for entry in found)
    path = handed / "labels" / "annotations" / "algorithmic_train_annotations.json"
    (content := json.loads(path.read_text()))["images"][0]["doubt"] = "hardly stands out"
    path.write_text(json.dumps(content))
    found, _ = picked(capsys, handed / "images", "--count", 9, *more[:-1], handed / "doubted")
    doubted = [
        entry["image"]
        for entry in found
        if entry["reason"].endswith("; doubtful: hardly stands out")
    ]
    assert doubted == [content["images"][0]["file_name"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--count", "0", "--kind", "blobs"), "--count: 0; expected at least 1"),
        (
            ("--count", "2"),
            "nothing to look at images with; expected --checkpoint CKPT, --kind tubes|blobs",
        ),
        (("--count", "2", "--kind", "blobs", "--checkpoint", "x"), "both are given"),
        (("--count", "2", "--kind", "blob"), "--kind blob: unknown; expected blobs?"),
        (("--count", "2", "--checkpoint", "nowhere"), "nowhere: no such folder"),
        (
            ("--count", "2", "--kind", "blobs", "--labels", "nowhere"),
            "nowhere: no such folder; expected a data set",
        ),
        (
            ("--count", "2", "--kind", "blobs", "--tile", "auto"),
            "--tile: without --checkpoint; expected a model",
        ),
        (("--count", "2", "--kind", "blobs", "--out", "."), ".: exists; expected --out"),
        (("--count", "2", "--kind", "blobs", "--group", "("), "no regular expression"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: tuple[str, ...],
    words: str,
    handed: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = () if "--out" in arguments else ("--out", str(tmp_path / "out"))
    assert main(["label", "pick", str(handed / "images"), *arguments, *out]) == 2
    error = capsys.readouterr().err
    assert (
        words in error and len(error.strip().splitlines()) == 1 and not (tmp_path / "out").exists()
    )
