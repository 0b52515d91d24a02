"""Reading images: 8 and 16 bit, any number of channels, never fewer levels than the file has.

JPEG is decoded by simplejpeg, TIFF by tifffile (`tiff.py`), .npy by numpy, the rest by PIL. Why:
PIL and OpenCV silently return pixels for a JPEG with a flipped byte, simplejpeg refuses it;
torchvision's decoders are to be removed, and its PNG decoder ends the process on a damaged file.
PIL silently reduces 16-bit colour to 8 bits, so a PNG of that kind needs the extra `tiff`
(imagecodecs).
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from segue.data.images import channel_selection, tiff
from segue.data.images.image_error import ImageError
from segue.data.images.value_scale import as_levels
from segue.errors import DataError
from segue.structures.channels import Channel

ORIENTATION = 0x0112  # the EXIF tag
TIFF = (".tif", ".tiff")
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy"}
# What PIL may take a file for, whatever its name: some other formats start programs (EPS).
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF")
# Headers are read first; a file that claims more than this is refused before anything is decoded.
MOST_PIXELS = 100_000_000
# What decoders raise for bytes that are not what they expect.
UNREADABLE = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError, struct.error, UnidentifiedImageError, tifffile.TiffFileError,
)  # fmt: skip


def read(path: Path, channels: int | Sequence[Channel] = 3) -> Tensor:
    """Read an image (C, H, W) with exactly these channels: uint8 or uint16 as stored, or float32 in
    0..1.

    channels: a plan's, or how many; `channel_selection` says what they take of a file with others.
    EXIF orientation is followed, as annotation tools do. Whole numbers of other types become
    uint16. Floating point beyond 0..1 is mapped to 0..1 by its smallest and largest value if all
    channels are scaled by percentiles, which that does not change; otherwise it is an error.

    Raises:
        DataError: if the file is missing, damaged, too large, or has other channels or planes.
    """
    chosen = [Channel(name="any")] * channels if isinstance(channels, int) else channels
    image = channel_selection.project_planes(
        path, channel_selection.select_channels(path, read_stack(path), chosen), chosen
    )
    if image.dtype not in (np.uint8, np.uint16):
        image = as_levels(path, image, all(channel.scale == "percentile" for channel in chosen))
    return torch.from_numpy(np.ascontiguousarray(image))


def read_for_display(path: Path) -> Tensor:
    """Read an image (C, H, W) for people: all channels, the maximum projection of the planes.

    uint8 and uint16 as stored, other types as float32 of any range.

    Raises:
        DataError: if the file is missing, damaged or too large.
    """
    image = read_stack(path).max(0)
    if image.dtype not in (np.uint8, np.uint16):
        image = image.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(image))


def read_stack(path: Path) -> np.ndarray:
    """Read all planes and channels (P, C, H, W), of the type and with the values that are stored.

    Raises:
        DataError: if the file is missing, damaged or too large.
    """
    try:
        check_size(path)
        return _decode(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise ImageError("missing image", path, "no such file", "an image") from None
    except UNREADABLE as error:
        raise ImageError(
            "damaged image", path, f"cannot be decoded ({_first_line(error)})", "an undamaged image"
        ) from None


def size(path: Path) -> tuple[int, int]:
    """Height and width in pixels as `read` returns them, from the header alone.

    Raises:
        DataError: if there is no such file, or its header cannot be read.
    """
    with _header_of(path):
        if path.suffix.lower() in TIFF:
            return tiff.shape(path)[2:]
        if path.suffix.lower() == ".npy":
            height, width, *_ = _header_of_array(path)[0]
            return height, width
        with _quiet_open(path) as image:
            turned = orientation(image) in (5, 6, 7, 8)  # by 90 degrees: the sides swap
            return (image.width, image.height) if turned else (image.height, image.width)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8, as the header says.

    PIL decodes all pixels of a PNG to find a mark behind them; such a mark is not looked for.
    """
    unmarked = image.format == "PNG" and "exif" not in image.info
    return 1 if unmarked else image.getexif().get(ORIENTATION, 1)


