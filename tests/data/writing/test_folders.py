"""Pictures of other cameras go where their images go: split, merged, scaled, converted, and found
there by a plan.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segue.cli.app import main
from segue.data.dataset import Data, read_splits
from segue.data.images import image_io, multi_file
from segue.data.synthetic import render_dataset
from tests.data.images.test_multi_file import THERMAL

SIDE, COUNT = 64, 6


def levels(number: int) -> np.ndarray:
    """A thermal image, known by its values."""
    return (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) + 5000 + 100 * number).astype(np.uint16)


@pytest.fixture
def flat(tmp_path) -> Path:
    """Photographs with labels in one folder, and thermal images in a folder below."""
    folder = render_dataset(tmp_path / "in", {"train": COUNT}, side=SIDE, seed=5) / "train"
    (folder / "thermal").mkdir()
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        Image.fromarray(levels(number)).save(folder / "thermal" / path.name)
    return folder


def thermal_images(root: Path) -> dict[str, np.ndarray]:
    """The thermal channel of every image, as a plan that names it finds it."""
    records = [
        record for split in read_splits(Data(root=root)).values() for record in split.records
    ]
    assert all(len(multi_file.files(record.image, THERMAL)) == 2 for record in records)
    places = {
        r.image.stem: next(p for p in multi_file.files(r.image, THERMAL) if p != r.image)
        for r in records
    }
    return {name: image_io.read_stack(path)[0, 0] for name, path in places.items()}


def same_levels(root: Path) -> bool:
    return all(
        (values == levels(int(name[-4:]))).all() for name, values in thermal_images(root).items()
    )


@pytest.mark.parametrize("kind", ["coco", "yolo", "yolo-seg", "masks", "voc", "cvat", "labelme"])
def test_they_are_converted_with_every_format(flat, tmp_path, capsys, kind):
    assert main(["data", "convert", str(flat), "--to", kind, "--out", str(tmp_path / kind)]) == 0
    assert f"thermal: {COUNT} partners of {COUNT} images go along" in capsys.readouterr().out
    assert len(thermal_images(tmp_path / kind)) == COUNT and same_levels(tmp_path / kind)


def test_they_are_split_and_linked_as_their_images_are(flat, tmp_path):
    out = tmp_path / "parts"
    assert (
        main(["data", "split", str(flat), "--out", str(out), "--shares", "0.5,0.5", "--link"]) == 0
    )
    counts = [len(list((out / part / "thermal").iterdir())) for part in ("train", "valid")]
    assert same_levels(out) and counts == [COUNT // 2, COUNT // 2]
    assert all(path.stat().st_nlink == 2 for path in out.rglob("*.png"))
    assert (
        main(["data", "split", str(out), "--out", str(tmp_path / "again"), "--shares", "1,1"]) == 0
    )
    assert same_levels(tmp_path / "again") and len(thermal_images(tmp_path / "again")) == COUNT


def test_they_are_merged_and_some_that_are_missing_are_counted(flat, tmp_path, capsys):
    other = render_dataset(tmp_path / "other", {"train": 3}, side=SIDE, seed=6) / "train"
    (other / "thermal").mkdir()
    for path in sorted(other.glob("*.png"))[:2]:
        Image.fromarray(levels(50)).save(other / "thermal" / path.name)
    assert main(["data", "merge", str(flat), str(other), "--out", str(tmp_path / "one")]) == 0
    assert (
        f"thermal: {COUNT + 2} partners of {COUNT + 3} images go along" in capsys.readouterr().out
    )
    values = [
        int(image_io.read_stack(path).min()) for path in (tmp_path / "one" / "thermal").iterdir()
    ]
    assert sorted(values) == sorted([*(5000 + 100 * n for n in range(COUNT)), 10_000, 10_000])


@pytest.mark.parametrize("link", [[], ["--link"]])
def test_two_of_one_name_are_refused_and_neither_is_overwritten(flat, tmp_path, capsys, link):
    other = render_dataset(tmp_path / "other", {"train": 1}, side=SIDE, seed=6) / "train"
    (other / "thermal").mkdir()
    (path,) = other.glob("*.png")
    Image.open(path).save(path.with_suffix(".bmp"))
    path.unlink()
    label = other / "_annotations.coco.json"
    label.write_text(label.read_text().replace(".png", ".bmp"))
    Image.fromarray(levels(50)).save(other / "thermal" / path.name)
    assert (
        main(["data", "merge", str(flat), str(other), "--out", str(tmp_path / "one"), *link]) == 2
    )
    assert (
        f"a second thermal/{path.name}; the first is {flat / 'thermal' / path.name}"
        in capsys.readouterr().err
    )
    assert same_levels(flat) and not (tmp_path / "one").exists()


@pytest.mark.parametrize("same", ["manual", "both"])
def test_those_beside_one_of_two_equal_images_go_along_whichever_is_kept(
    flat, tmp_path, capsys, same
):
    other = Path(shutil.copytree(flat, tmp_path / "other"))
    for number, path in enumerate(sorted((flat / "thermal").iterdir())):
        (path if number % 2 else other / "thermal" / path.name).unlink()
    assert (
        main(
            ["data", "merge", str(flat), str(other), "--out", str(tmp_path / "one"), "--same", same]
        )
        == 0
    )
    assert f"thermal: {COUNT} partners of {COUNT} images go along" in capsys.readouterr().out
    assert same_levels(tmp_path / "one")


def with_bitmap(folder: Path) -> Path:
    """The first image, which from now on is there as a bitmap of the same name, too."""
    path = sorted(folder.glob("*.png"))[0]
    Image.open(path).save(path.with_suffix(".bmp"))
    label = folder / "_annotations.coco.json"
    content = json.loads(label.read_text())
    content["images"].append(
        {**content["images"][0], "id": 99, "file_name": path.with_suffix(".bmp").name}
    )
    label.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("link", [[], ["--link"]])
def test_two_images_of_one_stem_share_their_partner(flat, tmp_path, link):
    with_bitmap(flat)
    out = tmp_path / "out"
    assert main(["data", "convert", str(flat), "--to", "coco", "--out", str(out), *link]) == 0
    assert len(list((out / "thermal").iterdir())) == COUNT and same_levels(out)


def test_images_that_only_a_suffix_tells_apart_do_not_become_one_when_scaled(
    flat, tmp_path, capsys
):
    path = with_bitmap(flat)
    assert (
        main(["data", "scale", str(flat), "--out", str(tmp_path / "half"), "--factor", "0.5"]) == 2
    )
    assert (
        f"a second {path.name}; the first is {path}" in capsys.readouterr().err
        and not (tmp_path / "half").exists()
    )


def test_they_are_scaled_with_all_their_levels(flat, tmp_path):
    assert (
        main(["data", "scale", str(flat), "--out", str(tmp_path / "half"), "--factor", "0.5"]) == 0
    )
    for name, values in thermal_images(tmp_path / "half").items():
        whole = levels(int(name[-4:])).astype(float)
        assert values.shape == (SIDE // 2, SIDE // 2) and values.dtype == np.uint16
        assert np.abs(values[8:24, 8:24] - whole[16:48:2, 16:48:2]).max() < 2 * SIDE


def test_copies_other_parts_other_sizes_and_masks_are_no_other_camera(tmp_path, capsys):
    root = render_dataset(tmp_path / "in", {"train": 2, "valid": 2}, side=SIDE, seed=5)
    for part in ("train", "valid"):
        for number, path in enumerate(sorted((root / part).glob("*.png"))):
            for folder in ("copies", "masks", "small"):
                (root / part / folder).mkdir(exist_ok=True)
            Image.fromarray(levels(number)[::2, ::2]).save(root / part / "small" / path.name)
            (root / part / "copies" / path.name).write_bytes(path.read_bytes())
            Image.fromarray(levels(number)).save(root / part / "masks" / path.name)
            path.rename(path.with_name(f"{number}.png"))
        label = root / part / "_annotations.coco.json"
        label.write_text(label.read_text().replace(f"{part}_000", ""))
        for folder in ("copies", "masks", "small"):
            for number, path in enumerate(sorted((root / part / folder).iterdir())):
                path.rename(path.with_name(f"{number}.png"))
    assert main(["data", "convert", str(root), "--to", "coco", "--out", str(tmp_path / "out")]) == 0
    assert "go along" not in capsys.readouterr().out
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4


def test_real_pairs_stay_pairs(sample_data, tmp_path, capsys):
    root = sample_data("deeppcb-pairs-40")
    assert (
        main(
            [
                "data",
                "convert",
                str(root),
                "--to",
                "yolo",
                "--out",
                str(tmp_path / "yolo"),
                "--link",
            ]
        )
        == 0
    )
    assert "template: 40 partners of 40 images go along" in capsys.readouterr().out
    for path in root.glob("*/template/*"):
        moved = tmp_path / "yolo" / path.relative_to(root)
        assert moved.read_bytes() == path.read_bytes()
