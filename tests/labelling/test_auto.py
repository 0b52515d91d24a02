"""segue label auto: a folder of images becomes a data set; doubtful images are left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks.rendered_fields import render_field, render_fields
from segue.cli.app import main
from segue.labelling.auto import LabelJob, find, read_any
from segue.labelling.kinds import blobs
from tests.labelling.scoring import levels


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory):
    """Four fields of nuclei as 12-bit TIFF, one of them in a folder, and one of noise."""
    folder = tmp_path_factory.mktemp("auto") / "images"
    (folder / "plate").mkdir(parents=True)
    for number, name in enumerate(("a.tif", "b.tif", "d.tif", "plate/a.tif")):
        field, _ = render_field(np.random.default_rng(number), 160, "blobs", 12)
        tifffile.imwrite(
            folder / name, levels(field)[..., 0], resolution=(20000, 20000), resolutionunit=3
        )
    noise = np.random.default_rng(5).normal(120, 30, (160, 160)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).save(folder / "<b>noise.png")
    return folder


@pytest.fixture(scope="module")
def labelled(images: Any):
    out = images.parent / "out"
    assert (
        main(
            [
                "label",
                "auto",
                str(images),
                "--kind",
                "blobs",
                "--out",
                str(out),
                "--class",
                "nucleus",
            ]
        )
        == 0
    )
    return out


def content(out: Any, *parts: object):
    files = [out / "annotations" / f"algorithmic_{part}_annotations.json" for part in parts]
    return [json.loads(file.read_text()) for file in files]


def test_the_result_is_a_data_set_that_check_accepts(
    labelled: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(labelled)]) == 0
    said = capsys.readouterr().out
    assert "nucleus" in said and "ready" in said


def test_objects_have_masks_a_source_and_a_quality(labelled: Any) -> None:
    train, valid = content(labelled, "train", "valid")
    assert len(train["images"]) == 3 and len(valid["images"]) == 1
    objects = train["annotations"] + valid["annotations"]
    assert len(objects) > 30
    for entry in objects:
        assert entry["source"] == "algorithm" and 0 < entry["quality"] <= 1 and entry["area"] > 10
        assert entry["segmentation"]["size"] == [160, 160]


def test_the_scale_is_read_from_the_files(labelled: Any) -> None:
    scales = {
        i["file_name"]: i.get("um_per_pixel")
        for part in content(labelled, "train", "valid")
        for i in part["images"]
    }
    assert scales == {"a.tif": 0.5, "b.tif": 0.5, "d.tif": 0.5, "plate/a.tif": 0.5}


def test_a_doubtful_image_is_left_out_and_its_labels_are_not_lost(labelled: Any) -> None:
    (doubtful,) = content(labelled, "doubtful")
    assert [image["file_name"] for image in doubtful["images"]] == ["<b>noise.png"]
    assert "noise" in doubtful["images"][0]["doubt"] and doubtful["annotations"]


def test_images_take_no_space_and_are_never_replaced(
    images: Any, labelled: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (labelled / "images" / "plate" / "a.tif").samefile(images / "plate" / "a.tif")
    other = labelled.parent / "other"
    other.mkdir()
    Image.fromarray(np.eye(160, dtype=np.uint8) * 200).save(other / "a.tif")
    before = (images / "a.tif").read_bytes()
    assert (
        main(["label", "auto", str(other), "--kind", "blobs", "--replace", "--out", str(labelled)])
        == 2
    )
    assert "another image than" in capsys.readouterr().err
    assert (images / "a.tif").read_bytes() == before


def test_good_labels_are_replaced_only_by_the_same_ones_or_if_it_is_said(
    images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, out = tmp_path / "one", tmp_path / "out"
    one.mkdir()
    (one / "a.tif").write_bytes((images / "a.tif").read_bytes())
    command = ["label", "auto", str(one), "--kind", "blobs", "--out", str(out)]
    assert main(command) == 0
    before = content(out, "train")
    assert main(command) == 0 and content(out, "train") == before
    capsys.readouterr()

    def refused(*more: str, kind: str = "blobs") -> str:
        assert main([kind if word == "blobs" else word for word in (*command, *more)]) == 2
        assert content(out, "train") == before
        return capsys.readouterr().err

    assert (
        "other settings (diameter: None, now 9.0); expected a new --out; next: the same"
        in refused("diameter=9")
    )
    assert "(kind: blobs, now tubes)" in refused(kind="tubes")
    (one / "a.tif").rename(one / "b.tif")
    assert "labels of 1 other images, such as a.tif" in refused()
    (one / "b.tif").rename(one / "a.tif")
    by_hand = out / "annotations" / "manual_train_annotations.json"
    by_hand.write_text("{}")
    assert "labels by hand" in refused()
    by_hand.unlink()
    assert main([*command, "diameter=9", "--replace"]) == 0 and content(out, "train") != before


def test_the_sheet_shows_every_image_offline_and_escapes_names(labelled: Any) -> None:
    page = (labelled / "sheet.html").read_text()
    assert page.count('<img src="data:image/webp;base64,') == 5
    assert "http" not in page and "<b>noise" not in page and "&lt;b&gt;noise.png" in page
    assert "5, 1 of them doubtful" in page
    shown = {
        path.relative_to(labelled / "overlays").as_posix()
        for path in (labelled / "overlays").rglob("*.png")
    }
    assert (
        shown == {"a.png", "b.png", "d.png", "plate/a.png", "<b>noise.png"}
        and 'href="overlays/plate/a.png"' in page
    )


def test_two_images_of_one_stem_have_two_overlays(images: Any, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.tif").write_bytes((images / "a.tif").read_bytes())
    (tmp_path / "images" / "a.png").write_bytes((images / "<b>noise.png").read_bytes())
    assert (
        main(
            [
                "label",
                "auto",
                str(tmp_path / "images"),
                "--kind",
                "blobs",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    assert {path.name for path in (tmp_path / "out" / "overlays").iterdir()} == {
        "a.png.png",
        "a.tif.png",
    }


def test_doubts_are_said_and_can_be_overruled(
    images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one"
    one.mkdir()
    (one / "noise.png").write_bytes((images / "<b>noise.png").read_bytes())
    command = ["label", "auto", str(one), "--kind", "blobs", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "doubt: noise.png: objects rise only" in said and "doubt about every image" in said
    assert main([*command, "--keep-doubtful"]) == 0
    (train,) = content(tmp_path / "out", "train")
    assert (
        "doubt" in train["images"][0]
        and not (tmp_path / "out/annotations/algorithmic_doubtful_annotations.json").exists()
    )


def test_tubes_keep_their_overlap_and_show_their_steps(tmp_path: Path) -> None:
    render_fields(
        tmp_path / "fields", {"train": 1}, "tubes", side=240, seed=3, objects=(8, 8), bits=16
    )
    out = tmp_path / "out"
    arguments = [
        "label",
        "auto",
        str(tmp_path / "fields"),
        "gap=9",
        "--kind",
        "tubes",
        "--out",
        str(out),
        "--show-steps",
    ]
    assert main(arguments) == 0
    steps = sorted(path.name for path in (out / "steps" / "train" / "train_0000.png").iterdir())
    assert len(steps) == 6 and steps[2] == "3-ridges.png"
    (train,) = content(out, "train")
    assert train["categories"] == [{"id": 1, "name": "tube"}] and len(train["annotations"]) >= 6
    assert "gap=9.0" in (out / "sheet.html").read_text()


def test_any_number_of_channels_can_be_looked_at(tmp_path: Path) -> None:
    field, _ = render_field(np.random.default_rng(7), 160, "blobs", 12)
    for channels in (2, 5):
        stack = np.full((channels, 160, 160), 100, np.uint16)
        stack[1] = levels(field)[..., 0]
        tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "CYX"})
        pixels = read_any(tmp_path / "stack.tif")
        assert pixels.shape == (channels, 160, 160)
        finding = find(pixels, LabelJob(cast(Any, blobs), blobs.Settings(), "nucleus"), None)
        assert finding.plane == "1" and len(finding.shapes) >= 11


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "tube"), "--kind tube: unknown; expected tubes?"),
        (("--kind", "blobs", "diametre=3"), "did you mean 'diameter'?"),
        (("--kind", "blobs", "diameter=-3"), "greater than 0"),
        (("--kind", "blobs", "dark"), "no '='"),
        (("--kind", "blobs", "--scale", "0"), "--scale: 0.0 um per pixel; expected more than 0"),
        (("--kind", "blobs", "--channel", "7"), "a.tif: --channel 7: an image with the channels"),
        (("--kind", "blobs", "--valid", "1"), "--valid: 1; expected"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: tuple[str, ...],
    words: str,
    images: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(["label", "auto", str(images / "a.tif"), "--out", str(tmp_path / "out"), *arguments])
        == 2
    )
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1


def test_a_damaged_image_ends_it_before_anything_is_written(
    images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.tif").write_bytes((images / "a.tif").read_bytes())
    (folder / "b.png").write_bytes(b"not a picture")
    assert (
        main(["label", "auto", str(folder), "--kind", "blobs", "--out", str(tmp_path / "out")]) == 2
    )
    assert "b.png" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_without_the_extra_the_command_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert (
        main(["label", "auto", str(tmp_path), "--kind", "tubes", "--out", str(tmp_path / "out")])
        == 2
    )
    assert 'pip install "segue[labels]"' in capsys.readouterr().err
