"""segue label pick: what the model is unsure of, what is full, and never the same thing twice."""

from __future__ import annotations

import json

import hotcoco.mask as coco_mask
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageDraw

from benchmarks.rendered_fields import render_field
from segue.cli.app import main
from segue.cli.commands.label.auto import job_of
from segue.data.dataset import Data, read_splits
from segue.inference.predict import load
from segue.labelling.auto import find, with_estimates
from segue.labelling.disagreement import (
    Assessment,
    disagreement,
    kind_assessor,
    mirror,
    model_assessor,
)
from segue.labelling.pick import Candidate, choose
from segue.structures.detections import Detections
from segue.structures.masks import coco_rle
from segue.structures.regions import Region
from tests.data.images.test_value_scale import SIDE, channels, saved_model, write_stack
from tests.labelling import one_eyed
from tests.labelling.one_eyed import BLUE, GREEN, RED, paint, saved
from tests.labelling.scoring import levels


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("one-eyed") / "selected")


def picked(capsys, *arguments: object) -> tuple[list[dict], str]:
    """The list, as JSON, and what was said."""
    capsys.readouterr()
    assert main(["label", "pick", *map(str, arguments), "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def names(entries: list[dict]) -> list[str]:
    return [entry["image"] for entry in entries]


def squares(*objects: tuple[int, int, int, float]) -> Detections:
    """Squares x, y, side with scores in an image of 60 px."""
    regions = tuple(Region.of(np.ones((side, side), dtype=bool), x, y) for x, y, side, _ in objects)
    boxes = torch.tensor([region.window for region in regions], dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(objects), dtype=torch.int64)
    return Detections(
        boxes, torch.tensor([o[3] for o in objects]), labels, ("cell",), (60, 60), regions=regions
    )


def test_views_agree_by_overlap_and_scores():
    a = squares((5, 5, 10, 0.8), (30, 30, 10, 0.8))
    assert disagreement(a, [a]) == pytest.approx(0, abs=1e-6)
    assert disagreement(a, [squares()]) == disagreement(squares((5, 40, 10, 0.8)), [a]) == 1
    assert disagreement(squares(), [squares()]) == 0
    # two of three halves agree
    assert disagreement(a, [squares((5, 5, 10, 0.8))]) == pytest.approx(1 / 3)
    assert disagreement(a, [squares((5, 5, 10, 0.4), (30, 30, 10, 0.4))]) == pytest.approx(1 / 3)
    half = squares((5, 10, 10, 0.8), (30, 30, 10, 0.8))  # one moved by half of its side: IoU 1/3
    assert disagreement(a, [half]) == pytest.approx(1 - (1 + 1 / 3) / 2)
    assert disagreement(a, [a, squares()]) == pytest.approx(0.5, abs=1e-6)


def test_an_object_is_paired_once():
    twice = squares((5, 5, 10, 0.8), (5, 5, 10, 0.8))
    assert disagreement(squares((5, 5, 10, 0.8)), [twice]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("seed", "count"), [(2, 8), (3, 5), (3, 8), (4, 12)])
def test_a_field_that_is_found_whole_is_not_in_doubt_because_half_of_it_is_small(
    tmp_path, seed, count
):
    """At 80 px these few blobs are too little for a guess of their size, which was 4 times too
    large.
    """
    field, _ = render_field(np.random.default_rng(seed), 160, "blobs", count)
    Image.fromarray((field * 255).clip(0, 255).astype(np.uint8)).convert("RGB").save(
        tmp_path / "a.png"
    )
    seen = kind_assessor(job_of("blobs", (), "", "", None, False)).assess(
        tmp_path / "a.png", "a.png"
    )
    assert count <= len(seen.detections) <= count + 2 and 0 < seen.disagreement < 0.6


@pytest.mark.parametrize("kind", ["blobs", "tubes"])
@pytest.mark.parametrize("um", [None, 0.5])
def test_what_was_found_out_about_an_image_gives_the_same_objects_again(kind, um):
    field, _ = render_field(np.random.default_rng(0), 200, kind, 12)
    pixels = (
        torch.from_numpy(np.stack([np.zeros_like(field), 1 - field]) * 255).round().to(torch.uint8)
    )
    job = job_of(kind, (), "", "", None, False)
    first = find(pixels, job, um)
    again = with_estimates(job, first, pixels, um)
    assert (again.settings.channel, again.settings.polarity) == ("1", "dark") and first.width > 0
    second = find(pixels, again, um)
    assert (
        second.width == pytest.approx(first.width, abs=0.1)
        and len(second.shapes) == len(first.shapes) > 5
    )


@pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
def test_a_mirrored_view_comes_back_to_the_pixel(checkpoint, tmp_path, axes):
    paint(tmp_path / "a.png", (30, 40, 9, RED), (90, 70, 14, GREEN))
    predictor = load(checkpoint)
    pixels = predictor.pixels(tmp_path / "a.png")
    found = predictor.predict_ready(pixels, 0.5)
    back = mirror(predictor.predict_ready(pixels.flip(axes), 0.5), axes)
    assert len(found) == 2 and {repr(r) for r in back.regions} == {
        repr(found.region(i)) for i in range(2)
    }
    assert sorted(back.boxes_xyxy.tolist()) == sorted(found.boxes_xyxy.tolist())


def test_an_image_whose_views_disagree_comes_before_one_on_which_they_agree(
    checkpoint, tmp_path, capsys
):
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


def test_where_views_agree_fuller_images_come_first(checkpoint, tmp_path, capsys):
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
            name, None, field, Assessment(squares((5, 5, 10, 0.8)), value, np.array(features))
        )  # type: ignore[arg-type]
        for name, field, value, features in groups
    ]