def bits(path: Path) -> int:
    """How many bits a stored value has, from the header alone.

    Raises:
        DataError: if there is no such file, or its header cannot be read.
    """
    with _header_of(path):
        if path.suffix.lower() in TIFF:
            return tiff.item_bits(path)
        if path.suffix.lower() == ".npy":
            return _header_of_array(path)[1].itemsize * 8
        with _quiet_open(path) as image:
            # PIL calls 16-bit grey I or I;16, but 16-bit colour RGB, as it does 8-bit colour
            sixteen = image.mode.startswith("I")
            return 16 if sixteen or (path.suffix == ".png" and _is_16_bit_colour(path)) else 8


@contextmanager
def _header_of(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a header is read into an error that names the file."""
    try:
        yield
    except DataError:
        raise
    except UNREADABLE as error:
        raise ImageError(
            "damaged image",
            path,
            f"no readable image header ({_first_line(error)})",
            "an undamaged image",
        ) from None


def check_size(path: Path) -> None:
    """Refuse, from the header alone, an image of more than MOST_PIXELS pixels, or of none.

    Raises:
        DataError: if the image is too large or empty. UNREADABLE: if the header cannot be read.
    """
    if path.suffix.lower() in TIFF:
        pixels = math.prod(tiff.shape(path)[2:])
    elif path.suffix.lower() == ".npy":
        pixels = math.prod(_header_of_array(path)[0][:2])
    else:
        with _quiet_open(path) as image:
            pixels = image.width * image.height
    if not 0 < pixels <= MOST_PIXELS:
        raise ImageError("image too large", path, f"{pixels} pixels", f"at most {MOST_PIXELS}")


def _header_of_array(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an .npy file, from its header.

    Raises:
        DataError: if it is no array of numbers with height and width, or too large.
        ValueError: if it is no .npy file.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.kind not in "iufb" or len(shape) not in (2, 3) or math.prod(shape) > tiff.MOST_VALUES:
        raise ImageError(
            "damaged image",
            path,
            f"an array of {dtype} and shape {shape}",
            "numbers, height x width x channels",
        )
    return shape, dtype


def _decode(path: Path) -> np.ndarray:
    """(P, C, H, W) as stored; only TIFF files have more than one plane."""
    suffix = path.suffix.lower()
    if suffix in TIFF:
        return tiff.read(path)
    if suffix == ".npy":
        values = np.load(path, allow_pickle=False)
    elif suffix == ".png" and _is_16_bit_colour(path):
        values = _decode_16_bit_png(path)
    else:
        values = _decode_picture(path)
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3:
        raise ImageError(
            "damaged image",
            path,
            f"an array of shape {values.shape}",
            "height x width or height x width x channels",
        )
    return values.transpose(2, 0, 1)[None]


def _decode_picture(path: Path) -> np.ndarray:
    """Formats with 8 bits or one channel of 16, turned as their EXIF mark says."""
    with _quiet_open(path) as image:
        if image.format == "JPEG":
            kind = "GRAY" if image.mode == "L" else "RGB"
            pixels = simplejpeg.decode_jpeg(path.read_bytes(), colorspace=kind)
            return _turned(pixels, image.getexif().get(ORIENTATION, 1))
        # palettes, CMYK and single bits become RGB; the modes listed keep what is stored
        if image.mode not in ("L", "RGB", "RGBA", "I;16"):
            image = image.convert("RGB")
        return np.array(ImageOps.exif_transpose(image))


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, C) as seen when EXIF orientation 1..8 is followed."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _quiet_open(path: Path) -> Image.Image:
    """PIL's lazily read image; PIL's own limit on pixels becomes ours, which is stricter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(path, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ImageError(
                "image too large", path, _first_line(error), f"at most {MOST_PIXELS}"
            ) from None


def _is_16_bit_colour(path: Path) -> bool:
    """Whether a PNG has 16 bits in more than one channel (PNG specification, 11.2.1 IHDR)."""
    with path.open("rb") as file:
        header = file.read(26)  # 8 signature, 8 IHDR length and name, 8 sides, depth, colour type
    return header[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")


def _decode_16_bit_png(path: Path) -> np.ndarray:
    try:
        import imagecodecs
    except ImportError:
        content = "a PNG with 16 bits in several channels"
        raise ImageError(
            "damaged image", path, content, "the extra that reads it", 'pip install "segue[tiff]"'
        ) from None
    with _quiet_open(path) as image:
        image.verify()  # checksums, which imagecodecs does not check
    return imagecodecs.png_decode(path.read_bytes())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120] or type(error).__name__
