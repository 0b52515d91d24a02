"""`data.split`: data that is one part is divided by the plan, always in the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from segue.data.dataset import Data, read_dataset
from segue.data.synthetic import render_dataset
from segue.errors import DataError

SHARES = {"valid": 0.25, "test": 0.25, "seed": 3}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen images of 32 px, not divided; every fourth of them is without objects."""
    folder = (
        render_dataset(tmp_path_factory.mktemp("flat"), {"train": 16}, side=32, seed=5) / "train"
    )
    path = folder / "_annotations.coco.json"
    content = json.loads(path.read_text())
    for number, entry in enumerate(content["images"]):
        name = f"scene{number // 4}_view{number % 4}.png"
        (folder / entry["file_name"]).rename(folder / name)
        entry["file_name"] = name
    empty = {entry["id"] for entry in content["images"][::4]}
    content["annotations"] = [
        entry for entry in content["annotations"] if entry["image_id"] not in empty
    ]
    path.write_text(json.dumps(content))
    return folder


def parts(root: Path, **split: Any) -> dict[str, list[str]]:
    data = read_dataset(Data.model_validate({"root": root, "split": split}))
    return {
        name: [record.image.name for record in part.records] for name, part in data.splits.items()
    }


def test_every_image_is_in_one_part_also_those_without_objects(flat: Path) -> None:
    found = parts(flat, **SHARES)
    assert {name: len(names) for name, names in found.items()} == {
        "train": 8,
        "valid": 4,
        "test": 4,
    }
    assert sorted(name for names in found.values() for name in names) == sorted(
        p.name for p in flat.glob("*.png")
    )
    assert set(parts(flat, valid=0.25)) == {"train", "valid"}


def test_the_same_files_give_the_same_parts_whatever_their_order(flat: Path) -> None:
    before, path = parts(flat, **SHARES), flat / "_annotations.coco.json"
    text = path.read_text()
    content = json.loads(text)
    path.write_text(json.dumps({**content, "images": content["images"][::-1]}))
    try:
        assert parts(flat, **SHARES) == before != parts(flat, **{**SHARES, "seed": 4})
    finally:
        path.write_text(text)


def test_a_scene_stays_in_one_part(flat: Path) -> None:
    found = parts(flat, valid=0.25, test=0.25, group="(scene.)")
    scenes = {name: {image[:6] for image in images} for name, images in found.items()}
    assert {name: len(of) for name, of in scenes.items()} == {"train": 2, "valid": 1, "test": 1}
    assert len(set.union(*scenes.values())) == 4


def test_what_cannot_be_divided_is_refused(flat: Path, rendered: Path) -> None:
    with pytest.raises(
        DataError, match=r"divided already: train, valid, test; .*leave out data.split"
    ):
        parts(rendered, valid=0.2)
    with pytest.raises(
        DataError, match=r"16 images in 1 groups .* for 2 parts; .*next: data.split.group"
    ):
        parts(flat, valid=0.2, group="(scene)")
    with pytest.raises(DataError, match=r"data.split: no regular expression"):
        parts(flat, valid=0.2, group="(")
    with pytest.raises(
        ValidationError, match=r"valid: 0.5 and test: 0.5 leave nothing to train on"
    ):
        parts(flat, valid=0.5, test=0.5)
    with pytest.raises(ValidationError, match="split: is for root: a folder"):
        Data.model_validate({"train": {"annotations": "a.json"}, "split": {}})
    with pytest.raises(
        DataError, match=r"no train part .*segue data split .*or split: {valid: 0.15}"
    ):
        read_dataset(Data(root=flat))
