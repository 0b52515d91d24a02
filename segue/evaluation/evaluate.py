"""Running a model over the records of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from segue import models
from segue.data.loading import loader
from segue.data.records import Record
from segue.data.samples import Samples, StepSampler
from segue.data.transforms import View
from segue.errors import NonFiniteError
from segue.evaluation.coco_metrics import CocoMetrics
from segue.models.parts.chain import Chain
from segue.training import processes


def evaluate(
    chain: Chain,
    records: Sequence[Record],
    metrics: CocoMetrics,
    images_per_forward: int,
    workers: int = 0,
    tick: Callable[[], None] = lambda: None,
    view: View | None = None,
) -> CocoMetrics:
    """Fill `metrics` with the model's detections in all records; every process takes its share and gets all.

    The chain is used as it is, in eval mode and float32. tick is called between batches and may stop by raising.
    view: how the model sees images, such as a `DisturbedView`; whole and as they are if left out.

    Raises:
        NonFiniteError: if a score or a box is NaN or infinite, which no measure could be made of.
    """
    family = models.get(chain.spec.family)
    device = next(chain.parameters()).device
    samples = Samples(records, chain.spec.classes, chain.spec.channels, view or View(*input_size(chain)), seed=0)
    rank, world = processes.rank(), processes.world()
    steps = StepSampler(
        len(records), images_per_forward * world, seed=0, epoch=0, rank=rank, world=world, shuffle=False
    )
    chain.eval()
    for batch in loader(samples, steps, workers, device):
        if len(batch):
            with torch.no_grad():
                state = chain(batch.to(device).inputs)
            sizes = [target.size for target in batch.targets]
            found = family.postprocess(chain, state, sizes, metrics.most)
            for target, detections in zip(batch.targets, found, strict=True):
                if not bool(detections.scores.isfinite().all() and detections.boxes_xyxy.isfinite().all()):
                    said = "the model puts out scores or boxes that are NaN or infinite"
                    image = records[target.record].image
                    raise NonFiniteError(image, said, "finite values", "a lower optimizer.lr, or optimizer.clip: 1")
                metrics.add(target.record, detections)
        tick()
    everything = [entry for entries in processes.gathered(metrics.results) for entry in entries]
    metrics.results = sorted(everything, key=lambda entry: entry["image_id"])
    return metrics


def input_size(chain: Chain) -> tuple[int, int]:
    """Height and width of the frame the model sees."""
    return models.get(chain.spec.family).input_size(chain.spec)
