"""From a stage's data to the batches it trains on: samples, their cache, an epoch's steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset

from segue import models
from segue.data.pipeline.loader import loader
from segue.data.pipeline.samples import Sample, Samples, StepSampler
from segue.data.pipeline.transforms import View
from segue.run.context import StageContext
from segue.structures.target import Batch
from segue.training import cache, processes
from segue.training.freeze import digest
from segue.training.learner import Learner

# what shows how far something is, as Console.progress does
ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def training_samples(context: StageContext, learner: Learner) -> Samples:
    """The train split as samples, which are read and augmented again in every epoch."""
    stage, spec = context.stage, learner.chain.spec
    height, width = models.get(spec.family).input_size(spec)
    return Samples(
        context.data.splits["train"].records,
        context.data.classes,
        context.plan.data_of(stage).channels,
        View(height, width, stage.augment, spec.channels),
        learner.seed,
        stage.with_masks,
        weight_by_quality=stage.noise.quality,
        with_unlabelled=stage.noise.missed is not None,
    )


def why_no_cache(context: StageContext, samples: Samples, learner: Learner) -> tuple[str, int]:
    """Why a stage does without the cache its plan has, empty if it does not; and the bytes of one
    record.
    """
    stage = context.stage
    assert stage.cache is not None
    epochs = stage.epochs or -(-(stage.steps or 0) * stage.images_per_step // len(samples))
    until = min(stage.thaw, default=epochs)  # a thaw ends the cache's use
    size = cache.record_bytes(learner.chain, samples, learner.device)
    return cache.worth_it(stage.cache, until, size, len(samples), context.folder), size


def cached_samples(
    context: StageContext, samples: Samples, learner: Learner, progress: ProgressBar
) -> Dataset[Sample] | None:
    """The same images as outputs of the frozen parts, from the disk; None if the plan wants no
    cache, or it does not pay.

    A stage that goes on behind its first thaw has none either: from there on, images are needed.
    """
    chain, settings = learner.chain, context.stage.cache
    if settings is None or learner.progress.thawed:
        return None
    why_not, record_bytes = why_no_cache(context, samples, learner)
    if why_not:
        context.report(why_not)
        return None
    total = record_bytes * len(samples) * settings.views
    context.report(
        f"frozen outputs of {settings.views} views of each image cached, {total / 1e6:.0f} MB"
    )
    views = replace(samples, views=settings.views)
    folder, key = context.folder / "cache", _cache_key(context, views, learner)
    images = learner.progress.images_per_forward
    with progress(f"{context.folder.name}: caching") as tick:
        if processes.rank() == 0:
            cache.fill(chain, views, folder, key, images, learner.device, tick)
        processes.barrier()
        # by now nothing is missing: this opens what the first process has filled
        return cache.fill(chain, views, folder, key, images, learner.device, tick)


def _cache_key(context: StageContext, views: Samples, learner: Learner) -> dict[str, Any]:
    """All that the frozen parts' outputs and the targets stored with them depend on."""
    stage = context.stage
    return {
        "frozen": digest(learner.chain.frozen_tensors()),
        "data": context.data.manifest,
        "augment": None if stage.augment is None else stage.augment.model_dump(),
        "seed": learner.seed,
        "views": views.views,
        "size": views.view.size,
        "masks": stage.with_masks,
        "noise": stage.noise.model_dump(),
    }


def step_batches(
    context: StageContext, samples: Samples, cached: Dataset[Sample] | None
) -> Callable[[int, int], Iterable[Batch]]:
    """The steps of an epoch from a given step on, this process's share of each; cached ones until
    the first thaw.
    """
    stage = context.stage

    def batches(epoch: int, start: int) -> Iterable[Batch]:
        share = (processes.rank(), processes.world())
        steps = StepSampler(len(samples), stage.images_per_step, samples.seed, epoch, start, *share)
        live = cached is None or epoch >= min(stage.thaw, default=epoch + 1)
        return loader(samples if live else cached, steps, stage.workers, context.device)

    return batches
