"""segue label import: labels of every format come back to the pixel, and wrong ones are refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from segue.cli.app import main
from tests.labelling.corrections import (
    NEW,
    add_labelme,
    content,
    files,
    holds_the_square,
    imported,
    stem_of,
    trained,
)


@pytest.mark.parametrize("program", ["labelme", "cvat", "coco", "via"])
def test_every_format_is_read_back(
    work: Any, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = trained(work)[0]
    stem, square = stem_of(name), ";".join(f"{x},{y}" for x, y in NEW)
    place = f"pick/{program}"
    if program == "labelme":
        add_labelme(work, stem)
    elif program == "cvat":
        path = work / place / "annotations.xml"
        shape = f'<polygon label="nucleus" source="manual" points="{square}"/>'
        path.write_text(
            re.sub(f'(<image [^>]*name="{stem}.png"[^>]*>)', rf"\1{shape}", path.read_text())
        )
    elif program == "coco":
        path = work / place / "_annotations.coco.json"
        known = json.loads(path.read_text())
        image = next(i["id"] for i in known["images"] if i["file_name"] == f"{stem}.png")
        entry = {
            "id": 9999,
            "image_id": image,
            "category_id": 1,
            "segmentation": [sum(NEW, [])],
            "iscrowd": 0,
        }
        known["annotations"].append(entry)
        path.write_text(json.dumps(known))
    else:
        xs, ys = ([point[axis] for point in NEW] for axis in (0, 1))
        shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
        region = {"shape_attributes": shape, "region_attributes": {"class": "nucleus"}}
        entry: dict[str, Any] = {
            "filename": f"{stem}.png",
            "size": 1,
            "regions": [region],
            "file_attributes": {},
        }
        place = "pick/via.json"
        (work / place).write_text(json.dumps({f"{stem}.png1": entry}))
    assert imported(work, place) == 0
    assert files(work, "manual_train") == {name} and holds_the_square(work, name)
    others = capsys.readouterr().err.count("not reviewed? left out")
    assert others == (0 if program == "via" else 4)


def test_a_file_from_elsewhere_needs_to_know_what_was_picked(
    work: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(work / "pick" / "cvat" / "annotations.xml", tmp_path / "downloaded.xml")
    arguments = [
        "label",
        "import",
        str(tmp_path / "downloaded.xml"),
        "--into",
        str(work / "labels"),
    ]
    assert main(arguments) == 2 and "or give --picked" in capsys.readouterr().err
    assert main([*arguments, "--picked", str(work / "pick"), "--keep-unreviewed"]) == 0
    assert len(files(work, "manual_train")) == 4 and files(work, "manual_valid") == files(
        work, "algorithmic_valid"
    )


def test_what_nobody_touched_is_counted_and_left_out(
    work: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    one = trained(work)[0]
    before = len(
        json.loads((work / "pick" / "labelme" / f"{stem_of(one)}.json").read_text())["shapes"]
    )
    add_labelme(work, stem_of(one))
    assert imported(work, "pick/labelme") == 0
    said = capsys.readouterr().err
    assert f"{one}: {before} of {before + 1} objects are as they were picked, to the point" in said
    assert said.count("not reviewed? left out") == 4


def test_an_image_without_objects_is_said_and_kept(
    work: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    one = trained(work)[0]
    path = work / "pick" / "labelme" / f"{stem_of(one)}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shapes": []}))
    assert imported(work, "pick/labelme") == 0
    assert f"{one}: no objects; it says that there are none" in capsys.readouterr().err
    assert (
        files(work, "manual_train") == {one} and content(work, "manual_train")["annotations"] == []
    )


def damage(work: Any, what: str) -> str:
    """Damage what was corrected; returns where it is."""
    stem = "plate_d" if what == "image" else stem_of(trained(work)[0])
    path = work / "pick" / "labelme" / f"{stem}.json"
    add_labelme(work, stem, label="nucleos" if what == "class" else "nucleus")
    known = json.loads(path.read_text())
    if what == "image":
        path.with_suffix(".png").unlink()
        shutil.rmtree(work / "pick" / "cvat")
        (work / "pick" / "coco" / f"{stem}.png").unlink()
    if what == "size":
        path.write_text(json.dumps({**known, "imageWidth": 200}))
    if what == "json":
        path.write_text(path.read_text()[:-20])
    if what == "xml":
        xml = work / "pick" / "cvat" / "annotations.xml"
        xml.write_text(xml.read_text()[:-30])
        return "pick/cvat"
    if what == "list":
        (work / "pick" / "pick.json").write_text("{}")
    return {"several": "pick", "nowhere": "nowhere"}.get(what, "pick/labelme")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("class", "unknown class 'nucleos' of 1 objects; expected nucleus?; next: --class nucleos"),
        ("size", "labelled as 200 x 160 pixels, the image has 160 x 160"),
        ("json", ".json: not"),
        ("xml", "annotations.xml"),
        ("image", "no image "),
        ("list", "pick.json: not readable; expected what segue label pick wrote"),
        ("several", "files of several programs; expected "),
        (
            "nowhere",
            "nowhere: no such file or folder; expected corrected labels; next: segue label pick "
            "IMAGES",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    work: Any, what: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = damage(work, what)
    before = sorted(path.name for path in (work / "labels" / "annotations").iterdir())
    assert imported(work, place) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1, error
    assert sorted(path.name for path in (work / "labels" / "annotations").iterdir()) == before


def test_a_new_class_is_taken_when_it_is_named(work: Any) -> None:
    add_labelme(work, stem_of(trained(work)[0]), label="debris")
    assert imported(work, "pick/labelme", "--class", "debris") == 0
    assert content(work, "manual_train")["categories"] == [
        {"id": 1, "name": "nucleus"},
        {"id": 2, "name": "debris"},
    ]
