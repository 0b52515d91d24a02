"""TIFF files as stacks: named axes tell planes from channels, and headers alone refuse the huge."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from segue.data.images import tiff
from segue.data.images.image_error import ImageError


@pytest.mark.parametrize(
    ("axes", "stored", "stack"),
    [
        ("YX", (20, 30), (1, 1, 20, 30)),
        ("ZYX", (3, 20, 30), (3, 1, 20, 30)),
        ("CYX", (2, 20, 30), (1, 2, 20, 30)),
        ("ZCYX", (3, 2, 20, 30), (3, 2, 20, 30)),
        ("TZCYX", (4, 3, 2, 20, 30), (12, 2, 20, 30)),
    ],
)
def test_axes_that_a_file_names_are_planes_and_channels(tmp_path, axes, stored, stack):
    values = np.arange(np.prod(stored), dtype=np.uint16).reshape(stored)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": axes})
    assert tiff.shape(tmp_path / "a.tif") == stack and tiff.item_bits(tmp_path / "a.tif") == 16
    assert np.array_equal(tiff.read(tmp_path / "a.tif"), values.reshape(stack))


def test_pages_too_narrow_for_images_are_rows_of_channels(tmp_path):
    values = np.arange(40 * 30 * 5, dtype=np.uint8).reshape(40, 30, 5)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    assert tiff.shape(tmp_path / "a.tif") == (1, 5, 40, 30)
    assert np.array_equal(tiff.read(tmp_path / "a.tif")[0], values.transpose(2, 0, 1))


def test_pages_of_several_shapes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for side in (20, 30):
            file.write(np.zeros((side, side), np.uint8))
    with pytest.raises(ImageError, match="images of several shapes or types") as error:
        tiff.read(tmp_path / "a.tif")
    assert error.value.kind == "damaged image"


def test_a_stack_that_says_it_is_too_large_is_refused_by_its_header(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 40), np.uint8))
    monkeypatch.setattr(tiff, "MOST_VALUES", 1599)
    with pytest.raises(ImageError, match="at most 1599") as error:
        tiff.shape(tmp_path / "a.tif")
    assert error.value.kind == "image too large"
    monkeypatch.setattr(tiff, "MOST_VALUES", 1600)
    assert tiff.shape(tmp_path / "a.tif") == (1, 1, 40, 40)


def test_transparency_is_what_the_file_declares(tmp_path):
    values = np.zeros((20, 20, 4), np.uint8)
    for name, extra in (("a", ["unassalpha"]), ("b", ["unspecified"])):
        tifffile.imwrite(tmp_path / name, values, photometric="rgb", extrasamples=extra)
    assert tiff.has_transparency(tmp_path / "a") and not tiff.has_transparency(tmp_path / "b")
