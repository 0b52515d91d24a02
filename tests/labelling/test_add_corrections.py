"""segue label import: what was corrected comes back to the pixel, and nothing is measured on what
was trained on.
"""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import tifffile

from benchmarks.rendered_fields import render_field
from segue.cli.app import main
from segue.data.writing.merge import read
from segue.structures.masks import coco_rle
from tests.conftest import write_plan
from tests.labelling.scoring import levels

NEW = [[20.0, 30.0], [60.0, 30.0], [60.0, 70.0], [20.0, 70.0]]  # 40 x 40 px


def add_labelme(work, *stems: str, label: str = "nucleus") -> None:
    """A square more in each of these images."""
    for stem in stems:
        path = work / "pick" / "labelme" / f"{stem}.json"
        content = json.loads(path.read_text())
        content["shapes"].append(
            {"label": label, "points": NEW, "shape_type": "polygon", "group_id": None}
        )
        path.write_text(json.dumps(content))


def imported(work, corrected: str, *more: object) -> int:
    return main(
        ["label", "import", str(work / corrected), "--into", str(work / "labels"), *map(str, more)]
    )


def content(work, name: str) -> dict:
    return json.loads((work / "labels" / "annotations" / f"{name}_annotations.json").read_text())


def files(work, name: str) -> set[str]:
    path = work / "labels" / "annotations" / f"{name}_annotations.json"
    return (
        {image["file_name"] for image in content(work, name)["images"]} if path.exists() else set()
    )


def trained(work) -> list[str]:
    return sorted(files(work, "algorithmic_train"))


def stem_of(name: str) -> str:
    return name.replace("/", "_").removesuffix(".tif")


def holds_the_square(work, name: str) -> bool:
    """Whether one object of an image is the square, to 1 px on each side."""
    for part in ("manual_train", "manual_valid"):
        if name in files(work, part):
            number = next(i["id"] for i in content(work, part)["images"] if i["file_name"] == name)
            boxes = [
                a["bbox"] for a in content(work, part)["annotations"] if a["image_id"] == number
            ]
            return any(np.abs(np.array(box) - (20, 30, 40, 40)).max() <= 1 for box in boxes)
    return False


def test_a_corrected_image_comes_back_to_the_pixel_and_the_second_stage_can_start(work, capsys):
    one, two = trained(work)[:2]
    add_labelme(work, stem_of(one))
    shapes = json.loads((work / "pick" / "labelme" / f"{stem_of(two)}.json").read_text())
    shapes["shapes"][0]["points"] = NEW  # one polygon drawn anew
    (work / "pick" / "labelme" / f"{stem_of(two)}.json").write_text(json.dumps(shapes))
    assert imported(work, "pick/labelme") == 0
    said = capsys.readouterr()
    path = work / "labels" / "annotations" / "manual_train_annotations.json"
    assert said.out.strip() == str(path) and files(work, "manual_train") == {one, two}
    entries = content(work, "manual_train")["annotations"]
    # by hand, and right
    assert all("source" not in entry and "quality" not in entry for entry in entries)
    split = read(work / "labels")["manual_train"]
    for record in split.records:
        squares = [a for a in record.annotations if a.box_xyxy == (20, 30, 60, 70)]
        assert len(squares) == 1 and int(np.round(_area(squares[0], record))) == 1600
    assert main(["check", str(plan(work, said.err))]) == 0
    assert "ready" in capsys.readouterr().out


def _area(annotation, record) -> float:
    import hotcoco.mask as coco_mask

    return float(coco_mask.area(coco_rle(annotation.mask, record.height, record.width)))


def plan(work, said: str):
    """The plan with the files that the last line tells to use."""
    command = next(
        line for line in said.splitlines() if line.startswith("next: segue run plan.yaml")
    )
    told = dict(re.findall(r"stages\.manual\.data\.(\S+?)=(\S+)", command))
    parts = {
        part: {k: told[f"{part}.{k}"] for k in ("annotations", "images")}
        for part in ("train", "valid")
    }
    common = {"images_per_step": 2, "workers": 0}
    return write_plan(
        work / "plan.yaml",
        {
            "name": "toy",
            "device": "cpu",
            "data": {**parts, "channels": [{"name": "grey", "scale": "percentile"}]},
            "model": {
                "family": "rfdetr",
                "size": "pico",
                "resolution": 64,
                "queries": 30,
                "groups": 2,
            },
            "stages": [{**common, "name": "manual", "task": "boxes", "epochs": 1}],
        },
    )


@pytest.mark.parametrize("program", ["labelme", "cvat", "coco", "via"])
def test_every_format_is_read_back(work, program, capsys):
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
        entry = {"filename": f"{stem}.png", "size": 1, "regions": [region], "file_attributes": {}}
        place = "pick/via.json"
        (work / place).write_text(json.dumps({f"{stem}.png1": entry}))
    assert imported(work, place) == 0
    assert files(work, "manual_train") == {name} and holds_the_square(work, name)
    others = capsys.readouterr().err.count("not reviewed? left out")
    assert others == (0 if program == "via" else 4)


def test_a_file_from_elsewhere_needs_to_know_what_was_picked(work, tmp_path, capsys):
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


def test_what_nobody_touched_is_counted_and_left_out(work, capsys):
    one = trained(work)[0]
    before = len(
        json.loads((work / "pick" / "labelme" / f"{stem_of(one)}.json").read_text())["shapes"]
    )
    add_labelme(work, stem_of(one))
    assert imported(work, "pick/labelme") == 0
    said = capsys.readouterr().err
    assert f"{one}: {before} of {before + 1} objects are as they were picked, to the point" in said
    assert said.count("not reviewed? left out") == 4


