"""From images to Detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segue import models
from segue.data import images as image_files
from segue.data import partners
from segue.data.transforms import View
from segue.errors import CheckpointError, DataError, laid_out
from segue.models.parts.chain import Chain
from segue.models.weights import Weights, foreign
from segue.structures.channels import RGB, Channel
from segue.structures.detections import Detections
from segue.training import checkpoint, single_file
from segue.training.devices import pick_device
from segue.training.handover import adopt

Picture = str | Path | np.ndarray | Image.Image | Tensor
DEFAULT_MOST = 300
MOST_FRESH = 4  # times what a file holds: what a model may have beside it, such as a mask head, is less


@dataclass(slots=True)
class Predictor:
    """A model ready to answer. Made by `segue.load`. highest: the best score so far, also below the threshold."""

    chain: Chain
    card: checkpoint.Card
    highest: float = 0.0

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.chain.spec.classes

    @overload
    def predict(self, images: Sequence[Picture], threshold: float = ..., most: int = ...) -> list[Detections]: ...
    @overload
    def predict(self, images: Picture, threshold: float = ..., most: int = ...) -> Detections: ...

    def predict(
        self, images: Picture | Sequence[Picture], threshold: float = 0.5, most: int = DEFAULT_MOST
    ) -> Detections | list[Detections]:
        """Objects whose score is at least `threshold`, at most `most` for an image.

        images: one image or a list of them; each a file's path (whose partners are found as in training), a PIL image,
        an array (H, W, C) or a tensor (C, H, W) of uint8, or of floating point in 0..1. A list gives a list.

        Raises:
            DataError: if an image cannot be read or has other channels than the model.
        """
        if isinstance(images, Sequence) and not isinstance(images, str):
            return [self.predict_ready(self.pixels(image), threshold, most) for image in images]
        return self.predict_ready(self.pixels(images), threshold, most)

    def predict_ready(self, pixels: Tensor, threshold: float, most: int = DEFAULT_MOST) -> Detections:
        """The same for what `pixels` gave, or a part of it (C, H, W)."""
        family = models.get(self.chain.spec.family)
        size = (pixels.shape[-2], pixels.shape[-1])
        with torch.inference_mode():
            state = self.chain.eval()(self._framed(pixels))
        found = family.postprocess(self.chain, state, [size], most)[0]
        self.highest = max([self.highest, *found.scores.tolist()])
        return found.above(threshold)

    def features(self, pixels: Tensor) -> Tensor:
        """What an image that `pixels` gave looks like to the first part of the model: (D,), its maps' averages."""
        inputs = self._framed(pixels)
        with torch.inference_mode():
            state = self.chain.eval().run(inputs, 0, 1, learn=False)
        maps = [value for name, value in state.items() if name not in inputs and value.ndim == 4]  # (1, C, h, w)
        return torch.cat([one[0].float().mean((1, 2)) for one in maps]).cpu()

    def _framed(self, pixels: Tensor) -> dict[str, Tensor]:
        """What the chain reads, of one image, as the model sees it."""
        spec = self.chain.spec
        view = View(*models.get(spec.family).input_size(spec))
        framed, _, _ = view(pixels, torch.zeros(0, 4), torch.zeros(0, 2), seed=0)
        return {"images": framed[None].to(next(self.chain.parameters()).device)}

    def pixels(self, image: Picture) -> Tensor:
        """(C, H, W) uint8 or float32 in 0..1, with the model's channels."""
        channels = self.chain.spec.channels
        if isinstance(image, str | Path):
            pixels = partners.read(Path(image), channels)
        elif isinstance(image, Tensor):
            pixels = image.cpu()
        else:
            converted = image.convert("RGB") if isinstance(image, Image.Image) and len(channels) == 3 else image
            array = np.array(converted)
            array = array[..., None] if array.ndim == 2 else array
            pixels = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)
        if len(pixels) == 1 and len(channels) == 3:
            pixels = pixels.expand(3, -1, -1)
        if pixels.ndim != 3 or len(pixels) != len(channels):
            wanted = f"{len(channels)} channels: " + ", ".join(channel.name for channel in channels)
            raise DataError("image", f"shape {tuple(pixels.shape)}", wanted)
        if pixels.is_floating_point() and (pixels.max() > 1 or pixels.min() < 0):
            raise DataError("image", f"floating-point values up to {float(pixels.max()):.3g}", "0..1, or uint8")
        if pixels.dtype == torch.uint8 and all(channel.scale is None for channel in channels):
            return pixels
        return image_files.scaled(pixels, channels)


def load(source: str | Path, device: str = "auto") -> Predictor:
    """A model from a checkpoint folder, a stage's or a run's folder (its last finished stage), or a file of scripts/.

    device: auto takes a GPU if there is one. Files must say what model they hold, as .pth and .ckpt of the scripts do.
    Others need what a card would say: see `segue.rfdetr` and `from_weights`.

    Raises:
        CheckpointError: if there is no checkpoint, it is damaged, or it is a file that does not say enough.
    """
    path = Path(source)
    if path.is_file() and not single_file.has_card(path):
        return from_card(_weights_of_file(path), device=device)
    card, tensors = single_file.read(path) if path.is_file() else checkpoint.read(find_checkpoint(path))
    with laid_out(path, "a model's card with its weights"):
        chain = model_of(card.spec, tensors, path)
    return Predictor(chain.to(pick_device(device)).eval(), card)


