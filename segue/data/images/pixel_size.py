"""How large a pixel is, where an image file says so."""

from __future__ import annotations

import math
import re
from pathlib import Path

import tifffile

# Micrometres in each unit, as ImageJ and OME write it.
UNITS = {
    "nm": 1e-3, "nanometer": 1e-3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0,
    "microns": 1.0, "micrometer": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4,
    "m": 1e6, "inch": 25_400.0,
}  # fmt: skip
RESOLUTION_UNITS = {2: 25_400.0, 3: 1e4}  # TIFF's inch and centimetre
# um; larger pixels, in a file without a microscope's metadata, are a setting for printers: 72 dpi
# are 353 um
LARGEST = 20.0


def pixel_size_um(path: Path) -> float | None:
    """The side of a pixel in micrometres from a TIFF file's OME or ImageJ metadata or its
    resolution tags.

    None where the file gives none, or no length ("pixel"), where pixels are not square (sides more
    than 1 % apart), or where the file is no readable TIFF: a size is a help, never required.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        with tifffile.TiffFile(path) as file:
            across, down = _ome(file.ome_metadata) if file.ome_metadata else _tags(file)
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        ArithmeticError,
        tifffile.TiffFileError,
    ):
        return None
    usable = all(math.isfinite(side) and side > 0 for side in (across, down))
    return across if usable and abs(across / down - 1) <= 0.01 else None


def _ome(text: str) -> tuple[float, float]:
    """Both sides from OME-XML, which is searched, not parsed: nothing in it can be expanded or
    fetched.
    """
    element = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    sides = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', element[0] if element else "")
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', element[0] if element else "")
        sides.append(float(size[1]) * UNITS.get(unit[1] if unit else "um", 0.0) if size else 0.0)
    return sides[0], sides[1]


def _tags(file: tifffile.TiffFile) -> tuple[float, float]:
    """Both sides from the resolution tags, in ImageJ's unit if it wrote the file."""
    tags = file.pages.first.tags
    across, down = (tags[name].value for name in ("XResolution", "YResolution"))
    if file.imagej_metadata:
        # ImageJ writes a micro sign as the six characters \u00B5
        unit = str(file.imagej_metadata.get("unit", "")).strip().replace("\\u00B5", "\u00b5")
        length, largest = UNITS.get(unit.lower(), 0.0), math.inf
    else:
        length, largest = RESOLUTION_UNITS.get(int(tags["ResolutionUnit"].value), 0.0), LARGEST
    sides = length * across[1] / across[0], length * down[1] / down[0]
    return sides if max(sides) <= largest else (0.0, 0.0)
