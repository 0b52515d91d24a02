"""Channels from several files of one image: found where people put them, exact, or refused with
both files' names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from pydantic import ValidationError

from segue.data.audit import audit
from segue.data.dataset import Data, manifest, read_dataset
from segue.data.images import image_io, multi_file
from segue.data.images.value_scale import value_scaled
from segue.data.pipeline.samples import Samples, read_image
from segue.data.pipeline.transforms import View
from segue.data.problems import refused
from segue.data.records import Record
from segue.errors import DataError
from segue.evaluation.overlay import as_picture
from segue.models.parts.layers import Normalise
from segue.structures.channels import Channel
from tests.data.images.test_value_scale import distinct, saved_model, seen_by

SIDE = 64


PHOTO = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


LEVELS = (np.random.default_rng(1).permutation(SIDE * SIDE).reshape(SIDE, SIDE) % 1024).astype(
    np.uint16
)


def channels(*listed: object) -> tuple[Channel, ...]:
    """As a plan has them."""
    return Data.model_validate({"root": ".", "channels": ["r", "g", "b", *listed]}).channels


THERMAL = channels({"name": "thermal", "folder": "thermal"})


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / "train" / "a.png", PHOTO)


def test_a_stage_takes_some_channels_of_a_file_by_their_number(tmp_path: Path) -> None:
    five = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 5), np.uint8)
    path = save(tmp_path / "a.npy", five)
    some = [Channel(name="event", at=4), Channel(name="thermal", at=3)]
    assert np.array_equal(multi_file.read(path, some), five[..., [4, 3]].transpose(2, 0, 1))
    with pytest.raises(DataError, match=r"5 channels; expected 3 \(or at: for each\)"):
        multi_file.read(path, channels())
    with pytest.raises(DataError, match=r"5 channels, counted from 0; expected one at 5"):
        multi_file.read(path, [Channel(name="depth", at=5)])
    with pytest.raises(
        ValidationError, match=r"some of one file say where they are \(at:\); all of them have to"
    ):
        channels({"name": "thermal", "at": 3})


def test_8_bit_colour_beside_16_bit_thermal_keeps_all_levels_of_both(
    photo: Path, tmp_path: Path
) -> None:
    save(photo.parent / "thermal" / "a.png", LEVELS)
    for scale in (None, 1023, "percentile"):
        wanted = channels({"name": "thermal", "folder": "thermal", "scale": scale})
        samples = Samples([Record(photo, SIDE, SIDE, 1)], (), wanted, View(SIDE, SIDE), seed=0)
        inputs = samples[0, 0][0]["images"]
        assert (
            inputs.dtype == torch.float32
            and distinct(Normalise(wanted)(inputs[None])[0][3:]) == 1024
        )
        torch.testing.assert_close(inputs[:3], torch.from_numpy(PHOTO).permute(2, 0, 1) / 255)
        assert torch.equal(
            inputs[3].flatten().argsort(stable=True),
            torch.tensor(LEVELS.ravel()).argsort(stable=True),
        )
    alone = value_scaled(image_io.read(photo.parent / "thermal" / "a.png", wanted[3:]), wanted[3:])
    # percentiles are those of the partner, taken once
    torch.testing.assert_close(inputs[3], alone[0])
    predictor = saved_model(tmp_path / "model", wanted)
    for picture in (photo, multi_file.read(photo, wanted)):
        assert torch.equal(seen_by(predictor, picture), Normalise(wanted)(inputs[None])[0])


def test_files_of_one_type_stay_as_stored(photo: Path) -> None:
    save(photo.parent / "thermal" / "a.tif", PHOTO[..., 0])
    pixels = read_image(Record(photo, SIDE, SIDE, 1), THERMAL)
    assert pixels.dtype == torch.uint8 and torch.equal(pixels[3], pixels[0])


def test_channels_that_name_one_folder_are_its_files_in_order_wherever_they_are_listed(
    photo: Path,
) -> None:
    save(photo.parent / "other" / "a.npy", np.stack([LEVELS, LEVELS * 2], -1))
    one, two = ({"name": name, "folder": "other"} for name in ("one", "two"))
    listed = Data.model_validate({"root": ".", "channels": [one, "b", "g", "r", two]}).channels
    pixels = multi_file.read(photo, listed)
    assert torch.equal(pixels[0] * 65535, torch.from_numpy(LEVELS.astype(np.float32)))
    assert torch.equal(pixels[4], pixels[0] * 2) and torch.equal(
        pixels[1] * 255, torch.from_numpy(PHOTO[..., 0]).float()
    )
    alone = Data.model_validate({"root": ".", "channels": [one, two]}).channels
    # a picture no channel is taken from
    assert torch.equal(multi_file.read(photo, alone)[0], torch.from_numpy(LEVELS))


def test_a_partner_of_three_equal_channels_is_one_and_any_other_number_is_refused_with_both_names(
    photo: Path,
) -> None:
    path = photo.parent / "thermal" / "a.png"
    grey = PHOTO[..., 0]
    save(path, np.stack([grey] * 3, -1))
    assert torch.equal(multi_file.read(photo, THERMAL)[3], torch.from_numpy(grey))
    save(path, PHOTO)
    message = f"{path}: 3 channels; expected 1 (or at: for each) for thermal, as partner of {photo}"
    with pytest.raises(DataError) as error:
        multi_file.read(photo, THERMAL)
    assert str(error.value) == message
    save(path, grey)
    three = channels(*({"name": name, "folder": "thermal"} for name in ("x", "y")))
    with pytest.raises(
        DataError, match=f"{path}: 1 channels; expected 2 for x, y, as partner of {photo}"
    ):
        multi_file.read(photo, three)


@pytest.mark.parametrize("listed", [THERMAL, THERMAL[3:]])
def test_a_partner_of_another_size_is_refused_with_both_names(photo: Path, listed: Any) -> None:
    path = save(photo.parent / "thermal" / "a.png", LEVELS[:50])
    with pytest.raises(
        DataError,
        match=f"{path}: a partner of 50 x 64 pixels .*; expected 64 x 64, as its partner {photo}",
    ):
        multi_file.read(photo, listed)


def test_what_is_wrong_with_partners_is_said_before_training_and_their_bytes_count(
    rendered: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(rendered, root)
    for part in ("train", "valid", "test"):
        for path in (root / part).glob("*.png"):
            save(root / part / "thermal" / path.name, np.asarray(Image.open(path))[..., 0])
    data = Data(root=root, channels=THERMAL)
    found = read_dataset(data)
    assert refused(audit(found.splits, THERMAL)) == []
    assert (
        found.manifest
        == manifest(found.splits, found.classes, THERMAL)
        == read_dataset(data).manifest
    )
    path = sorted((root / "train" / "thermal").glob("*"))[3]
    save(path, np.asarray(Image.open(path))[:-1])
    (finding,) = refused(audit(found.splits, THERMAL))
    assert str(path) in finding.found and finding.place.image.endswith(path.name)
    save(path, np.zeros((96, 96), np.uint8))
    assert read_dataset(data).manifest != found.manifest
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: no partner .*for channel thermal"):
        read_dataset(data)


def test_channels_are_told_apart_and_folders_are_relative() -> None:
    for folder in ("", "/data/thermal", "../thermal"):
        with pytest.raises(
            ValidationError, match="expected the name of a folder next to the images"
        ):
            channels({"name": "thermal", "folder": folder})
    with pytest.raises(ValidationError, match="channels: two are called r"):
        channels("r")


def test_eight_bits_with_mean_and_deviation_are_divided_by_255_first(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    stored = np.dstack([PHOTO, LEVELS % 256, LEVELS // 4]).astype(np.uint8)
    np.save(path, stored)
    listed = channels(
        {"name": "thermal", "mean": 0.4, "std": 0.2}, {"name": "event", "mean": 0.1, "std": 0.5}
    )
    samples = Samples([Record(path, SIDE, SIDE, 1)], (), listed, View(SIDE, SIDE), seed=0)
    values = Normalise(listed)(samples[0, 0][0]["images"][None])[0].numpy()
    mean, std = np.array([0.485, 0.456, 0.406, 0.4, 0.1]), np.array([0.229, 0.224, 0.225, 0.2, 0.5])
    expected = ((stored / 255 - mean) / std).transpose(2, 0, 1)
    assert np.abs(values - expected).max() < 1e-5


def test_pictures_show_red_green_and_blue_wherever_they_lie() -> None:
    pixels = torch.from_numpy(
        np.dstack([LEVELS % 256, PHOTO[..., ::-1], LEVELS // 4]).astype(np.uint8)
    ).permute(2, 0, 1)
    listed = Data.model_validate(
        {"root": ".", "channels": ["thermal", "b", "g", "r", "event"]}
    ).channels
    assert np.array_equal(np.asarray(as_picture(pixels, listed)), PHOTO)
    first = np.asarray(as_picture(pixels, [Channel(name=name) for name in "vwxyz"]))
    assert np.array_equal(first, pixels[:3].permute(1, 2, 0).numpy())
