"""Where the other files of an image are looked for, and what is not one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segue.data.dataset import Data, read_dataset, read_splits
from segue.data.images import multi_file, paired_files
from segue.errors import DataError
from segue.inference.predict import pictures_in
from tests.data.images.test_multi_file import LEVELS, PHOTO, THERMAL, save

PLACES = {
    "train/x.png": "train/thermal/x.tif",
    "images/x.png": "thermal/x.TIF",
    "images/train/x.png": "thermal/train/x.npy",
    "train/images/x.png": "train/thermal/x.png",
    "train/images/day/x.y.png": "train/thermal/day/x.y.tif",
    "valid/x.png": "thermal/valid/x.png",
    "rgb/x.png": "thermal/x.png",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_partner_is_found_where_people_put_it(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = save(tmp_path / place, PHOTO)
    path = tmp_path / PLACES[place]
    save(path.with_suffix(path.suffix.lower()), LEVELS).rename(path)
    assert multi_file.files(image, THERMAL) == {image: [0, 1, 2], path: [3]}
    monkeypatch.chdir(image.parent)
    assert list(multi_file.files(Path(image.name), THERMAL)) == [Path(image.name), path]
    image.unlink()
    path.rename(tmp_path / "elsewhere")
    save(image, PHOTO)
    with pytest.raises(
        DataError,
        match="x.*: no partner .*thermal.* for channel thermal; expected an image in a folder",
    ):
        multi_file.files(image, THERMAL)


def test_the_nearest_folder_wins_and_two_files_for_one_partner_are_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "images" / "train" / "x.png", PHOTO)
    save(tmp_path / "thermal" / "x.png", LEVELS)
    far = save(tmp_path / "thermal" / "train" / "x.png", LEVELS)
    assert list(multi_file.files(image, THERMAL))[1] == far
    save(tmp_path / "thermal" / "train" / "x.npy", LEVELS)
    with pytest.raises(
        DataError, match=r"images/train/x.png: several partners for channel thermal: .*x.npy, x.png"
    ):
        multi_file.read(image, THERMAL)


def test_a_folder_without_any_partner_is_said_once_with_those_that_have_some(
    rendered: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(rendered, tmp_path / "data"))
    for path in sorted(data.glob("train/*.png"))[:3]:
        (data / "train" / "warm").mkdir(exist_ok=True)
        Image.open(path).convert("L").save(data / "train" / "warm" / path.name)
    channels = [*"rgb", {"name": "heat", "folder": "heat"}]
    said = (
        r"no image has a partner in a folder heat, for channel heat; "
        r"expected folder: one of warm \(3 images\)"
    )
    with pytest.raises(DataError, match=said):
        read_splits(Data.model_validate({"root": data, "channels": channels}))
    files = {
        part: {"annotations": data / part / "_annotations.coco.json"} for part in ("train", "valid")
    }
    with pytest.raises(DataError, match=said):
        read_splits(Data.model_validate({**files, "channels": channels}))


def test_scenes_side_by_side_are_no_partners_of_each_other_and_are_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [save(tmp_path / f"scene_{number}" / f"{number}.png", PHOTO) for number in range(6)]
    save(tmp_path / "scene_2" / "1.png", LEVELS)  # which nobody has labelled
    thermal = save(tmp_path / "scene_3" / "thermal" / "3.png", LEVELS)
    iterdir = Path.iterdir
    listed: list[Any] = []
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterdir(path))
    assert paired_files.find_paired_files(pictures, tmp_path) == {
        "thermal": {pictures[3]: [thermal]}
    }
    assert listed.count(tmp_path) == 1


def test_partners_are_no_images_to_predict(tmp_path: Path) -> None:
    for name in (
        "images/a.png",
        "images/b/c.png",
        "thermal/a.png",
        "thermal/b/c.png",
        "images/thermal/d.png",
    ):
        save(tmp_path / name, PHOTO)
    found = [path.relative_to(tmp_path).as_posix() for path in pictures_in(tmp_path, THERMAL)]
    assert found == ["images/a.png", "images/b/c.png"]
    assert len(pictures_in(tmp_path)) == 5 and len(pictures_in(tmp_path / "thermal", THERMAL)) == 2


def test_coco_images_in_a_folder_beside_their_partners_are_the_images(
    rendered: Path, tmp_path: Path
) -> None:
    for part in ("train", "valid"):
        shutil.copytree(rendered / part, tmp_path / part / "images")
        (tmp_path / part / "images" / "_annotations.coco.json").rename(
            tmp_path / part / "_annotations.coco.json"
        )
        for path in sorted((tmp_path / part / "images").iterdir()):
            save(tmp_path / part / "thermal" / path.name, np.zeros((96, 96), np.uint8))
    found = read_dataset(Data(root=tmp_path, channels=THERMAL))
    assert {record.image.parent.name for record in found.splits["train"].records} == {"images"}


def test_an_image_is_not_its_own_partner(tmp_path: Path) -> None:
    image = save(tmp_path / "train" / "thermal" / "a.png", PHOTO)
    with pytest.raises(DataError, match="no partner .*thermal/a.* for channel thermal"):
        multi_file.read(image, THERMAL)
