"""Pictures of tubes and spots in three colours of light, and models of fixed weights that find them
by colour.

Whatever is connected in one colour is one object, whatever lies around it: what differs between two
grids of tiles is therefore the tiling's doing. Colours add up, so that a crossing belongs to both
tubes; all have one class.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor, nn
from typing_extensions import override

from segue.base.settings import Settings
from segue.inference.predict import Predictor
from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.models.parts.state import State
from segue.models.weights.card import Card
from segue.structures.detections import Detections
from segue.structures.regions import Region
from tests.optional import present

TOUCHING = np.ones((3, 3))
CLASSES = ("tube",)
PARTS = ("light",)


def picture(width: int = 2048, height: int = 1570, seed: int = 0) -> tuple[Tensor, int]:
    """uint8 (3, height, width), and how many objects it shows."""
    planes = [Image.new("L", (width, height)) for _ in range(3)]
    for plane, points, thickness in _hard_cases(width, height):
        _stroke(planes[plane], points, thickness)
    rng = np.random.default_rng(seed)
    for _ in range(120):  # spots and short curved tubes, wherever their colour is free
        points = _curve(rng, width, height)
        plane, thickness = int(rng.integers(3)), int(rng.integers(14, 30))
        room, tried = Image.new("L", (width, height)), planes[plane].copy()
        _stroke(room, points, thickness + 24)
        if not (np.asarray(room) & np.asarray(planes[plane])).any():
            _stroke(tried, points, thickness)
            planes[plane] = tried
    pixels = np.stack([np.asarray(plane) for plane in planes])
    return torch.from_numpy(pixels.copy()), sum(
        ndimage.label(plane > 0, TOUCHING)[1] for plane in pixels
    )


def _hard_cases(width: int, height: int) -> list[tuple[int, list[Any], int]]:
    """Long tubes through all tiles that cross, one that comes back, spots where four tiles meet,
    and at the border.
    """
    t = np.linspace(0, 1, 60)
    across = [
        (float(x), float(y)) for x, y in zip(60 + 1930 * t, 420 + 130 * np.sin(5 * t), strict=True)
    ]
    diagonal = [(float(x), float(y)) for x, y in zip(90 + 1800 * t, 60 + 1430 * t, strict=True)]
    shallow = [(float(x), float(y)) for x, y in zip(60 + 1930 * t, 370 + 160 * t, strict=True)]
    around = [
        (float(1150 + 420 * np.cos(a)), float(1040 + 330 * np.sin(a)))
        for a in np.linspace(1.2, 5.6, 50)
    ]
    cases: list[tuple[int, list[Any], int]] = [
        (0, across, 26),
        (1, diagonal, 22),
        (2, shallow, 20),
        (0, around, 24),
    ]
    cases += [(1, [(width / 2, -40), (width / 2 + 60, height + 40)], 20)]
    cases += [(2, [(width / 2, height / 2)], 60), (0, [(width / 4, height * 2 / 3)], 50)]
    return cases + [(2, [(0, 0)], 80), (0, [(width, height)], 90), (2, [(width - 10, 900)], 40)]


def _curve(rng: np.random.Generator, width: int, height: int) -> list[tuple[float, float]]:
    heading = rng.uniform(0, 6.3) + np.cumsum(rng.normal(0, 0.12, 16))
    steps = rng.choice([0.5, 8, 25]) * np.stack([np.cos(heading), np.sin(heading)], 1)
    return [
        (float(x), float(y))
        for x, y in rng.uniform(0, 1, 2) * (width, height) + np.cumsum(steps, 0)
    ]


def _stroke(plane: Image.Image, points: list[tuple[float, float]], thickness: int) -> None:
    pen, r = ImageDraw.Draw(plane), thickness / 2
    if len(points) > 1:
        pen.line(points, fill=255, width=thickness)
    for x, y in points:
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)


class Exact:
    """Stands in for a Predictor: objects at the tile's own resolution, nothing resized."""

    def pixels(self, image: Tensor) -> Tensor:
        return image

    def predict_ready(self, pixels: Tensor, threshold: float) -> Detections:
        assert threshold < 0.9
        regions: list[Any] = []
        for plane in pixels.numpy() > 127:
            numbered, count = ndimage.label(plane, TOUCHING)
            regions += [Region.of(numbered == i) for i in range(1, count + 1)]
        return _detections(regions, (pixels.shape[-2], pixels.shape[-1]))