def model_of(spec: models.ModelSpec, tensors: Mapping[str, Tensor], where: Path) -> Chain:
    """The model of a card with its weights, built only after one without memory was found to have just these tensors.

    Raises:
        CheckpointError: if they are of another one. A card may claim a model that fits into no machine.
    """
    family = models.get(spec.family)
    masks = any(name.startswith(family.PARTS[-1] + ".") for name in tensors)
    with torch.device("meta"):
        wanted = family.build(spec, masks=masks).state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        sides = [tuple(some[name].shape) if name in some else "none" for some in (wanted, tensors)]
        if sides[0] != sides[1]:
            raise CheckpointError(where, f"{name} of {sides[1]}", f"{sides[0]}, as its card says")
    chain = family.build(spec, masks=masks)
    chain.load_state_dict(tensors)
    return chain


def _weights_of_file(path: Path) -> Weights:
    """The weights in a file that has a card; only families that come with segue are looked for.

    Raises:
        CheckpointError: if it has none, with the folder that may be meant.
    """
    content = foreign.read_pickle(path)
    settings = content.get("hyper_parameters")
    known = content.get("segue") or (settings.get("model") if isinstance(settings, dict) else None)
    name = known.get("family") if isinstance(known, dict) else None
    weights = models.get(name).import_weights(str(path)) if name in models.names() else None
    if weights is None or weights.card is None or weights.card["spec"]["family"] != name:
        try:
            beside = f"the folder {find_checkpoint(path.parent)}"
        except CheckpointError:
            beside = "a folder with card.json, such as runs/NAME-1/2-masks/selected"
        raise CheckpointError(path, "a file of weights alone, without the model they are of", beside)
    return weights


def from_card(weights: Weights, masks: bool = True, device: str = "auto") -> Predictor:
    """A predictor from weights whose card says all of their model. masks: whether to keep a mask head they have.

    Raises:
        CheckpointError: if the card is of no model that can be built.
        HandoverError: if the weights are of another model than the card.
    """
    try:
        spec = models.ModelSpec.model_validate((weights.card or {})["spec"])
        family = models.get(spec.family)
        models.size_of(family, spec.size)
        family.Options(**spec.options)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(weights.source, f"describes no model that can be built ({_first(error)})") from None
    return _adopted(spec, weights, masks, device)


def from_weights(
    weights: Weights,
    name: str,
    size: str,
    masks: bool,
    device: str,
    channels: tuple[Channel, ...] = RGB,
    **options: Any,
) -> Predictor:
    """A predictor from a foreign file's weights of family `name`; what the options leave open is as in the weights.

    masks: whether to keep a mask head that the weights have. channels: how values become those it was trained on.

    Raises:
        HandoverError: if the weights are of another model.
    """
    family, where = models.get(name), pick_device(device)
    chosen = {**family.options_in(weights.tensors, size, where), **options}
    settled, _ = family.settle(family.Options(**chosen), models.size_of(family, size), 0, where)
    classes = tuple(name for name in weights.classes if name is not None)
    channels = family.normalised(settled, channels)
    spec = models.ModelSpec(family=name, size=size, classes=classes, channels=channels, options=settled.model_dump())
    return _adopted(spec, weights, masks, where)


def _adopted(spec: models.ModelSpec, weights: Weights, masks: bool, device: str) -> Predictor:
    family = models.get(spec.family)
    head = family.PARTS[-1]
    keep = masks and any(name.startswith(head + ".") for name in weights.tensors)
    with laid_out(weights.source, "weights of a model that its card describes"):
        _refuse_larger(spec, keep, weights)
        chain = family.build(spec, masks=keep)
        adopt(chain, weights, drop=() if keep else (head,))
    card = checkpoint.Card(spec=spec, came_from=weights.came_from, data=(weights.card or {}).get("data", {}))
    return Predictor(chain.to(pick_device(device)).eval(), card)


def _refuse_larger(spec: models.ModelSpec, masks: bool, weights: Weights) -> None:
    """Refuse a model of several times what its file holds before it takes memory; a hand-over compares the rest."""
    with torch.device("meta"):
        claimed = sum(value.numel() for value in models.get(spec.family).build(spec, masks=masks).state_dict().values())
    given = sum(value.numel() for value in weights.tensors.values())
    if claimed > MOST_FRESH * given:
        raise CheckpointError(weights.source, f"{given:,} values for a model of {claimed:,}", "weights of that model")


def _first(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160]


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder meant by a path: itself, a stage's `selected`, or that of a run's last stage.

    Raises:
        CheckpointError: if there is none.
    """
    if (path / checkpoint.CARD).is_file():
        return path
    if (path / "selected" / checkpoint.CARD).is_file():
        return path / "selected"
    stages = sorted(path.glob("*/selected/" + checkpoint.CARD), key=_stage_number)
    finished = [card.parent for card in stages if _stage_number(card) and checkpoint.read_card(card.parent).complete]
    if finished:
        return finished[-1]
    found = "no such folder" if not path.exists() else f"no {'finished stage' if stages else 'checkpoint'} in it"
    such = stages[-1].parent if stages else "runs/NAME-1/2-masks/selected"
    raise CheckpointError(path, found, f"a folder with card.json, such as {such}")


def _stage_number(card: Path) -> int:
    """2 for 2-masks/selected/card.json; 0 for what is no stage of this run, such as 2-masks.old-1."""
    number, _, name = card.parent.parent.name.partition("-")
    return int(number) if number.isdigit() and ".old-" not in name else 0


def pictures_in(path: Path, channels: Sequence[Channel] = ()) -> list[Path]:
    """Image files of a folder and the folders below it, sorted; or the one file itself.

    channels: of a model; images in the folders of some of them are partners of others, and left out.

    Raises:
        DataError: if there are none.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in image_files.SUFFIXES and p.name[0] != ".")
    found = partners.without_partners(found, path, channels)
    if not found:
        raise DataError(path, "no images" if path.is_dir() else "no such file or folder", "images")
    return found