def test_picks_are_spread_over_what_there_is_to_see():
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


def test_what_looks_like_a_labelled_image_is_worth_less():
    some = candidates(
        ("a", "a", 0.5, [0.0, 0.1]), ("b", "b", 0.5, [5.0, 5.0]), ("c", "c", 0.5, [0.3, 0.0])
    )
    (pick,) = choose(some, 1, [("labelled", np.array([0.0, 0.0]))])
    assert pick.candidate.name == "b" and pick.nearest == "labelled" and pick.distance > 1
    assert "unlike what is labelled or picked before" in pick.reason


def test_copies_and_views_of_one_field_are_not_both_picked(checkpoint, tmp_path, capsys):
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


def test_labelled_images_and_their_fields_are_no_candidates(checkpoint, tmp_path, capsys):
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


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
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


def test_every_program_gets_the_images_with_what_was_found(handed):
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


def test_the_list_says_why_and_is_the_same_again(handed, capsys):
    arguments = [str(handed / "images"), "--count", "3", "--kind", "blobs"]
    assert main(["label", "pick", *arguments, "--out", str(handed / "again")]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = json.loads((handed / "out" / "pick.json").read_text())["picked"]
    assert lines == [
        f"{number}. {entry['image']}: {entry['reason']}" for number, entry in enumerate(listed, 1)
    ]
    assert all("of the typical distance to" in line for line in lines[1:])


def test_labels_that_there_are_are_handed_out_and_said_to_be_one_view(handed, capsys):
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
def test_what_cannot_be_done_is_one_line(arguments, words, handed, tmp_path, capsys):
    out = () if "--out" in arguments else ("--out", str(tmp_path / "out"))
    assert main(["label", "pick", str(handed / "images"), *arguments, *out]) == 2
    error = capsys.readouterr().err
    assert (
        words in error and len(error.strip().splitlines()) == 1 and not (tmp_path / "out").exists()
    )


def test_the_frozen_features_tell_images_apart_and_do_not_depend_on_position(checkpoint, tmp_path):
    assessor = model_assessor(load(checkpoint), 0.5)
    a = paint(tmp_path / "a.png", (30, 40, 9, RED))
    moved = paint(tmp_path / "b.png", (80, 70, 9, RED))
    other = paint(tmp_path / "c.png", (30, 40, 9, GREEN))
    assert np.allclose(assessor.features(a), assessor.features(moved)) and not np.allclose(
        assessor.features(a), assessor.features(other)
    )


def test_tiles_show_a_model_what_is_too_small_in_a_large_image(checkpoint, tmp_path, capsys):
    """Pairs of discs, 1 px apart, in an image that is four times as large as what the model sees."""
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
        drawn = sum(
            coco_mask.decode(coco_rle(a.mask, *truth.shape)) for a in split.records[0].annotations
        )
        shares[tile] = (
            found[0]["objects"],
            (truth & (drawn > 0)).sum() / (truth | (drawn > 0)).sum(),
        )
        assert found[0]["disagreement"] < 0.2 and drawn.max() == 1
    assert shares["auto"] == (len(places), 1)
    assert shares[None][0] < len(places) and shares[None][1] < 0.9


def test_a_model_looks_at_the_plane_it_was_trained_on(tmp_path):
    write_stack(tmp_path / "z.tif", "Z")
    predictor = saved_model(tmp_path / "model", channels(255, plane=2))
    planes = [np.full((SIDE, SIDE), value, dtype=np.uint8) for value in (3, 5)]
    trained_on, largest = (predictor.features(predictor.pixels(plane)).numpy() for plane in planes)
    seen = model_assessor(predictor, 0.5).assess(tmp_path / "z.tif", "z.tif").features
    assert np.array_equal(seen, trained_on) and not np.array_equal(seen, largest)
