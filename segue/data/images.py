"""Reading images: 8 and 16 bit, any number of channels, never fewer levels than the file has.

JPEG is decoded by simplejpeg, TIFF by tifffile, .npy by numpy, the rest by PIL. The reasons: PIL and OpenCV give
pixels for a JPEG with a flipped byte without a word, simplejpeg refuses it (and torchvision's decoders are to be
removed; its PNG decoder ends the process on a damaged file). PIL silently turns 16-bit colour into 8 bits, so a PNG
of that kind needs the extra `tiff` (imagecodecs).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from segue.errors import DataError
from segue.structures.channels import Channel

ORIENTATION = 0x0112  # the EXIF tag
TIFF = (".tif", ".tiff")
SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".npy"}
# Headers are read first; a file that claims more than this is refused before anything is decoded.
MOST_PIXELS = 100_000_000


def read(path: Path, channels: int = 3) -> Tensor:
    """The image as uint8 or uint16 (C, H, W) with exactly `channels` channels.

    Grey becomes three equal channels and transparency is dropped where three are wanted; any other difference is
    an error. Orientation marks (EXIF) are followed, as annotation tools do.

    Raises:
        DataError: if the file is missing, damaged, too large or has other channels.
    """
    try:
        check_size(path)
        image = _decode(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(path, "no such file", "an image") from None
    except (OSError, RuntimeError, ValueError, SyntaxError, UnidentifiedImageError, tifffile.TiffFileError) as error:
        raise DataError(path, f"cannot be decoded ({_first_line(error)})", "an undamaged image") from None
    if channels == 3 and len(image) in (1, 2):
        image = image[:1].expand(3, -1, -1)
    elif channels == 3 and len(image) == 4:
        image = image[:3]
    if len(image) != channels:
        raise DataError(path, f"{len(image)} channels", f"{channels}")
    return image


def scaled(image: Tensor, channels: Sequence[Channel]) -> Tensor:
    """uint8 or uint16 values (C, H, W) divided by each channel's scale, float32; floating point is left alone."""
    if image.is_floating_point():
        return image.float()
    largest = torch.iinfo(image.dtype).max
    return image.float() / torch.tensor([channel.scale or largest for channel in channels])[:, None, None]


def check_size(path: Path) -> None:
    """Refuse, from the header alone, an image of more than MOST_PIXELS.

    Raises:
        DataError: if the image is too large. OSError and others if the header cannot be read.
    """
    if path.suffix.lower() in TIFF:
        with tifffile.TiffFile(path) as file:
            pixels = int(np.prod(file.series[0].shape[-2:]))
    elif path.suffix.lower() == ".npy":
        pixels = int(np.prod(np.load(path, mmap_mode="r", allow_pickle=False).shape[:2]))
    else:
        with _quiet_open(path) as image:
            pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise DataError(path, f"{pixels} pixels", f"at most {MOST_PIXELS}")


def _decode(path: Path) -> Tensor:
    """uint8 or uint16 (C, H, W) as stored."""
    suffix = path.suffix.lower()
    if suffix in TIFF:
        values = tifffile.imread(path)
    elif suffix == ".npy":
        values = np.load(path, allow_pickle=False)
    elif suffix == ".png" and _is_16_bit_colour(path):
        values = _decode_16_bit_png(path)
    else:
        values = _decode_picture(path)
    if values.dtype not in (np.uint8, np.uint16):
        raise DataError(path, f"values of type {values.dtype}", "uint8 or uint16")
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3:
        raise DataError(path, f"an array of shape {values.shape}", "height x width or height x width x channels")
    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)


def _decode_picture(path: Path) -> np.ndarray:
    """Formats with 8 bits or one channel of 16, turned as their EXIF mark says."""
    with _quiet_open(path) as image:
        if image.format == "JPEG":
            kind = "GRAY" if image.mode == "L" else "RGB"
            pixels = simplejpeg.decode_jpeg(path.read_bytes(), colorspace=kind)
            orientation = image.getexif().get(ORIENTATION, 1)
            return _turned(pixels, orientation)
        kept = image if image.mode in ("L", "RGB", "RGBA", "I;16") else image.convert("RGB")
        return np.array(ImageOps.exif_transpose(kept))


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
    """PIL's lazily read image; its own limits on pixels become ours, which is stricter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(path)
        except Image.DecompressionBombError as error:
            raise DataError(path, _first_line(error), f"at most {MOST_PIXELS}") from None


def _is_16_bit_colour(path: Path) -> bool:
    """Whether a PNG has 16 bits in more than one channel."""
    with path.open("rb") as file:
        header = file.read(26)  # signature 8, IHDR length and name 8, width and height 8, depth, colour type
    return header[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")


def _decode_16_bit_png(path: Path) -> np.ndarray:
    try:
        import imagecodecs
    except ImportError:
        found = "a PNG with 16 bits in several channels"
        raise DataError(path, found, "the extra that reads it", 'pip install "segue[tiff]"') from None
    with _quiet_open(path) as image:
        image.verify()  # checksums, because the decoder does not look at them
    return imagecodecs.png_decode(path.read_bytes())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:120] or type(error).__name__
