"""`segue data merge`: two data sets become one without loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segue.data.dataset import Data, read_splits
from segue.data.synthetic import render_dataset
from tests.cli.commands.data.conftest import SIDE
from tests.cli.commands.data.test_change import counted


def change(source: Path, edit) -> None:
    path = source / "_annotations.coco.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


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
