from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from segue.data.images import image_io
from segue.data.images.value_scale import value_scaled
from segue.errors import DataError
from segue.structures.channels import RGB, Channel

RAMP = (np.arange(64 * 80, dtype=np.uint32).reshape(64, 80) * 13 % 65536).astype(np.uint16)
PHOTO = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "npy"])
def test_eight_bit_colour_is_read_as_stored(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, PHOTO)
    else:
        options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(PHOTO).save(path, **options)
    assert np.array_equal(image_io.read(path).permute(1, 2, 0).numpy(), PHOTO)


def test_jpeg_is_read_as_pil_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(PHOTO).save(path, quality=90)
    assert np.array_equal(
        image_io.read(path).permute(1, 2, 0).numpy(), np.asarray(Image.open(path))
    )


def test_grey_becomes_three_channels_and_transparency_goes(tmp_path: Path) -> None:
    Image.fromarray(PHOTO[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([PHOTO, PHOTO[..., 0]])).save(tmp_path / "rgba.png")
    assert image_io.read(tmp_path / "grey.png").shape == (3, 64, 80)
    assert np.array_equal(image_io.read(tmp_path / "rgba.png").permute(1, 2, 0).numpy(), PHOTO)
    assert image_io.read(tmp_path / "grey.png", channels=1).shape == (1, 64, 80)


@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_sixteen_bits_keep_their_levels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    {
        "png": lambda: Image.fromarray(RAMP).save(path),
        "tif": lambda: tifffile.imwrite(path, RAMP),
        "npy": lambda: np.save(path, RAMP),
    }[suffix]()
    read = image_io.read(path, channels=1)
    assert read.dtype == torch.uint16 and np.array_equal(read[0].numpy(), RAMP)


def test_five_channels_come_from_tiff_and_npy(tmp_path: Path) -> None:
    five = np.stack([PHOTO[..., 0]] * 5, -1)
    tifffile.imwrite(tmp_path / "a.tif", five)
    np.save(tmp_path / "a.npy", five)
    for name in ("a.tif", "a.npy"):
        assert image_io.read(tmp_path / name, channels=5).shape == (5, 64, 80)
    with pytest.raises(DataError, match="5 channels; expected 3"):
        image_io.read(tmp_path / "a.tif", channels=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_turned_as_pil_and_annotation_tools_do(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PHOTO).save(tmp_path / "a.jpg", exif=exif)
    theirs = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    assert np.array_equal(image_io.read(tmp_path / "a.jpg").permute(1, 2, 0).numpy(), theirs)


def test_a_single_flipped_byte_in_a_jpeg_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(PHOTO).save(path, quality=90)
    whole, noticed = path.read_bytes(), 0
    for at in range(len(whole) // 2, len(whole) // 2 + 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        try:
            image_io.read(path)
        except DataError:
            noticed += 1
    assert noticed >= 30  # PIL, OpenCV and torchvision notice next to none


def test_sixteen_bit_colour_in_a_png_is_read_whole_or_refused(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="the extra that reads such files")
    colour = np.dstack([RAMP, RAMP // 2, RAMP // 3])
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colour))
    assert np.array_equal(image_io.read(tmp_path / "a.png").permute(1, 2, 0).numpy(), colour)


def test_sixteen_bit_colour_in_a_png_names_the_extra_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (4).to_bytes(4, "big") * 2 + b"\x10\x02"
    path = tmp_path / "a.png"
    path.write_bytes(header + bytes(100))
    monkeypatch.setattr(image_io, "check_size", lambda path: None)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(DataError, match="16 bits in several channels.*segue\\[tiff\\]"):
        image_io.read(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("damage", ["half", "empty", "zeroed", "text"])
def test_a_damaged_file_is_an_error_with_its_name_and_never_a_crash(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    path = tmp_path / f"bad.{suffix}"
    Image.fromarray(PHOTO).save(path)
    whole = path.read_bytes()
    half = len(whole) // 2
    broken = {
        "half": whole[:half],
        "empty": b"",
        "zeroed": whole[:half] + bytes(len(whole) - half),
        "text": b"this is not an image",
    }
    path.write_bytes(broken[damage])
    if (suffix, damage) == ("tif", "zeroed"):
        pytest.skip("raw TIFF pixels carry no checksum")
    with pytest.raises(DataError, match=f"bad.{suffix}"):
        image_io.read(path)


def test_an_enormous_image_is_refused_from_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (40_000, 30_000)).save(path)
    monkeypatch.setattr(image_io, "_decode", lambda path: pytest.fail("decoded"))
    with pytest.raises(DataError, match="1200000000 pixels"):
        image_io.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone.png: no such file"):
        image_io.read(tmp_path / "gone.png")


def test_values_are_divided_by_each_channels_scale() -> None:
    channels = (RGB[0], Channel(name="thermal", scale=1000))
    values = torch.tensor([[[65535]], [[500]]], dtype=torch.uint16)
    assert value_scaled(values, channels).flatten().tolist() == [1.0, 0.5]
