"""Faster and Mask R-CNN (arXiv 1506.01497, 1703.06870) on two streams or more: RGB, and whatever
else the images hold.

Streams are SegFormer encoders that rectify each other and are fused at each level, as in CMX
(`parts/fusion.py`); the pyramid and the heads on it are torchvision's (`parts/regions.py`). Which
streams there are follows from the data's channels: r, g and b are one, all others another, unless
`groups` parts them. A size is named after its backbone; `pico` is ours, for CPUs.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from segue.base.settings import Settings
from segue.errors import PlanError
from segue.losses import rcnn
from segue.models import ModelSpec
from segue.models._rgbx_parts import MITS, Fusion, Neck, Stream, Streams
from segue.models.parts.chain import Chain
from segue.models.parts.fusion import Kind
from segue.models.parts.regions import MaskHead, RegionHead, Regions, pasted
from segue.models.parts.state import State
from segue.models.weights import ModelWeights, hub
from segue.models.weights import segformer as files
from segue.structures.boxes import scale_xy
from segue.structures.channels import IMAGENET
from segue.structures.detections import Detections

PARTS = ("rgb", "x", "fusion", "neck", "head", "mask_head")
TASKS = ("boxes", "masks", "joint")
TERMS = rcnn.TERMS
STRIDE, LEAST = 32, 64  # pixels: of the coarsest stage's cells, and of the smallest frame


@dataclass(frozen=True)
class Size:
    """resolution in pixels; width: of the pyramid. hidden: of the box head. anchor: the smallest
    one's side in pixels. mask_layers: of the mask head. regions: of an image, that a training step
    looks at.
    """

    backbone: str
    resolution: int = 640
    width: int = 256
    hidden: int = 1024
    anchor: int = 32
    mask_layers: int = 4
    regions: int = 512


SIZES = {
    "pico": Size("pico", 128, 64, 128, 8, 2, 128),
    **{name: Size(name) for name in MITS if name != "pico"},
}


class Options(Settings):
    """What a plan may choose. None is decided from the size and the weights.

    backbone: a MiT's name, instead of the size's. resolution: side of the square input in pixels.
    fusion: how the streams become one; none takes one `stream` alone: rgb or x, or what there is.
    groups: channels other than r, g, b that are streams of their own. zero_init: the fusion begins
    as if there were no stream but the first.
    """

    backbone: str | None = None
    resolution: int | None = Field(None, gt=0)
    fusion: Kind = "cross"
    stream: Literal["rgb", "x"] | None = None
    groups: tuple[tuple[str, ...], ...] = ()
    zero_init: bool = False


class ResolvedOptions(Options):
    """Options with nothing left open, as a checkpoint's card keeps them.

    stream None is a choice, too: all of them.
    """

    backbone: str
    resolution: int = Field(gt=0)


def resolve_options(
    options: Options, size: Size, most_objects: int, device: str
) -> tuple[ResolvedOptions, list[str]]:
    """Options with nothing left open. An image may have any number of objects.

    Raises:
        PlanError: if there is no such backbone, or the resolution does not fit its strides.
    """
    name = options.backbone or size.backbone
    if name not in MITS:
        near = difflib.get_close_matches(name, MITS, n=1)
        raise PlanError(
            "model.backbone", f"{name}", (f"{near[0]}? or " if near else "") + ", ".join(MITS)
        )
    resolution = options.resolution or size.resolution
    if resolution % STRIDE or resolution < LEAST:
        nearest = max(LEAST, round(resolution / STRIDE) * STRIDE)
        raise PlanError(
            "model.resolution",
            f"{resolution}",
            f"a multiple of {STRIDE} from {LEAST} on, as {nearest}",
        )
    if options.stream is not None and options.fusion != "none":
        raise PlanError(
            "model.stream",
            f"{options.stream}, with fusion: {options.fusion}",
            "fusion: none, or no stream",
        )
    resolved = {"backbone": name, "resolution": resolution}
    return ResolvedOptions.model_validate(options.model_dump() | resolved), []


def streams_of(spec: ModelSpec) -> dict[str, list[list[int]]]:
    """The positions of each stream's channels, by part: at most one of "rgb", any number of "x".

    Raises:
        PlanError: if the options do not fit the channels.
    """
    options, names = ResolvedOptions(**spec.options), spec.channel_names
    rgb = [i for i, name in enumerate(names) if name in IMAGENET]
    others = [i for i, name in enumerate(names) if name not in IMAGENET]
    groups = [[i for i in others if names[i] in group] for group in options.groups] or [others]
    grouped = sorted(i for group in groups for i in group)
    if grouped != others:
        odd = next(i for i in others if grouped.count(i) != 1)
        raise PlanError(
            "model.groups",
            f"{names[odd]} in {grouped.count(odd)} of them",
            "each channel other than rgb in one",
        )
    by_part = {"rgb": [rgb] if rgb else [], "x": [group for group in groups if group]}
    by_part = {part: streams for part, streams in by_part.items() if streams}
    if options.fusion == "none":
        asked_stream = options.stream or next(iter(by_part))
        if asked_stream not in by_part:
            raise PlanError(
                "model.stream",
                f"{asked_stream}, but the channels are {', '.join(names)}",
                next(iter(by_part)),
            )
        by_part = {asked_stream: [sorted(i for stream in by_part[asked_stream] for i in stream)]}
    return by_part


def build(spec: ModelSpec, masks: bool) -> Chain:
    """A model with fresh weights, drawn from the global generator, with the streams its channels
    ask for.
    """
    size, options = SIZES[spec.size], ResolvedOptions(**spec.options)
    by_part = streams_of(spec)
    mit = MITS[options.backbone]
    alone = sum(len(streams) for streams in by_part.values()) == 1
    encoders = {
        name: Streams(
            name,
            [Stream(mit, [spec.channels[i] for i in where], where) for where in streams],
            alone,
        )
        for name, streams in by_part.items()
    }
    parts: dict[str, nn.Module] = dict(encoders)
    if not alone:
        parts["fusion"] = Fusion(list(encoders.values()), options.fusion, mit, options.zero_init)
    parts["neck"] = Neck(mit.widths, size.width)
    parts["head"] = RegionHead(
        size.width, size.hidden, len(spec.classes), size.anchor, size.regions
    )
    if masks:
        parts["mask_head"] = MaskHead(size.width, size.mask_layers, len(spec.classes), size.anchor)
    return Chain(spec, parts)


def criterion(chain: Chain, task: str, weights: dict[str, float]) -> rcnn.RegionCriterion:
    """torchvision's terms, in sums: of proposals, of regions, and of their masks."""
    return rcnn.RegionCriterion(rcnn.task_weights(task, weights), SIZES[chain.spec.size].regions)


