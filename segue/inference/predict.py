"""From images to Detections. `loading` makes the predictor, `tiles` cuts large images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segue import models
from segue.data.images import image_io as image_files
from segue.data.images import multi_file, paired_files
from segue.data.images.value_scale import value_scaled
from segue.data.pipeline.transforms import View
from segue.errors import DataError
from segue.models.parts.chain import Chain
from segue.structures.channels import Channel
from segue.structures.detections import Detections
from segue.training import checkpoint

Picture = str | Path | np.ndarray | Image.Image | Tensor
DEFAULT_MOST = 300  # detections of an image


@dataclass(slots=True)
class Predictor:
    """A model that is ready to predict, made by `segue.load`.

    chain: in eval mode, on the device that it predicts on. card: what the checkpoint says of it.
    highest: the best score so far, 0..1, of detections below the threshold, too.
    """

    chain: Chain
    card: checkpoint.Card
    highest: float = 0.0

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.chain.spec.classes

    @overload
    def predict(
        self, images: Sequence[Picture], threshold: float = ..., most: int = ...
    ) -> list[Detections]: ...
    @overload
    def predict(self, images: Picture, threshold: float = ..., most: int = ...) -> Detections: ...

    def predict(
        self, images: Picture | Sequence[Picture], threshold: float = 0.5, most: int = DEFAULT_MOST
    ) -> Detections | list[Detections]:
        """Objects whose score is at least `threshold` (0..1), at most `most` for an image.

        images: one image or a list of them; each a file's path (further files with its other
        channels are read as in training), a PIL image, an array (H, W, C) or a tensor (C, H, W) of
        uint8, or of floating point in 0..1. A list gives a list.

        Raises:
            DataError: if an image cannot be read or has other channels than the model.
        """
        if isinstance(images, Sequence) and not isinstance(images, str):
            return [self.predict_ready(self.pixels(image), threshold, most) for image in images]
        return self.predict_ready(self.pixels(images), threshold, most)

    def predict_ready(
        self, pixels: Tensor, threshold: float, most: int = DEFAULT_MOST
    ) -> Detections:
        """The same for what `pixels` gave, or a cut-out of it, (C, H, W); boxes and masks in its
        own pixels.
        """
        family = models.get(self.chain.spec.family)
        size = (pixels.shape[-2], pixels.shape[-1])
        with torch.inference_mode():
            state = self.chain.eval()(self._framed(pixels))
        detections = family.postprocess(self.chain, state, [size], most)[0]
        self.highest = max([self.highest, *detections.scores.tolist()])
        return detections.above(threshold)

    def features(self, pixels: Tensor) -> Tensor:
        """Features (D,) float32 on the CPU of an image (C, H, W) that `pixels` gave: the averages
        of the feature maps of the chain's first part, its backbone.
        """
        inputs = self._framed(pixels)
        with torch.inference_mode():
            state = self.chain.eval().run(inputs, 0, 1, learn=False)
        # those of four axes are feature maps (1, C, h, w); the state also has sizes and the like
        added = [value for name, value in state.items() if name not in inputs]
        maps = [value for value in added if isinstance(value, Tensor) and value.ndim == 4]
        return torch.cat([m[0].float().mean((1, 2)) for m in maps]).cpu()

    def _framed(self, pixels: Tensor) -> dict[str, Tensor]:
        """The chain's inputs, with B = 1, for one image (C, H, W): resized to the model's frame."""
        spec = self.chain.spec
        view = View(*models.get(spec.family).input_size(spec))
        framed, _, _ = view(pixels, torch.zeros(0, 4), torch.zeros(0, 2), seed=0)
        return {"images": framed[None].to(next(self.chain.parameters()).device)}

    def pixels(self, image: Picture) -> Tensor:
        """An image, in any form that `predict` takes, as (C, H, W) uint8 or float32 in 0..1 with
        the model's channels. A grey image is repeated for a model of three channels.

        Raises:
            DataError: if it cannot be read, has other channels, or values outside 0..1.
        """
        channels = self.chain.spec.channels
        if isinstance(image, str | Path):
            pixels = multi_file.read(Path(image), channels)
        elif isinstance(image, Tensor):
            pixels = image.cpu()
        else:
            converted = (
                image.convert("RGB")
                if isinstance(image, Image.Image) and len(channels) == 3
                else image
            )
            array = np.array(converted)
            array = array[..., None] if array.ndim == 2 else array
            pixels = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)
        if len(pixels) == 1 and len(channels) == 3:
            pixels = pixels.expand(3, -1, -1)
        if pixels.ndim != 3 or len(pixels) != len(channels):
            names = ", ".join(channel.name for channel in channels)
            expected = f"{len(channels)} channels: {names}"
            raise DataError("image", f"shape {tuple(pixels.shape)}", expected)
        if pixels.is_floating_point() and (pixels.max() > 1 or pixels.min() < 0):
            raise DataError(
                "image", f"floating-point values up to {float(pixels.max()):.3g}", "0..1, or uint8"
            )
        # Bytes without a scale of their own stay bytes: the view divides them by 255 itself.
        if pixels.dtype == torch.uint8 and all(channel.scale is None for channel in channels):
            return pixels
        return value_scaled(pixels, channels)


def pictures_in(path: Path, channels: Sequence[Channel] = ()) -> list[Path]:
    """Image files of a folder and the folders below it, sorted; or the one file itself.

    channels: of a model; images in folders that its channels name belong to other images, and are
    left out.

    Raises:
        DataError: if there are none.
    """
    if path.is_file():
        return [path]
    images = sorted(
        p for p in path.rglob("*") if p.suffix.lower() in image_files.SUFFIXES and p.name[0] != "."
    )
    images = paired_files.without_paired_files(images, path, channels)
    if not images:
        raise DataError(path, "no images" if path.is_dir() else "no such file or folder", "images")
    return images
