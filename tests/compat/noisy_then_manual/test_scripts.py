"""The data commands of the noisy-then-manual recipe: their flags, the files they leave, and counts
to the object.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segue.data.dataset import Data, read_dataset
from segue.data.scene_groups import group_of
from segue.data.synthetic import render_dataset
from segue.data.writing import merge
from tests.conftest import ROOT

FOLDER = ROOT / "scripts" / "noisy-then-manual"
COMMANDS = {
    "organize_unified_dataset.py", "setup_two_stage.py", "register_two_stage_datasets.py",
    "utils/combine_coco_annotations.py", "utils/scale_coco_annotations.py",
}  # fmt: skip
FILES = [
    f"{source}_{part}_annotations.json"
    for source in ("algorithmic", "manual")
    for part in ("test", "train")
]
SIDE = 48


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Types a command in a folder: the exit code and what it said."""

    def typed(name: str, *arguments: object, cwd: Path) -> tuple[int, str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out + captured.err

    return typed


def coco_folder(root: Path, count: int, views: tuple[str, ...], seed: int) -> dict[str, Any]:
    """images/ and annotations/train_annotations.json of `count` fields, each in some views."""
    rendered = (
        render_dataset(root / "rendered", {"train": count}, side=SIDE, seed=seed, objects=(2, 5))
        / "train"
    )
    content = json.loads((rendered / "_annotations.coco.json").read_text())
    entries: dict[str, list[Any]] = {
        "images": [],
        "annotations": [],
        "categories": content["categories"],
    }
    (root / "images").mkdir()
    for shift, view in enumerate(views):
        for image in content["images"]:
            name = f"field{image['id']:02d}{view}.png"
            pixels = np.array(Image.open(rendered / image["file_name"])) // (shift + 1)
            Image.fromarray(pixels).save(root / "images" / name)
            entries["images"].append({**image, "id": image["id"] + 1000 * shift, "file_name": name})
        for entry in content["annotations"]:
            moved = {"id": entry["id"] + 1000 * shift, "image_id": entry["image_id"] + 1000 * shift}
            entries["annotations"].append({**entry, **moved})
    (root / "annotations").mkdir()
    (root / "annotations" / "annotations.json").write_text(json.dumps(entries))
    return entries


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """Labels of an algorithm on 20 fields in two colours, by hand on 6 of them; how many objects
    each has.
    """
    root = tmp_path_factory.mktemp("labs")
    noisy = coco_folder(root / "noisy", 20, ("_green", "_grey"), seed=1)
    manual = coco_folder(root / "hand", 6, ("_green",), seed=1)
    return root, len(noisy["annotations"]), len(manual["annotations"])


def organised(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], place: Path
) -> str:
    root = labs[0]
    flags = ("--algorithmic_dataset", root / "noisy", "--manual_dataset", root / "hand")
    code, said = here(
        "organize_unified_dataset.py", *flags, "--output_dataset", "myotube_dataset", cwd=place
    )
    assert code == 0, said
    return said


def test_the_commands_are_those_of_the_text() -> None:
    found = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py")}
    assert found >= COMMANDS and len(COMMANDS) == 5


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_its_flags(
    here: Callable[..., tuple[int, str]], tmp_path: Path, name: Any
) -> None:
    code, said = here(name, "--help", cwd=tmp_path)
    assert code == 0 and "usage" in said


def test_two_sources_are_one_folder_with_every_object_once_and_no_field_in_two_parts(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], tmp_path: Path
) -> None:
    said = organised(here, labs, tmp_path)
    folder = tmp_path / "myotube_dataset"
    assert sorted(path.name for path in (folder / "annotations").iterdir()) == FILES
    content = {name: json.loads((folder / "annotations" / name).read_text()) for name in FILES}
    for word, expected in (("algorithmic", labs[1]), ("manual", labs[2])):
        counts = [
            len(content[f"{word}_{part}_annotations.json"]["annotations"])
            for part in ("train", "test")
        ]
        assert (
            sum(counts) == expected
            and f"{word}_train: " in said
            and f"images, {counts[1]} objects" in said
        )
    splits = merge.read(folder)
    assert {a.source for r in splits["algorithmic_train"].records for a in r.annotations} == {
        "algorithm"
    }
    assert {a.source for r in splits["manual_train"].records for a in r.annotations} == {"manual"}
    fields = {key: {group_of(r.image.name) for r in split.records} for key, split in splits.items()}
    training, testing = (
        fields[f"algorithmic_{p}"] | fields[f"manual_{p}"] for p in ("train", "test")
    )
    assert not training & testing and len(training | testing) == 20
    assert [len(fields[f"algorithmic_{part}"]) for part in ("train", "test")] == [18, 2]
    assert [len(fields[f"manual_{part}"]) for part in ("train", "test")] == [5, 1]
    assert len(list((folder / "images").iterdir())) == 40  # the six by hand are six of the forty
    files = {
        split: {
            "annotations": folder / "annotations" / f"manual_{name}_annotations.json",
            "images": folder / "images",
        }
        for split, name in (("train", "train"), ("valid", "test"))
    }
    assert len(read_dataset(Data.model_validate(files)).splits["train"].records) == 5