class Rough(Exact):
    """As learned masks are: outlines wander by 2 px, differently in each tile, and stop 3 px short
    of its border.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    @override
    def predict_ready(self, pixels: Tensor, threshold: float) -> Detections:
        exact = super().predict_ready(pixels, threshold)
        height, width = exact.size
        regions = []
        for region in exact.regions or ():
            x0, y0, x1, y1 = region.window
            window = (max(x0 - 4, 0), max(y0 - 4, 0), min(x1 + 4, width), min(y1 + 4, height))
            bits = region.within(window)
            wander = 1.2 * ndimage.gaussian_filter(
                self.rng.normal(0, 1, bits.shape), 4
            ) + self.rng.uniform(-0.25, 0.25)
            rough = Region.of(
                ndimage.gaussian_filter(bits.astype(float), 2) + wander > 0.5, *window[:2]
            )
            rough = Region.of(rough.within((3, 3, width - 3, height - 3)), 3, 3)
            if rough.area > 60:
                regions.append(rough)
        return _detections(regions, exact.size)


def _detections(regions: list[Region], size: tuple[int, int]) -> Detections:
    count = len(regions)
    boxes_xyxy = torch.tensor([region.window for region in regions], dtype=torch.float32).reshape(
        -1, 4
    )
    labels = torch.zeros(count, dtype=torch.int64)
    return Detections(
        boxes_xyxy, torch.full((count,), 0.9), labels, CLASSES, size, regions=tuple(regions)
    )


class Light(nn.Module):
    """A convolution of one pixel with fixed weights: logits (B, 3, h, w), above 0 where a colour is
    more than half.
    """

    reads, writes = ("images",), ("logits",)

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(3, 3, 1)
        nn.init.eye_(self.weigh.weight.data[:, :, 0, 0])
        nn.init.constant_(present(self.weigh.bias), -0.5)

    @override
    def forward(self, state: State) -> State:
        images = state["images"]
        return {"logits": self.weigh(images / 255 if images.dtype == torch.uint8 else images)}


class Options(Settings):
    side: int


ResolvedOptions = Options
TASKS = ("joint",)
SIZES: dict[str, Any] = {"fixed": None}


def resolve_options(
    options: Options, size: None, most_objects: int, device: str
) -> tuple[Options, list[str]]:
    return options, []


def criterion(chain: Chain, task: str, weights: dict[str, float]) -> NoReturn:
    raise NotImplementedError("its weights are fixed")


def predictions(chain: Chain, state: State) -> NoReturn:
    raise NotImplementedError("its weights are fixed")


def input_size(spec: ModelSpec) -> tuple[int, int]:
    return spec.options["side"], spec.options["side"]


def postprocess(
    chain: Chain, state: State, sizes: list[tuple[int, int]], most: int
) -> list[Detections]:
    """Each connected part of each colour; its mask are the logits in and next to it."""
    by_image = []
    for logits, (height, width) in zip(state["logits"].numpy(), sizes, strict=True):
        masks: list[Any] = []
        boxes: list[Any] = []
        for plane in logits:
            numbered, _ = ndimage.label(plane > 0, TOUCHING)
            for i, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
                around = (
                    slice(max(rows.start - 1, 0), rows.stop + 1),
                    slice(max(columns.start - 1, 0), columns.stop + 1),
                )
                near = ndimage.binary_dilation(numbered[around] == i, TOUCHING)
                mask = np.full(plane.shape, -0.5, dtype=np.float32)
                mask[around][near] = plane[around][near]
                masks.append(torch.from_numpy(mask))
                boxes.append((columns.start, rows.start, columns.stop, rows.stop))
        scale = torch.tensor([width / logits.shape[2], height / logits.shape[1]] * 2)
        boxes_xyxy = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * scale
        scores, labels = torch.full((len(masks),), 0.9), torch.zeros(len(masks), dtype=torch.int64)
        stack = torch.stack(masks) if masks else torch.zeros(0, *logits.shape[1:])
        by_image.append(
            Detections(boxes_xyxy, scores, labels, chain.spec.classes, (height, width), stack)
        )
    return by_image


def build(spec: ModelSpec, masks: bool) -> Chain:
    return Chain(spec, {"light": Light()})


def model(side: int) -> Predictor:
    """A real chain in a real predictor, which resizes every tile to side x side."""
    spec = ModelSpec(family=__name__, size="fixed", classes=CLASSES, options={"side": side})
    return Predictor(build(spec, True).eval(), Card(spec=spec))
