"""`segue data`: counted exactly, merged without loss, split without leaks; what there was is never
touched.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segue.cli.app import main
from segue.data.dataset import Data, read_dataset, read_splits
from segue.data.images import image_io
from segue.data.images.pixel_size import pixel_size_um
from segue.data.scene_groups import groups
from segue.data.synthetic import render_dataset

SIDE = 64


@pytest.fixture
def data(capsys):
    """Runs `segue data ...`: the exit code and what was printed."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Path:
    """Twelve fields in two colours each, not divided: 24 images, every object twice."""
    folder = (
        render_dataset(tmp_path_factory.mktemp("flat"), {"train": 12}, side=SIDE, seed=5) / "train"
    )
    path = folder / "_annotations.coco.json"
    content = json.loads(path.read_text())
    twins = {"images": [], "annotations": []}
    for colour, (first_image, first_object) in {"green": (0, 0), "grey": (100, 10_000)}.items():
        for entry in content["images"]:
            stem = entry["file_name"].removesuffix(".png")
            pixels = np.array(Image.open(folder / entry["file_name"]))
            Image.fromarray(pixels if colour == "green" else 255 - pixels).save(
                folder / f"{stem}_{colour}.png"
            )
            twins["images"].append(
                {**entry, "id": entry["id"] + first_image, "file_name": f"{stem}_{colour}.png"}
            )
        for entry in content["annotations"]:
            moved = {"id": entry["id"] + first_object, "image_id": entry["image_id"] + first_image}
            twins["annotations"].append({**entry, **moved})
    for entry in content["images"]:
        (folder / entry["file_name"]).unlink()
    path.write_text(json.dumps({**content, **twins}))
    return folder


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def change(source: Path, edit) -> None:
    path = source / "_annotations.coco.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def counted(folder: Path) -> dict[str, int]:
    found = json.loads((folder / "_annotations.coco.json").read_text())["annotations"]
    return {
        "objects": len(found),
        **{str(n): sum(e["category_id"] == n for e in found) for n in (1, 2, 3)},
    }


def test_info_counts_exactly(data, flat):
    expected = counted(flat)
    code, text, _ = data("info", flat, "--json")
    figures = json.loads(text)["parts"]["all"]
    assert code == 0 and (figures["images"], figures["groups"]) == (24, 12)
    assert (
        figures["objects"]
        == expected["objects"]
        == sum(figures["sources"].values())
        == figures["with_masks"]
    )
    assert figures["classes"] == {
        name: expected[n] for n, name in (("1", "cell"), ("2", "rod"), ("3", "tube"))
    }
    assert figures["sizes"] == {f"{SIDE} x {SIDE}": 24} and figures["bits"] == {"8": 24}
    text = data("info", flat, "--group", "(_gr)")[1]
    assert "all: 24 images in 1 groups" in text and "8 bits (24)" in text


def test_info_tells_levels_and_two_sources_file_by_file(data, tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.full((8, 9), 4000, np.uint16))
    square = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "source": "algorithm"}
    content = {"images": [{"id": 1, "file_name": "a.tif", "height": 8, "width": 9}], "annotations": [square],
               "categories": [{"id": 1, "name": "myotube"}]}  # fmt: skip
    for name in ("algorithmic_train", "manual_train"):
        (tmp_path / "annotations" / f"{name}_annotations.json").write_text(json.dumps(content))
        square.pop("source", None)
    code, text, _ = data("info", tmp_path)
    assert code == 0 and "16 bits (1), largest value 4000" in text
    assert (
        text.index("algorithmic_train: 1 images")
        < text.index("algorithm 1")
        < text.index("manual_train: 1 images")
    )
    assert "1 groups are in several splits: a (algorithmic_train, manual_train)" in text