def test_an_image_without_objects_is_said_and_kept(work, capsys):
    one = trained(work)[0]
    path = work / "pick" / "labelme" / f"{stem_of(one)}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shapes": []}))
    assert imported(work, "pick/labelme") == 0
    assert f"{one}: no objects; it says that there are none" in capsys.readouterr().err
    assert (
        files(work, "manual_train") == {one} and content(work, "manual_train")["annotations"] == []
    )


def test_a_file_is_extended_and_the_one_before_is_kept(work, capsys):
    one, two = trained(work)[:2]
    add_labelme(work, stem_of(one))
    assert imported(work, "pick/labelme") == 0
    first = content(work, "manual_train")
    assert imported(work, "pick/labelme") == 0  # the same again changes nothing
    folder = work / "labels" / "annotations"
    assert content(work, "manual_train") == first and not list(folder.glob("*.bak*"))
    (work / "pick" / "labelme" / f"{stem_of(one)}.json").unlink()
    add_labelme(work, stem_of(two))
    assert imported(work, "pick/labelme") == 0
    assert (
        files(work, "manual_train") == {one, two}
        and "1 images kept, 1 new" in capsys.readouterr().err
    )
    assert holds_the_square(work, one) and holds_the_square(work, two)
    assert json.loads((folder / "manual_train_annotations.json.bak").read_text()) == first


def test_a_field_that_is_held_back_stays_held_back(work, capsys):
    held = min(files(work, "algorithmic_valid"))
    add_labelme(work, stem_of(held))
    assert imported(work, "pick/labelme") == 0
    assert files(work, "manual_valid") == {held} and files(work, "manual_train") == set()
    assert "nothing to train on by hand yet" in capsys.readouterr().err


def test_what_is_held_back_by_hand_leaves_the_algorithms_training_part_with_its_twins(work, capsys):
    add_labelme(work, *map(stem_of, trained(work)))
    before = files(work, "algorithmic_train") | files(work, "algorithmic_valid")
    assert imported(work, "pick/labelme", "--held", "0.4") == 0
    held, train = files(work, "manual_valid"), files(work, "manual_train")
    assert held and train and not held & train
    assert not files(work, "algorithmic_train") & held and held <= files(work, "algorithmic_valid")
    assert files(work, "algorithmic_train") | files(work, "algorithmic_valid") == before
    for part in ("algorithmic_train", "manual_train", "algorithmic_valid", "manual_valid"):
        assert {"b_green.tif", "b_red.tif"} & files(work, part) in (
            set(),
            {"b_green.tif", "b_red.tif"},
        )
    said = capsys.readouterr().err
    assert (
        "stage 1 has to be trained again" in said
        and "(before: algorithmic_train_annotations.json.bak)" in said
    )


def test_the_last_line_says_only_what_the_recipe_does_not_and_why_nothing_is_held_back(
    work, capsys, monkeypatch
):
    monkeypatch.chdir(work)
    add_labelme(work, *map(stem_of, trained(work)))
    command = ["label", "import", "pick/labelme", "--into", "labels"]

    def last(*more: str) -> str:
        assert main([*command, *more]) == 0
        return capsys.readouterr().err.splitlines()[-1]

    by_algorithm = (
        "stages.manual.data.valid.annotations=labels/annotations/algorithmic_valid_annotations.json"
    )
    assert last() == (
        f"next: segue run plan.yaml {by_algorithm}  (validates on the algorithm's labels;"
        " --held 0.2 holds some by hand back)"
    )
    told = last("--held", "0.4")
    assert (
        "--held 0.4 holds nothing back: these fields are in manual training already; label "
        "images of others" in told
    )
    (work / "labels" / "annotations" / "manual_train_annotations.json").unlink()  # as it says
    assert last("--held", "0.4") == "next: segue run plan.yaml" and files(work, "manual_valid")


def test_an_image_of_ones_own_is_given_a_place(work, tmp_path, capsys):
    field, _ = render_field(np.random.default_rng(9), 160, "blobs", 12)
    tifffile.imwrite(tmp_path / "mine.tif", levels(field)[..., 0])
    shape = {"label": "nucleus", "points": NEW, "shape_type": "polygon"}
    mine = {"shapes": [shape], "imagePath": "mine.tif", "imageHeight": 160, "imageWidth": 160}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    arguments = ["label", "import", str(tmp_path / "mine.json"), "--into", str(work / "labels")]
    assert main(arguments) == 0
    assert (work / "labels" / "images" / "mine.tif").samefile(tmp_path / "mine.tif")
    assert holds_the_square(work, "mine.tif")
    (tmp_path / "mine.tif").unlink()
    tifffile.imwrite(tmp_path / "mine.tif", levels(field)[..., 0] // 2)
    capsys.readouterr()
    assert main(arguments) == 2 and "another image than" in capsys.readouterr().err


def damage(work, what: str) -> str:
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
def test_what_is_wrong_is_one_line_and_nothing_is_written(work, what, words, capsys):
    place = damage(work, what)
    before = sorted(path.name for path in (work / "labels" / "annotations").iterdir())
    assert imported(work, place) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1, error
    assert sorted(path.name for path in (work / "labels" / "annotations").iterdir()) == before


def test_a_new_class_is_taken_when_it_is_named(work):
    add_labelme(work, stem_of(trained(work)[0]), label="debris")
    assert imported(work, "pick/labelme", "--class", "debris") == 0
    assert content(work, "manual_train")["categories"] == [
        {"id": 1, "name": "nucleus"},
        {"id": 2, "name": "debris"},
    ]
