"""Images that say they are larger than memory are refused by their headers."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest

from segue.data.images import image_io
from segue.errors import DataError
from tests.faults.payloads import png


def bombs(folder: Path) -> list[Path]:
    """A file of each format that is decoded, whose header says 12,000 x 12,000 or more."""
    import tifffile
    from PIL import Image

    side = 12_000
    (folder / "a.png").write_bytes(png(side, side))
    (folder / "b.png").write_bytes(png(60_000, 60_000))
    Image.new("L", (8, 8)).save(folder / "a.jpg")
    jpeg = (folder / "a.jpg").read_bytes()
    at = jpeg.index(b"\xff\xc0")
    (folder / "a.jpg").write_bytes(jpeg[: at + 5] + side.to_bytes(2) * 2 + jpeg[at + 9 :])
    with tifffile.TiffWriter(folder / "a.tif") as file:
        file.write(
            iter([np.zeros((256, 256), np.uint8)] * 47**2),
            shape=(side, side),
            dtype=np.uint8,
            tile=(256, 256),
            compression="zlib",
        )
    header = (
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({side}, {side}, 3), }}".ljust(117)
        + "\n"
    )
    (folder / "a.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    )
    bmp = Image.new("L", (8, 8))
    bmp.save(folder / "a.bmp")
    content = (folder / "a.bmp").read_bytes()
    (folder / "a.bmp").write_bytes(content[:18] + side.to_bytes(4, "little") * 2 + content[26:])
    return sorted(folder.glob("[ab].*"))


def test_an_image_is_refused_by_its_header_before_a_pixel_is_decoded(tmp_path):
    """144 million pixels each: decoded they would take 144 MB to 3.4 GB."""
    files = bombs(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    for path in files:
        for read in (image_io.read_stack, image_io.read_for_display, image_io.read):
            with pytest.raises(DataError):
                read(path)
        try:
            assert np.prod(image_io.size(path), dtype=float) >= 144e6
        except DataError as error:
            assert "pixels" in error.message or "shape" in error.message or "limit" in error.message
    assert [path.suffix for path in files] == [".bmp", ".jpg", ".npy", ".png", ".tif", ".png"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
    assert time.process_time() - began < 10