def test_a_split_keeps_twins_together_and_every_object(data, flat, tmp_path):
    before = digest(flat)
    code, text, _ = data(
        "split", flat, "--out", tmp_path / "parts", "--shares", "0.5,0.25,0.25", "--seed", 3
    )
    splits = read_splits(Data(root=tmp_path / "parts"))
    names = {part: {r.image.name for r in split.records} for part, split in splits.items()}
    assert code == 0 and {part: len(found) for part, found in names.items()} == {
        "train": 12,
        "valid": 6,
        "test": 6,
    }
    fields = [set(groups(found)) for found in names.values()]
    assert sum(map(len, fields)) == len(set.union(*fields)) == 12
    assert (
        sum(sum(split.class_counts().values()) for split in splits.values())
        == counted(flat)["objects"]
    )
    assert "12 groups stayed together" in text and digest(flat) == before
    read_dataset(Data(root=tmp_path / "parts"))
    assert "in several splits" not in data("info", tmp_path / "parts")[1]
    again = data(
        "split", tmp_path / "parts", "--out", tmp_path / "again", "--shares", "1,1", "--link"
    )
    assert again[0] == 0 and {p: len(s.records) for p, s in read_splits(Data(root=tmp_path / "again")).items()} == {
        "train": 12, "valid": 12,
    }  # fmt: skip
    first = next((tmp_path / "again" / "train").glob("*.png"))
    assert first.stat().st_nlink == 2