def predictions(chain: Chain, state: State) -> Regions:
    """What the head says about all anchors, and the way to classify and outline regions."""
    head: Any = chain.part("head")
    mask_head: Any = chain.part("mask_head") if chain.order[-1] == "mask_head" else None
    return Regions.of(head, mask_head, state)


@torch.no_grad()
def postprocess(
    chain: Chain, state: State, sizes: list[tuple[int, int]], most: int
) -> list[Detections]:
    """The `most` best detections of each image that score above 0.05, after non-maximum suppression
    at an IoU of 0.5 (torchvision's defaults).
    """
    regions = predictions(chain, state)
    results: list[Detections] = []
    boxes, scores, labels = ([each[:most] for each in values] for values in regions.detections())
    outlines: list[Tensor] = []
    if regions.mask_head is not None:
        logits = regions.mask_logits(boxes)
        # (T, 28, 28)
        chosen = logits[torch.arange(len(logits), device=logits.device), torch.cat(labels)]
        outlines = list(chosen.cpu().split([len(each) for each in boxes]))
    for i, (height, width) in enumerate(sizes):
        xyxy = scale_xy(boxes[i], width / regions.size[1], height / regions.size[0]).cpu()
        masks = None
        if outlines:
            masks = tuple(
                pasted(mask, box, height, width)
                for mask, box in zip(outlines[i], xyxy, strict=True)
            )
        names = (chain.spec.classes, (height, width))
        results.append(Detections(xyxy, scores[i].cpu(), labels[i].cpu(), *names, regions=masks))
    return results


def class_heads(chain: Chain) -> list[str]:
    """Every tensor with one row per class, or with one row of four box sides."""
    box = [
        f"head.roi.box_predictor.{name}"
        for name in ("class_head.weight", "class_head.bias", "box_weight", "box_bias")
    ]
    mask = [f"mask_head.predictor.mask_fcn_logits.{kind}" for kind in ("weight", "bias")]
    return box + (mask if chain.order[-1] == "mask_head" else [])


def input_convs(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """The first convolution of each stream."""
    return {
        f"{part}.streams.{i}.{files.FIRST_OF_STREAM}": tuple(
            spec.channel_names[position] for position in where
        )
        for part, streams in streams_of(spec).items()
        for i, where in enumerate(streams)
    }


def import_weights(source: str) -> ModelWeights:
    """From a folder or hub id of a SegFormer, such as nvidia/mit-b0: weights for the streams."""
    path = Path(source)
    return files.read(path if path.exists() else hub.download(source))


def options_from_weights(tensors: dict[str, Tensor], size: str, device: str) -> dict[str, Any]:
    """What weights without a card say about the model: which MiT they are of."""
    layout = files.layout_of(tensors)
    names = [name for name, mit in MITS.items() if (mit.widths, mit.depths) == layout]
    return {"backbone": names[0]} if names else {}


def adapt_weights(
    weights: dict[str, Tensor], spec: ModelSpec, fresh: Sequence[str] = ()
) -> list[str]:
    """Let streams that the weights do not have begin as copies of their RGB stream, in place.

    A copy's first convolution has the sum of RGB's kernels, shared out among its channels, so that
    its values are of RGB's size. An RGB stream that the model does not have is left behind.
    """
    original = {
        name.removeprefix(files.STREAM): t
        for name, t in weights.items()
        if name.startswith(files.STREAM)
    }
    if not original:
        return []
    by_part = streams_of(spec)
    notes: list[str] = []
    for part, streams in by_part.items():
        for i, where in enumerate(streams):
            prefix = f"{part}.streams.{i}."
            if part in fresh or any(name.startswith(prefix) for name in weights):
                continue
            copy = dict(original)
            first = copy[files.FIRST_OF_STREAM].sum(1, keepdim=True) / len(where)
            copy[files.FIRST_OF_STREAM] = first.repeat(1, len(where), 1, 1)
            weights |= {prefix + name: tensor.clone() for name, tensor in copy.items()}
            names = ", ".join(spec.channel_names[position] for position in where)
            notes.append(
                f"stream of {names}: begins as a copy of rgb's, its first layer as their mean"
            )
    if "rgb" not in by_part:
        for name in original:
            del weights[files.STREAM + name]
    return notes
