"""Opening the files of these commands, and measuring what is in them: on the test split, in
milliseconds, in size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from segue.compat.common import plan_errors, warn
from segue.compat.rgbx_sweep.plan import data_of
from segue.data.dataset import Data, DataSet, read_dataset
from segue.data.pipeline.samples import Samples, read_image
from segue.data.pipeline.transforms import View
from segue.data.records import Record
from segue.errors import DataError, HandoverError
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.evaluate import input_size
from segue.evaluation.overlay import as_picture, draw_detections, draw_truth
from segue.inference.loading import load
from segue.inference.predict import Predictor
from segue.models import rgbx_rcnn
from segue.run.build import measure, pick_device
from segue.structures.channels import IMAGENET, Channel
from segue.structures.target import Batch, collate

SHOWN = 0.5  # least score of what is drawn
TIMED = 10  # batches; one more before them warms up
SPLIT = "test"


@dataclass(frozen=True)
class Speed:
    """Median time of an image in milliseconds, from the decoded image's frame to detections."""

    ms: float

    @property
    def fps(self) -> float:
        return 1000 / self.ms


def open_model(path: Path, backbone: str | None, device: str) -> Predictor:
    """The model in a .pth of these commands, or in a run's folder. backbone: which it has to have,
    if any.

    Raises:
        CheckpointError: if it cannot be used.
        HandoverError: if it has another backbone.
    """
    predictor = load(path, pick_device(device))
    spec = predictor.chain.spec
    known = spec.options.get("backbone") if spec.family == "rgbx_rcnn" else spec.family
    if backbone not in (None, known):
        raise HandoverError(
            path, f"a model with {known}", f"{backbone}, as --backbone says", f"--backbone {known}"
        )
    return predictor


def data_for(predictor: Predictor, args: argparse.Namespace) -> DataSet:
    """The data of --data, divided as for training, with the model's channels and classes.

    Raises:
        DataError: if it has no test split, or no class the model knows.
    """
    spec = predictor.chain.spec
    with plan_errors("command line", Data):
        files = data_of(args, spec.channels)
    data = read_dataset(files)
    if SPLIT not in data.splits:
        raise DataError(args.data, f"no {SPLIT} part", ", ".join([*data.splits, SPLIT]))
    if not set(data.classes) & set(spec.classes):
        raise DataError(
            args.data, "classes " + ", ".join(data.classes), "some of " + ", ".join(spec.classes)
        )
    trained_on = predictor.card.data.get("sha256")
    if trained_on != data.manifest:
        warn(f"{args.data}: not the data, or not the division of it, that the model was trained on")
    ids = dict(zip(data.classes, data.ids, strict=True))
    return DataSet(
        data.splits,
        spec.classes,
        tuple(ids.get(name, -1) for name in spec.classes),
        [],
        data.manifest,
    )


def scores(predictor: Predictor, data: DataSet, batch_size: int) -> CocoMetrics:
    """Detections in all images of the test split, with their ground truth."""
    return measure(data, SPLIT, predictor.chain, batch_size, 0, lambda: None)


def speed(predictor: Predictor, records: list[Record], batch_size: int) -> Speed:
    """How long an image takes in batches of this size; decoding is not timed."""
    chain = predictor.chain.eval()
    times: list[float] = []
    device = next(chain.parameters()).device
    decoded = list(islice(batches(predictor, records, batch_size), TIMED))
    for number, batch in enumerate(islice(cycle(decoded), TIMED + 1)):
        inputs, sizes = batch.to(str(device)).inputs, [target.size for target in batch.targets]
        synchronise(device)
        began = time.perf_counter()
        with torch.inference_mode():
            rgbx_rcnn.postprocess(chain, chain(inputs), sizes, 100)
        synchronise(device)
        if number:
            times.append((time.perf_counter() - began) / len(sizes))
    return Speed(1000 * median(times))


def batches(predictor: Predictor, records: list[Record], batch_size: int) -> Iterator[Batch]:
    spec = predictor.chain.spec
    samples = Samples(
        records, spec.classes, spec.channels, View(*input_size(predictor.chain)), seed=0
    )
    for start in range(0, len(records), batch_size):
        yield collate(
            [samples[(0, i)] for i in range(start, min(start + batch_size, len(records)))]
        )


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def size_mb(predictor: Predictor) -> float:
    """What weights and buffers take, in MiB as the original counts."""
    return sum(t.numel() * t.element_size() for t in predictor.chain.state_dict().values()) / 2**20


def draw_results(
    predictor: Predictor,
    records: list[Record],
    folder: Path,
    batch_size: int,
    only: int | None = None,
) -> int:
    """result_batch_i_img_j.png of all images, or of one batch; returns how many.

    Raises:
        DataError: if there is no such batch.
    """
    starts = list(range(0, len(records), batch_size))
    if only is not None and only >= len(starts):
        raise DataError(f"--vis {only}", f"{len(starts)} batches", f"0 to {len(starts) - 1}")
    spec, count = predictor.chain.spec, 0
    folder.mkdir(parents=True, exist_ok=True)
    for batch, start in enumerate(starts):
        if only in (None, batch):
            for image, record in enumerate(records[start : start + batch_size]):
                sheet = drawn(predictor, record, spec.channels, spec.classes)
                sheet.save(folder / f"result_batch_{batch}_img_{image}.png")
                count += 1
    return count


def drawn(
    predictor: Predictor | None,
    record: Record,
    channels: tuple[Channel, ...],
    classes: tuple[str, ...],
) -> Image.Image:
    """An image with its ground truth, each channel but r, g and b, and what the model finds, side
    by side.
    """
    pixels = read_image(record, channels)
    picture = as_picture(pixels, channels)
    others = [i for i, channel in enumerate(channels) if channel.name not in IMAGENET]
    pictures = [draw_truth(picture, record, classes, masks=False)]
    pictures += [as_picture(pixels[i : i + 1]) for i in others if len(pixels) > 1]
    if predictor is not None:
        pictures.append(draw_detections(picture, predictor.predict_ready(pixels, SHOWN)))
    return side_by_side(pictures)


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    sheet = Image.new(
        "RGB", (sum(picture.width for picture in pictures), max(p.height for p in pictures))
    )
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet
