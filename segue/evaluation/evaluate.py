"""Running a model over the records of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from segue import models
from segue.data.pipeline.loader import loader
from segue.data.pipeline.samples import Samples, StepSampler
from segue.data.pipeline.transforms import View
from segue.data.records import Record
from segue.errors import NonFiniteError
from segue.evaluation.coco_metrics import CocoMetrics
from segue.models.parts.chain import Chain
from segue.structures.detections import Detections
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
    """Fill `metrics` with the model's detections in all records; every process takes its share and
    gets all.

    The chain is used as it is, in eval mode and float32. images_per_forward: the batch size, for
    each process. tick is called between batches and may stop by raising. view: how the model sees
    images, such as a `CorruptedView`; whole and as they are if left out.

    Raises:
        NonFiniteError: if a score or a box is NaN or infinite, which no metric can rank.
    """
    family = models.get(chain.spec.family)
    device = next(chain.parameters()).device
    samples = Samples(
        records, chain.spec.classes, chain.spec.channels, view or View(*input_size(chain)), seed=0
    )
    rank, world = processes.rank(), processes.world()
    steps = StepSampler(
        len(records),
        images_per_forward * world,
        seed=0,
        epoch=0,
        rank=rank,
        world=world,
        shuffle=False,
    )
    chain.eval()
    for batch in loader(samples, steps, workers):
        if len(batch):
            with torch.no_grad():
                state = chain(batch.to(device).inputs)
            sizes = [target.size for target in batch.targets]
            by_image = family.postprocess(chain, state, sizes, metrics.most)
            for target, detections in zip(batch.targets, by_image, strict=True):
                _require_finite(detections, records[target.record])
                metrics.add(target.record, detections)
        tick()
    # Sorted, so that the figures do not depend on how many processes there were.
    everything = [entry for entries in processes.gathered(metrics.results) for entry in entries]
    metrics.results = sorted(everything, key=lambda entry: entry["image_id"])
    return metrics


def _require_finite(detections: Detections, record: Record) -> None:
    """Raises NonFiniteError if a score or a box is NaN or infinite."""
    if not bool(detections.scores.isfinite().all() and detections.boxes_xyxy.isfinite().all()):
        trouble = "the model puts out scores or boxes that are NaN or infinite"
        raise NonFiniteError(
            record.image, trouble, "finite values", "a lower optimizer.lr, or optimizer.clip: 1"
        )


def input_size(chain: Chain) -> tuple[int, int]:
    """Height and width of the frame the model sees."""
    return models.get(chain.spec.family).input_size(chain.spec)