def test_what_exists_is_never_replaced_and_a_failure_leaves_nothing(
    data, flat, tmp_path, monkeypatch
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for verb in (
        ["split", flat],
        ["convert", flat, "--to", "cvat"],
        ["scale", flat, "--factor", 2],
        ["merge", flat, flat],
    ):
        code, _, said = data(*verb, "--out", tmp_path / "mine")
        assert code == 2 and "mine: exists; expected a name that is free" in said
    assert digest(tmp_path / "mine").keys() == {"thesis.txt"}
    monkeypatch.setattr("segue.data.writing.folders.write_json", lambda path, content: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        data("split", flat, "--out", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture
def two(flat, tmp_path) -> tuple[Path, Path]:
    """Labels of an algorithm on every image, and by hand, with other ids and another class, on four
    of them.
    """
    for name in ("noisy", "manual"):
        (tmp_path / name).mkdir()
        for path in flat.iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())

    def by_algorithm(content: dict) -> None:
        for entry in content["annotations"]:
            entry |= {"source": "algorithm", "quality": 0.5}

    def by_hand(content: dict) -> None:
        content["images"] = content["images"][:4]
        kept = {entry["id"] for entry in content["images"]}
        content["annotations"] = [e for e in content["annotations"] if e["image_id"] in kept]
        content["categories"] = [
            {"id": 7, "name": "tubes"},
            {"id": 1, "name": "rod"},
            {"id": 2, "name": "cell"},
        ]
        for entry in content["annotations"]:
            entry["category_id"] = {1: 2, 2: 1, 3: 7}[entry["category_id"]]

    change(tmp_path / "noisy", by_algorithm)
    change(tmp_path / "manual", by_hand)
    return tmp_path / "noisy", tmp_path / "manual"


@pytest.mark.parametrize("same", ["manual", "both"])
def test_two_sources_become_one_data_set_with_exact_counts(data, two, tmp_path, same):
    noisy, manual = (next(iter(read_splits(Data(root=root)).values())) for root in two)
    code, text, _ = data("merge", *two, "--out", tmp_path / "one", "--same", same)
    (merged,) = read_splits(Data(root=tmp_path / "one")).values()
    twice = {record.image.name for record in manual.records}
    expected = {
        name: [*r.annotations]
        for r in noisy.records
        if (name := r.image.name) not in twice or same == "both"
    }
    for record in manual.records:
        expected[record.image.name] = expected.get(record.image.name, []) + [*record.annotations]
    found = {
        record.image.name: [(a.class_name, a.source, a.quality) for a in record.annotations]
        for record in merged.records
    }
    assert found == {
        n: [(a.class_name, a.source, a.quality) for a in listed] for n, listed in expected.items()
    }
    assert (
        code == 0
        and len(merged.records) == 24
        and "all: 4 images are in both data sets: 4 with the" in text
    )
    assert "classes that look alike stay apart: tube, tubes" in text and set(merged.categories) == {
        "cell", "rod", "tube", "tubes",
    }  # fmt: skip


def test_sources_can_be_said_where_files_do_not_say_them(data, flat, two, tmp_path):
    code, *_ = data("merge", flat, two[1], "--out", tmp_path / "one", "--sources", "model,manual")
    figures = json.loads(data("info", tmp_path / "one", "--json")[1])["parts"]["all"]
    manual = counted(two[1])["objects"]
    assert code == 0 and figures["sources"] == {
        "model": counted(flat)["objects"] - manual,
        "manual": manual,
    }
    assert (
        "expected two of manual, algorithm, model"
        in data("merge", *two, "--out", "x", "--sources", "me")[2]
    )


def test_an_image_in_training_here_and_validation_there_is_refused(data, tmp_path):
    for name, part in (("a", "train"), ("b", "valid")):
        render_dataset(tmp_path / name, {part: 2}, side=SIDE)
    source = next((tmp_path / "a" / "train").glob("*.png"))
    target = next((tmp_path / "b" / "valid").glob("*.png"))
    target.write_bytes(source.read_bytes())
    code, _, said = data("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    assert (
        code == 2
        and "which is in train; this is in valid" in said
        and not (tmp_path / "c").exists()
    )
    code, _, said = data("merge", tmp_path / "a", tmp_path / "b" / "valid", "--out", tmp_path / "c")
    assert code == 2 and "expected both divided or neither; next: segue data split" in said


@pytest.mark.parametrize("kind", ["labelme", "cvat", "coco"])
def test_a_converted_data_set_is_the_same_data_set(data, flat, tmp_path, kind):
    assert data("split", flat, "--out", tmp_path / "parts")[0] == 0
    code, *_ = data("convert", tmp_path / "parts", "--to", kind, "--out", tmp_path / kind)
    before, after = (read_splits(Data(root=tmp_path / name)) for name in ("parts", kind))
    assert code == 0 and list(after) == ["train", "valid", "test"]
    for part, split in after.items():
        assert split.problems == [] and split.class_counts() == before[part].class_counts()
        theirs = {r.image.name: r for r in before[part].records}
        for record in split.records:
            for one, other in zip(
                record.annotations, theirs[record.image.name].annotations, strict=True
            ):
                assert np.allclose(one.mask.rings[0], other.mask.rings[0], atol=0.006)


def test_scaling_scales_pixels_masks_and_the_physical_size(data, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    values = (np.arange(60 * 80).reshape(60, 80) * 12 % 4000).astype(np.uint16)
    values[20:40, 20:60] = 4095
    tifffile.imwrite(folder / "a.tif", np.stack([values, values // 2]), imagej=True, resolution=(2, 2),
                     metadata={"axes": "ZYX", "unit": "um"})  # fmt: skip
    runs = {"size": [60, 80], "counts": [20 * 60 + 20, *([20, 40] * 39), 20, 20 + 20 * 60]}
    square = [[20, 20, 60, 20, 60, 40, 20, 40]]
    shapes = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": s}
        for n, s in ((1, runs), (2, square))
    ]
    content = {"images": [{"id": 1, "file_name": "a.tif", "height": 60, "width": 80}], "annotations": shapes,
               "categories": [{"id": 1, "name": "x"}]}  # fmt: skip
    (folder / "_annotations.coco.json").write_text(json.dumps(content))
    code, *_ = data("scale", folder, "--out", tmp_path / "half", "--side", 40)
    (split,) = read_splits(Data(root=tmp_path / "half")).values()
    record = split.records[0]
    stack = image_io.read_stack(record.image)
    assert code == 0 and split.problems == [] and (record.height, record.width) == (30, 40)
    assert (
        stack.shape == (2, 1, 30, 40) and stack.dtype == np.uint16 and stack[0, 0, 15, 20] == 4095
    )
    assert pixel_size_um(record.image) == pytest.approx(1.0)
    areas = [
        e["area"]
        for e in json.loads((tmp_path / "half" / "_annotations.coco.json").read_text())[
            "annotations"
        ]
    ]
    assert areas == [200, 200] and all(a.box_xyxy == (10, 10, 30, 20) for a in record.annotations)


def test_wrong_flags_are_one_line(data, flat, tmp_path):
    for flags, words in (
        (["split", flat, "--shares", "1"], "two or three numbers"), (["split", flat, "--group", "("], "no regular"),
        (["scale", flat], "one of them, above 0"), (["scale", flat, "--factor", -1], "above 0"),
        (["info", tmp_path / "absent"], "no such folder"),
    ):  # fmt: skip
        more = [] if flags[0] == "info" else ["--out", tmp_path / "x"]
        code, _, said = data(*flags, *more)
        assert code == 2 and words in said and len(said.splitlines()) == 1, said
