"""The size of a pixel is read where a microscope wrote it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from segue.data.images.pixel_size import pixel_size_um

PIXELS = np.zeros((8, 8), np.uint16)
SAID = {
    "ome": ({"ome": True, "metadata": {"PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325}}, 0.325),
    "ome in nm": (
        {
            "ome": True,
            "metadata": {
                "PhysicalSizeX": 65,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 65,
                "PhysicalSizeYUnit": "nm",
            },
        },
        0.065,
    ),
    "imagej": ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 0.5),
    "imagej micron": ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "micron"}}, 0.25),
    "imagej micro sign": (
        {"imagej": True, "resolution": (4, 4), "metadata": {"unit": "\\u00B5m"}},
        0.25,
    ),
    "centimetres": ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.5),
    "inches": ({"resolution": (25_400, 25_400), "resolutionunit": "INCH"}, 1.0),
}
UNSAID = {
    "nothing": {},
    "dots of a printer": {"resolution": (72, 72), "resolutionunit": "INCH"},
    "pixels": {"imagej": True, "resolution": (1, 1), "metadata": {"unit": "pixel"}},
    "not square": {"resolution": (20_000, 10_000), "resolutionunit": "CENTIMETER"},
    "zero": {"ome": True, "metadata": {"PhysicalSizeX": 0, "PhysicalSizeY": 0}},
    "not a number": {"ome": True, "metadata": {"PhysicalSizeX": "nan", "PhysicalSizeY": "nan"}},
}


@pytest.mark.parametrize("kind", SAID)
def test_the_size_of_a_pixel_is_read(tmp_path, kind):
    options, expected = SAID[kind]
    path = tmp_path / ("a.ome.tif" if "ome" in options else "a.tif")
    tifffile.imwrite(path, PIXELS, **options)
    assert pixel_size_um(path) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", UNSAID)
def test_what_is_no_length_is_none(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, **UNSAID[kind])
    assert pixel_size_um(tmp_path / "a.tif") is None


def test_other_and_damaged_files_are_none(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png", dpi=(25_400, 25_400))
    (tmp_path / "a.tif").write_bytes(b"II*\0 not a tiff")
    assert pixel_size_um(tmp_path / "a.png") is None and pixel_size_um(tmp_path / "a.tif") is None
    assert pixel_size_um(tmp_path / "absent.tif") is None
