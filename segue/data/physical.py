"""How many micrometres a pixel is: from what ImageJ, OME and plain TIFF files say about themselves."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from segue.data.images import TIFF

IN_MICROMETRES = {
    "nm": 1e-3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "micrometre": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25400.0,
}  # fmt: skip
RESOLUTION_UNITS = {2: "inch", 3: "cm"}
LARGEST_SEEN = 50.0  # um; screens write 72 or 96 dots an inch (265 um and more) into pictures that have no scale


def um_per_pixel(path: Path) -> float | None:
    """Micrometres per pixel, horizontally, of a TIFF file; None if it does not say, or is no TIFF.

    A resolution coarser than LARGEST_SEEN in a plain TIFF is that of a screen or a printer, not of a microscope.
    """
    if path.suffix.lower() not in TIFF:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            return _ome(file) or _resolution(file)
    except (OSError, ValueError, KeyError, IndexError, tifffile.TiffFileError, ElementTree.ParseError):
        return None


def _ome(file: tifffile.TiffFile) -> float | None:
    if not file.is_ome or not file.ome_metadata:
        return None
    for element in ElementTree.fromstring(file.ome_metadata).iter():
        if element.tag.endswith("Pixels") and "PhysicalSizeX" in element.attrib:
            unit = element.attrib.get("PhysicalSizeXUnit", "um")
            return _positive(float(element.attrib["PhysicalSizeX"]) * IN_MICROMETRES.get(unit, 0))
    return None


def _resolution(file: tifffile.TiffFile) -> float | None:
    """From pixels per unit; ImageJ names the unit in its description, plain TIFF by a number."""
    page = file.pages.first
    if "XResolution" not in page.tags:
        return None
    above, below = page.tags["XResolution"].value
    if not above or not below:
        return None
    if file.is_imagej:
        unit = str((file.imagej_metadata or {}).get("unit", ""))
        escaped = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda found: chr(int(found[1], 16)), unit)
        return _positive(below / above * IN_MICROMETRES.get(escaped, 0))
    unit = RESOLUTION_UNITS.get(int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 0, "")
    size = _positive(below / above * IN_MICROMETRES.get(unit, 0))
    return size if size and size <= LARGEST_SEEN else None


def _positive(value: float) -> float | None:
    return value if 0 < value < float("inf") else None
