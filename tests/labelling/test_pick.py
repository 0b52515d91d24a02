"""segue label pick: what the model is unsure of, what is full, and never the same thing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from PIL import Image, ImageDraw

from segue.cli.app import main
from segue.data.dataset import Data, read_splits
from segue.labelling.disagreement import Assessment
from segue.labelling.pick import Candidate, choose
from segue.structures.masks import coco_rle
from tests.labelling import one_eyed
from tests.labelling.one_eyed import BLUE, GREEN, RED, paint, saved
from tests.labelling.picking import names, picked, squares
from tests.optional import present


def test_an_image_whose_views_disagree_comes_before_one_on_which_they_agree(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    paint(images / "a.png", (30, 40, 9, RED), (90, 70, 14, RED))
    paint(images / "b.png", (30, 40, 9, RED), (90, 70, 14, BLUE), (30, 90, 12, BLUE))
    paint(images / "c.png", (35, 48, 9, RED), (90, 80, 14, RED), (20, 100, 10, RED))
    found, _ = picked(
        capsys, images, "--count", 1, "--checkpoint", checkpoint, "--out", tmp_path / "out"
    )
    assert names(found) == ["b.png"] and found[0]["disagreement"] == pytest.approx(1 / 3)
    assert found[0]["reason"].startswith(
        f"views disagree {found[0]['disagreement']:.2f} (median 0.00); 2 objects"
    )


def test_where_views_agree_fuller_images_come_first(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paint(tmp_path / "images" / "a.png", (30, 40, 9, RED))
    paint(tmp_path / "images" / "b.png", (30, 40, 9, RED), (90, 70, 9, RED), (30, 90, 9, RED))
    paint(tmp_path / "images" / "c.png", (30, 40, 9, RED), (90, 70, 9, RED))
    found, _ = picked(
        capsys,
        tmp_path / "images",
        "--count",
        1,
        "--checkpoint",
        checkpoint,
        "--out",
        tmp_path / "out",
    )
    assert names(found) == ["b.png"] and "3 objects (median 2)" in found[0]["reason"]


def candidates(*groups: tuple[str, str, float, list[float]]) -> list[Candidate]:
    """name, field, disagreement and features of images with one object each."""
    return [
        Candidate(
            name,
            cast(Any, None),
            field,
            Assessment(squares((5, 5, 10, 0.8)), value, np.array(features)),
        )
        for name, field, value, features in groups
    ]


def test_picks_are_spread_over_what_there_is_to_see() -> None:
    rng = np.random.default_rng(0)
    middles = {"a": [0.0, 0, 0], "b": [9.0, 0, 0], "c": [0.0, 9, 0]}
    some = [
        (
            f"{kind}{i}",
            f"{kind}{i}",
            0.9 if kind == "a" else 0.2,
            (np.array(middle) + rng.normal(0, 0.3, 3)).tolist(),
        )
        for kind, middle in middles.items()
        for i in range(5)
    ]
    found = [pick.candidate.name for pick in choose(candidates(*some), 3)]
    assert found[0][0] == "a" and sorted(name[0] for name in found) == ["a", "b", "c"]
    assert found == [pick.candidate.name for pick in choose(candidates(*some[::-1]), 3)]


def test_what_looks_like_a_labelled_image_is_worth_less() -> None:
    some = candidates(
        ("a", "a", 0.5, [0.0, 0.1]), ("b", "b", 0.5, [5.0, 5.0]), ("c", "c", 0.5, [0.3, 0.0])
    )
    (pick,) = choose(some, 1, [("labelled", np.array([0.0, 0.0]))])
    assert pick.candidate.name == "b" and pick.nearest == "labelled" and present(pick.distance) > 1
    assert "unlike what is labelled or picked before" in pick.reason


def test_copies_and_views_of_one_field_are_not_both_picked(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    paint(images / "a.png", (30, 40, 9, BLUE))
    paint(images / "copied.png", (30, 40, 9, BLUE))
    paint(images / "f_green.png", (80, 40, 9, GREEN), grey=20)
    paint(images / "f_red.png", (80, 40, 12, RED))
    found, said = picked(
        capsys, images, "--count", 4, "--checkpoint", checkpoint, "--out", tmp_path / "out"
    )
    assert len(found) == 2 and {entry["group"] for entry in found} in ({"a", "f"}, {"copied", "f"})
    assert "2 images, not 4: the other 2 show fields or are copies of those" in said
    more, said = picked(
        capsys,
        images,
        "--count",
        3,
        "--checkpoint",
        checkpoint,
        "--group",
        "(.+)",
        "--out",
        tmp_path / "more",
    )
    assert len(more) == 3 and "not" not in said


def test_labelled_images_and_their_fields_are_no_candidates(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels"
    paint(labels / "images" / "a_green.png", (30, 40, 9, BLUE))
    entry = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [21, 31, 18, 18],
        "segmentation": [],
        "area": 324,
    }
    image = {"id": 1, "file_name": "a_green.png", "width": 128, "height": 128}
    content = {"images": [image], "annotations": [entry], "categories": [{"id": 1, "name": "tube"}]}
    (labels / "annotations").mkdir()
    (labels / "annotations" / "manual_train_annotations.json").write_text(json.dumps(content))
    images = tmp_path / "images"
    for name in ("a_green", "a_red", "b"):
        paint(images / f"{name}.png", (30, 40, 9, BLUE), (90, len(name) * 9, 8, RED))
    where = ("--labels", labels, "--out", tmp_path / "out")
    found, said = picked(capsys, images, "--count", 1, "--checkpoint", checkpoint, *where)
    assert names(found) == ["b.png"] and found[0]["nearest"] == "a_green.png"
    assert "1 images are labelled by hand, 1 others show the same fields; 1 to pick from" in said
    (images / "b.png").unlink()
    refused = [
        "label",
        "pick",
        str(images),
        "--count",
        "1",
        "--labels",
        str(labels),
        "--checkpoint",
        str(checkpoint),
    ]
    assert (
        main(refused) == 2
        and "labelled by hand; expected some that are not" in capsys.readouterr().err
    )


def test_tiles_show_a_model_what_is_too_small_in_a_large_image(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pairs of discs, 1 px apart, in an image four times as large as what the model sees."""
    (tmp_path / "images").mkdir()
    large = Image.new("RGB", (4 * one_eyed.SIDE, 4 * one_eyed.SIDE))
    places = [(x + step, y) for x, y in ((60, 60), (126, 300), (400, 250)) for step in (0, 14)]
    for x, y in places:
        ImageDraw.Draw(large).ellipse((x - 6, y - 6, x + 6, y + 6), fill=RED)
    large.save(tmp_path / "images" / "a.png")
    truth = np.asarray(large)[..., 0] > 0
    shares = {}
    for tile in (None, "auto"):
        out = tmp_path / f"tile-{tile}"
        cut = ("--tile", tile) if tile else ()
        found, _ = picked(
            capsys,
            tmp_path / "images",
            "--count",
            1,
            "--checkpoint",
            checkpoint,
            "--out",
            out,
            *cut,
        )
        (split,) = read_splits(Data(root=out / "coco")).values()
        drawn: Any = sum(
            coco_mask.decode(coco_rle(present(a.mask), *truth.shape))
            for a in split.records[0].annotations
        )
        shares[tile] = (
            found[0]["objects"],
            (truth & (drawn > 0)).sum() / (truth | (drawn > 0)).sum(),
        )
        assert found[0]["disagreement"] < 0.2 and drawn.max() == 1
    assert shares["auto"] == (len(places), 1)
    assert shares[None][0] < len(places) and shares[None][1] < 0.9


def test_a_model_that_is_blind_to_most_images_is_said_and_one_that_is_to_all_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = saved(tmp_path / "selected")
    for name in "abc":
        paint(
            tmp_path / "images" / f"{name}.png",
            *([(30, 40, 9, RED)] if name == "a" else []),
            grey=ord(name) % 7,
        )
    arguments = [
        "label",
        "pick",
        str(tmp_path / "images"),
        "--count",
        "1",
        "--checkpoint",
        str(checkpoint),
        "--out",
    ]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert (
        "warning: the model finds nothing above 0.5 in 2 of 3 images: train longer, lower "
        "--threshold" in said
    )
    (tmp_path / "images" / "a.png").unlink()
    assert main([*arguments, str(tmp_path / "none")]) == 2
    assert (
        "nothing above 0.5 in 2 of 2 images; expected objects to correct; next: train"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_not_there_is_said_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["label", "pick", str(tmp_path / "nowhere"), "--count", "3"]) == 2
    assert "nowhere: no such file or folder; expected images" in capsys.readouterr().err
