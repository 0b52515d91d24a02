"""Images, classes and folders may be called anything, even like a message: problems keep their
kinds, because nothing reads a message.
"""

from __future__ import annotations

import ast
import importlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segue.cli.app import main
from segue.cli.commands.data.change import convert_data
from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.data.problems import KINDS, SIDED
from segue.data.synthetic import render_dataset
from segue.data.writing.folders import copy
from tests.conftest import ROOT, Promise
from tests.faults.corpus import CASES
from tests.faults.corpus_formats import OTHERS
from tests.faults.test_audit import ELSEWHERE

SIDES = (40, 60)  # height, width in pixels
# Texts of kinds that no planted data set has, as the code words them.
UNPLANTED = {
    "channel of another name": "its description calls the channels r, g, b; the plan has thermal",
    "quarantine list": "3 images and 4 objects are left out",
    "region without a class": "2 regions without a class are called object",
    "shape without area": "shapes without area are left out: 2 polyline",
    "other": "it cannot be used",
    "too many pictures to compare": "30000 images; up to 20000 are compared",
}
PLANTED: dict[str, Any] = {case[0]: ("coco", *case[1:]) for case in reversed(CASES)}
PLANTED |= {kind: (format, plant) for kind, format, plant in OTHERS if kind not in PLANTED}


def found_in(data: Path, *channels: Any) -> list[Any]:
    return audit(read_splits(Data(root=data)), *channels)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What was found, in words, of the first planted problem of each kind."""
    folder = tmp_path_factory.mktemp("texts")
    clean = render_dataset(folder / "coco", {"train": 5, "valid": 3, "test": 2}, side=96, seed=5)
    for kind in {kind for _, kind, _ in OTHERS}:
        convert_data(clean, folder / kind, kind, copy)
    found = dict(UNPLANTED)
    for kind, (format, plant, *channels) in PLANTED.items():
        data = folder / "data" / "set"
        shutil.rmtree(data.parent, ignore_errors=True)
        shutil.copytree(folder / format, data)
        plant(data)
        problems = found_in(data, *channels)
        found[kind] = next(problem.message for problem in problems if problem.kind == kind)
    return found


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(list(path.name.encode())).integers(0, 255, (*SIDES, 3))
    Image.fromarray(values.astype(np.uint8)).save(path)


def as_coco(folder: Path, name: str) -> None:
    """A missing image, a damaged one, and objects with three defects, all called `name`."""
    for file in (f"{name}.png", f"{name} damaged.png"):
        picture(folder / file)
    damaged = folder / f"{name} damaged.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    files = [f"{name}.png", f"{name} damaged.png", f"gone {name}.png", f"{name}.webp"]
    height, width = SIDES
    images = [
        {"id": number, "file_name": file, "height": height, "width": width}
        for number, file in enumerate(files, 1)
    ]
    good: dict[str, Any] = {
        "image_id": 1,
        "category_id": 1,
        "bbox": [5, 5, 20, 10],
        "segmentation": [],
    }
    changes: list[dict[str, Any]] = [
        {},
        {"bbox": [1, 1, float("nan"), 4]},
        {"category_id": 9},
        {"bbox": [99, 99, 5, 5]},
    ]
    annotations = [{**good, "id": number, **some} for number, some in enumerate(changes, 1)]
    categories = [{"id": 1, "name": name}, {"id": 1, "name": f"{name} again"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "_annotations.coco.json").write_text(json.dumps(content))


def as_labelme(folder: Path, name: str) -> None:
    picture(folder / f"{name}.png")
    points = [[1, 1], [20, 1], [20, 20]]
    shapes = [
        {"label": name, "points": points, "shape_type": "polygon"},
        {"label": f"{name}.png", "points": points, "shape_type": "star"},
        {"label": name, "points": points[:1] * 3, "shape_type": "polygon"},
    ]
    for file in (name, f"gone {name}"):
        content = {"imagePath": f"{file}.png", "imageHeight": SIDES[0], "imageWidth": SIDES[1]}
        (folder / f"{file}.json").write_text(json.dumps({**content, "shapes": shapes}))


def as_yolo(folder: Path, name: str) -> None:
    picture(folder / "images" / f"{name}.png")
    (folder / "labels").mkdir()
    lines = ["0 .5 .5 .2 .2", "7 .5 .5 .2 .2", "0 .5", "0 .1 .1 .5 .1 .9 .1", "0 .5 .5 0 .1"]
    for file in (name, f"gone {name}"):
        (folder / "labels" / f"{file}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text(json.dumps({"names": [name]}))


WRITERS = {"coco": as_coco, "labelme": as_labelme, "yolo": as_yolo}
# of each: the kinds that have to be among those of a data set with usual names
LEAST = {
    "coco": {"missing image", "damaged image", "number that is none", "category id twice"},
    "labelme": {"missing image", "shape that is none", "polygon that is none"},
    "yolo": {"missing image", "unknown category", "shape that is none", "polygon that is none"},
}


def kinds(root: Path, format: str, name: str) -> Counter[tuple[str, str]]:
    """Kinds and actions of a data set whose folder, images and class are called `name`."""
    folder = root / format / name
    folder.mkdir(parents=True)
    WRITERS[format](folder, name)
    problems = found_in(folder)
    return Counter((problem.kind, problem.action) for problem in problems)


def as_name(text: str) -> str:
    """A message as a file name: on one line, with no slash, not too long and not hidden."""
    return text.replace("/", "-").replace("\\", "-")[:120].strip().lstrip(".") or "x"


def test_every_kind_has_a_text_to_be_called_by(texts: dict[str, str]) -> None:
    assert set(UNPLANTED) == ELSEWHERE
    assert set(texts) == set(KINDS) and len(texts) >= 85
    assert all(texts.values())


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
def test_names_like_a_message_change_no_kind(
    kind: Any, format: str, texts: dict[str, str], tmp_path: Path, promise: Promise
) -> None:
    usual = kinds(tmp_path, format, "usual")
    assert {kind for kind, _ in usual} >= LEAST[format]
    for name in dict.fromkeys((as_name(texts[kind]), as_name(kind))):
        assert kinds(tmp_path, format, name) == usual, name
    promise("audit", 1, "names like messages")


def test_a_missing_image_called_like_another_message_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once reported as fixed, with exit code 0: `points without area` was read out of its name."""
    data = render_dataset(tmp_path / "data", {"train": 4, "valid": 2}, side=96, seed=5)
    path = data / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["images"][1]["file_name"] = "cells 3 points without area.png"
    path.write_text(json.dumps(content))
    assert main(["data", "audit", str(data)]) == 2
    printed = capsys.readouterr()
    assert "missing image" in printed.err and "\nquarantine       1  missing image" in printed.out
    assert "fixed" not in printed.out
    assert main(["check", str(data)]) == 2
    assert "fixed" not in capsys.readouterr().out