def test_the_same_command_again_replaces_nothing(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], tmp_path: Path
) -> None:
    organised(here, labs, tmp_path)
    flags = ("--algorithmic_dataset", labs[0] / "noisy", "--output_dataset", "myotube_dataset")
    code, said = here("organize_unified_dataset.py", *flags, cwd=tmp_path)
    assert code == 2 and "myotube_dataset: exists; expected a name that is free" in said


def test_without_labels_by_hand_only_stage_1_can_run(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], tmp_path: Path
) -> None:
    flags = ("--algorithmic_dataset", labs[0] / "noisy", "--output_dataset", "first")
    code, said = here("organize_unified_dataset.py", *flags, cwd=tmp_path)
    assert code == 0 and "stage 1 can run, stage 2 cannot" in said
    code, said = here("register_two_stage_datasets.py", "--dataset_root", "first", cwd=tmp_path)
    assert (
        code == 2
        and "no manual_train_annotations.json" in said
        and "next: organize_unified_dataset.py" in said
    )


def test_the_four_names_are_registered_with_exact_counts(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], tmp_path: Path
) -> None:
    organised(here, labs, tmp_path)
    flags = ("--dataset_root", "myotube_dataset", "--instance", "--panoptic", "--both")
    code, said = here("register_two_stage_datasets.py", *flags, cwd=tmp_path)
    assert code == 0 and "--panoptic has no effect" in said and "--both has no effect" in said
    lines = [line for line in said.splitlines() if line.startswith("myotube_")]
    assert [line.split(":")[0] for line in lines] == [
        f"myotube_stage{n}_{p}" for n in (1, 2) for p in ("train", "val")
    ]
    counted = [int(line.split(" objects")[0].rpartition(" ")[2]) for line in lines]
    assert (sum(counted[:2]), sum(counted[2:])) == labs[1:]


def test_the_setup_is_complete_or_what_lacks_is_named(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], tmp_path: Path
) -> None:
    code, said = here("setup_two_stage.py", cwd=tmp_path)
    assert code == 1 and "neither myotube_dataset nor myotube_batch_output is here" in said
    organised(here, labs, tmp_path)
    for number in (1, 2):
        (tmp_path / f"stage{number}_config.yaml").write_text("SOLVER: {}\n")
    code, said = here("setup_two_stage.py", cwd=tmp_path)
    assert code == 0 and said.count("myotube_dataset ") == 4 and "modules: all" in said, said
    next((tmp_path / "myotube_dataset" / "images").glob("field00*")).unlink()
    code, said = here("setup_two_stage.py", cwd=tmp_path)
    assert code == 1 and "error: " in said and "no file field00" in said


def test_two_files_are_combined_by_name(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], tmp_path: Path
) -> None:
    files = [labs[0] / name / "annotations" / "annotations.json" for name in ("noisy", "hand")]
    flags = ("-f1", files[0], "-f2", files[1], "-o", "both.json")
    code, said = here("utils/combine_coco_annotations.py", *flags, "--dry_run", cwd=tmp_path)
    assert code == 0 and "nothing written" in said and list(tmp_path.iterdir()) == []
    assert here("utils/combine_coco_annotations.py", *flags, cwd=tmp_path)[0] == 0
    content = json.loads((tmp_path / "both.json").read_text())
    assert (
        len(content["annotations"])
        == labs[1] + labs[2]
        == len({e["id"] for e in content["annotations"]})
    )
    assert len(content["images"]) == 40 and len(content["categories"]) == 3
    assert here("utils/combine_coco_annotations.py", *flags, cwd=tmp_path)[0] == 2


def test_annotations_are_scaled_to_the_images_of_a_folder(
    here: Callable[..., tuple[int, str]], labs: tuple[Path, int, int], tmp_path: Path
) -> None:
    (tmp_path / "large").mkdir()
    for path in (labs[0] / "hand" / "images").iterdir():
        Image.open(path).resize((3 * SIDE, 2 * SIDE)).save(tmp_path / "large" / path.name)
    before = labs[0] / "hand" / "annotations" / "annotations.json"
    flags = ("-i", before, "-d", "large", "-o", "scaled.json")
    code, said = here("utils/scale_coco_annotations.py", *flags, "--dry_run", cwd=tmp_path)
    assert code == 0 and f"6 images {SIDE} x {SIDE} -> {3 * SIDE} x {2 * SIDE}" in said
    assert not (tmp_path / "scaled.json").exists()
    assert here("utils/scale_coco_annotations.py", *flags, cwd=tmp_path)[0] == 0
    old, new = (json.loads(path.read_text()) for path in (before, tmp_path / "scaled.json"))
    assert [entry["file_name"] for entry in new["images"]] == [
        entry["file_name"] for entry in old["images"]
    ]
    for one, other in zip(old["annotations"], new["annotations"], strict=True):
        points = np.array(one["segmentation"][0]).reshape(-1, 2) * (3, 2)
        assert np.allclose(points.ravel(), other["segmentation"][0], atol=0.02)
        assert one["category_id"] == other["category_id"] and one["image_id"] == other["image_id"]
