"""Stacks and files with other channels: which planes and channels a model takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segue.data.images import image_io, tiff
from segue.errors import DataError
from segue.structures.channels import Channel
from tests.data.images.test_value_scale import LEVELS, SIDE, channels, write_stack


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("z.ome.tif", "Z"),
        ("t.ome.tif", "T"),
        ("iz.tif", "Z"),
        ("it.tif", "T"),
        ("array.tif", "Q"),
        ("pages.tif", "I"),
    ],
)
def test_a_stack_is_its_brightest_values_or_one_plane(tmp_path: Path, name: str, axis: str) -> None:
    path = tmp_path / name
    write_stack(path, axis)
    brightest = image_io.read(path, channels(None))
    assert (
        brightest.shape == (1, SIDE, SIDE) and brightest[0, 3, 4] == 200 and brightest[0, 0, 0] == 5
    )
    assert (image_io.read(path, channels(None, plane=2)) == 3).all()
    three = image_io.read(path, [Channel(name=f"z{plane}", plane=plane) for plane in (1, 2, 4)])
    assert three[:, 0, 0].tolist() == [2, 3, 5]
    assert image_io.read(path, 3).shape == (3, SIDE, SIDE) and image_io.size(path) == (SIDE, SIDE)
    with pytest.raises(DataError, match="5 planes; expected plane 5, counted from 0"):
        image_io.read(path, channels(None, plane=5))


def test_named_channels_of_a_stack_stay_channels(tmp_path: Path) -> None:
    values = np.zeros((4, 2, SIDE, SIDE), np.uint16)
    values[2, 1, 5, 6] = 3000
    tifffile.imwrite(tmp_path / "h.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    image = image_io.read(tmp_path / "h.tif", channels(4095, ("gfp", "dapi")))
    assert image.shape == (2, SIDE, SIDE) and image[1, 5, 6] == 3000 and not image[0].numpy().any()
    with pytest.raises(DataError, match="2 channels in 4 planes; expected 3"):
        image_io.read(tmp_path / "h.tif", 3)


def test_a_grey_model_reads_grey_saved_as_colour_but_no_colour(tmp_path: Path) -> None:
    grey = (LEVELS % 256).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "grey.png")
    assert np.array_equal(image_io.read(tmp_path / "grey.png", channels(None))[0].numpy(), grey)
    Image.fromarray(np.dstack([grey, grey, 255 - grey])).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="3 channels; expected 1"):
        image_io.read(tmp_path / "colour.png", channels(None))


def test_pages_of_several_shapes_and_stacks_too_large_are_refused_with_their_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as file:
        file.write(np.zeros((64, 80), np.uint16))
        file.write(np.zeros((32, 40), np.uint16))
    with pytest.raises(DataError, match="several shapes or types .64 x 80, 32 x 40."):
        image_io.read(tmp_path / "mixed.tif")
    write_stack(tmp_path / "z.tif", "Z")
    monkeypatch.setattr(tiff, "MOST_VALUES", 20_000)
    with pytest.raises(DataError, match="5 x 64 x 64 values; expected at most 20000"):
        image_io.read(tmp_path / "z.tif")