def test_an_outline_without_area_is_refused_by_audit_and_training_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The audit once called it fixed, while training refused the data."""
    as_yolo(tmp_path, "a")
    (tmp_path / "labels" / "gone a.txt").unlink()
    (tmp_path / "labels" / "a.txt").write_text("0 .1 .1 .5 .1 .9 .1\n0 .5 .5 .2 .2")
    assert main(["data", "audit", str(tmp_path)]) == 2
    assert "polygon that is none" in capsys.readouterr().err
    (problem,) = read_splits(Data(root=tmp_path))["all"].problems
    assert problem.severity == "error"


def test_a_damaged_image_in_a_folder_called_channels_is_damaged(tmp_path: Path) -> None:
    data = tmp_path / "4 channels"
    picture(data / "images" / "a.png")
    (data / "images" / "a.png").write_bytes(b"no picture")
    (data / "labels").mkdir()
    (data / "labels" / "a.txt").write_text("0 .5 .5 .2 .2")
    (problem,) = read_splits(Data(root=data))["all"].problems
    assert problem.kind == "damaged image"


def test_a_class_called_like_an_image_does_not_name_that_image(tmp_path: Path) -> None:
    as_labelme(tmp_path, "a")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    content = json.loads((tmp_path / "a.json").read_text())
    content["shapes"][1]["label"] = "b.png"
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "b.json").write_text(
        json.dumps({**content, "imagePath": "b.png", "shapes": content["shapes"][:1]})
    )
    (problem,) = (
        p for p in found_in(tmp_path) if p.kind == "shape that is none" and "a.json" in p.where
    )
    assert problem.place.image == str(tmp_path / "a.png")


def test_an_array_of_another_shape_can_be_left_out_by_a_list(tmp_path: Path) -> None:
    """It once had no kind of its own, and so was an error that no list could name."""
    as_yolo(tmp_path, "a")
    (tmp_path / "images" / "a.png").unlink()
    np.save(tmp_path / "images" / "a.npy", np.zeros(5))
    problem = next(p for p in found_in(tmp_path) if p.place.file.endswith("a.npy"))
    assert (problem.kind, problem.action) == ("damaged image", "quarantine")


# The contract, on the source itself.
MESSAGES = {"found", "expected", "message", "where"}
READERS = {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition"}
READERS |= {"split", "find", "index", "count", "replace", "strip"}
BUILDERS = ("Problem", "BadAnnotation", "ImageError")


def is_message(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in MESSAGES


def readings(tree: ast.AST) -> list[int]:
    """Lines in which code looks into a message: by `in`, a method, or a regular expression."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            isinstance(operator, ast.In | ast.NotIn) and is_message(right)
            for operator, right in zip(node.ops, node.comparators, strict=True)
        ):
            lines.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            own = node.func.attr in READERS and is_message(node.func.value)
            module = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
            if own or (module and any(map(is_message, node.args))):
                lines.append(node.lineno)
    return lines


def test_no_module_reads_a_message() -> None:
    paths = sorted((ROOT / "segue").rglob("*.py")) + sorted((ROOT / "scripts").rglob("*.py"))
    assert len(paths) > 150
    trees = {path: ast.parse(path.read_text()) for path in paths}
    assert sum(is_message(node) for tree in trees.values() for node in ast.walk(tree)) > 50
    assert {str(p): lines for p, tree in trees.items() if (lines := readings(tree))} == {}
    planted = (
        'if "x" in error.found or problem.where.startswith("y") or re.search("z", p.message): 0'
    )
    assert len(readings(ast.parse(planted))) == 3


def test_what_is_reported_is_in_the_table_of_kinds() -> None:
    """Every kind that the source gives to a problem or an error is a row of the table."""
    given: Counter[str] = Counter()
    for path in sorted((ROOT / "segue" / "data").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            if called in BUILDERS or called in ("_of", "_of_image"):
                first = node.args[0]
                kind: Any = getattr(module, first.id, None) if isinstance(first, ast.Name) else None
                kind = first.value if isinstance(first, ast.Constant) else kind
                given.update([kind] if isinstance(kind, str) else [])
    assert sum(given.values()) > 100 and set(given) <= set(KINDS)
    assert SIDED not in given or KINDS[SIDED].action == "note"
