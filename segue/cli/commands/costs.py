"""What a stage of a plan will cost on this machine: operations and memory by counting, time by a
few real steps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from segue.data.dataset import DataSet
from segue.data.pipeline.samples import Samples, StepSampler
from segue.models.parts.chain import Chain, span
from segue.plan.schema import StagePlan
from segue.run import batches, build
from segue.run.context import StageContext
from segue.structures.target import Batch, collate
from segue.training.estimate import Needs, free_bytes, needs
from segue.training.learner import Learner
from segue.training.loop import train_epoch

# steps of a probe, of which the first only warms up; no further one after so long
STEPS, MOST_SECONDS = 6, 60.0
FEWEST = 2
IMAGES = 4  # of validation
USED = 0.9  # of the memory that is free


def needed(context: StageContext, chain: Chain) -> list[str]:
    """Operations and activations of one image, and how many images fit: at the start, and from each
    thaw on.

    The chain is frozen as the stage begins, and left so.
    """
    stage, position = context.stage, chain.frozen_to
    lines: list[str] = []
    free = free_bytes(context.device)
    for epoch, boundary in _phases(chain, stage):
        chain.freeze_to(boundary)
        when = f"after {epoch} epochs: " if epoch else ""
        costs = needs(chain, context.data.most_objects)
        kept = costs.bytes_kept(build.pick_precision(stage.precision, context.device))
        lines.append(
            f"{when}{costs.learned:,} of {costs.parameters:,} parameters learn; the fullest "
            f"image takes {costs.forward / 1e9:.3g} GFLOP in a forward, {costs.step / 1e9:.3g} in "
            f"training, and keeps about {_size(kept)} of activations for backward"
        )
        if free is not None:
            room = f"{when}{_size(free)} are free on {context.device}"
            lines.append(f"{room}: {_what_fits(context, costs, free)}")
    chain.freeze_to(position)
    return lines


def _what_fits(context: StageContext, costs: Needs, free: int) -> str:
    """How many of the fullest images a forward may have. free: bytes."""
    stage = context.stage
    precision = build.pick_precision(stage.precision, context.device)
    fitting = costs.images_in(int(USED * free), precision, bool(stage.ema))
    planned = stage.images_per_forward or stage.images_per_step
    if fitting >= planned:
        taken_up = _size(costs.bytes_of(planned, precision, bool(stage.ema)))
        return (
            f"{planned} images in a forward fit (about {taken_up} if all are so full), up "
            f"to about {fitting} do"
        )
    if fitting:
        return (
            f"about {fitting} images fit in a forward, so steps of {stage.images_per_step} "
            "are split"
        )
    return "warning: not even one image may fit; lower model.resolution"


def taken(context: StageContext, chain: Chain) -> list[str]:
    """How long an epoch and the stage take, from a few steps on its own images; the chain's weights
    do not matter then.

    Raises:
        OutOfMemoryError: if not even one image fits.
    """
    stage, per_epoch = context.stage, context.steps_per_epoch
    chain.to(context.device)
    position = chain.frozen_to
    learner = build.new_learner(context.plan, stage, chain, context.device)
    samples = batches.training_samples(context, learner)
    steps = stage.steps or (stage.epochs or 0) * per_epoch
    starts = [epoch for epoch, _ in _phases(chain, stage)] + [-(-steps // per_epoch)]
    pays = stage.cache is not None and not batches.why_no_cache(context, samples, learner)[0]
    seconds = 0.0
    lines: list[str] = []
    for number, start in enumerate(starts[:-1]):
        if start:
            learner.thaw(span(stage.thaw[start].part, chain.order)[0], stage.thaw[start].lr_factor)
        probe = _probe(learner, samples, stage, steps, cached=pays and not start)
        done = min(starts[number + 1] * per_epoch, steps) - start * per_epoch
        seconds += done * probe.each
        if stage.cache is not None and probe.fill:
            once = probe.fill * per_epoch * stage.cache.views
            seconds += once
            lines.append(f"about {_long(once)} to fill the cache, once")
        when = f"after {start} epochs: " if start else ""
        lines.append(
            f"{when}about {_long(probe.each)} a step here ({probe}), "
            f"{_long(probe.each * per_epoch)} an epoch"
        )
        images = learner.progress.images_per_forward
        if images < (stage.images_per_forward or stage.images_per_step):
            lines.append(
                f"{when}memory ran out with more than {images} images in a forward; steps are split"
            )
    validated = build.monitored(context.data, stage).splits["valid"].records
    validation = _validation(learner, context.data, stage) * len(validated)
    times = 1 + -(-steps // (stage.evaluate_every_steps or per_epoch))
    lines.append(f"about {_long(validation)} a validation of {len(validated)} images")
    whole = _long(seconds + times * validation)
    lines.append(f"about {whole} for the stage, if it is not stopped early")
    chain.to("cpu").freeze_to(position)
    return lines


@dataclass(frozen=True)
class Probe:
    """Median seconds of a step: of training, and of loading its images in one process; workers load
    meanwhile on a GPU, but take their time from training on a CPU. fill: of what a cache keeps for
    a step, which then opens no image.
    """

    train: float
    load: float
    workers: int
    device: str
    fill: float = 0.0

    @property
    def each(self) -> float:
        if self.workers and self.device != "cpu":
            return max(self.train, self.load / self.workers)
        return self.train + self.load

    def __str__(self) -> str:
        load = "from the cache" if self.fill else f"loading {_long(self.load)} in one process"
        return f"training {_long(self.train)}, {load}"


def _probe(learner: Learner, samples: Samples, stage: StagePlan, steps: int, cached: bool) -> Probe:
    """A few steps as the stage takes them.

    cached: behind the frozen parts, whose outputs will be on the disk.
    """
    began = time.perf_counter()
    loads: list[float] = []
    trains: list[float] = []

    def timed_batches() -> Iterator[Batch]:
        epoch = learner.progress.epoch
        while len(loads) < STEPS:
            for step in StepSampler(len(samples), stage.images_per_step, samples.seed, epoch):
                if len(loads) == STEPS or (
                    len(loads) >= FEWEST and time.perf_counter() - began > MOST_SECONDS
                ):
                    return
                start = time.perf_counter()
                batch = collate([samples[position] for position in step])
                batch = _behind_the_frozen(learner, batch) if cached else batch
                loads.append(time.perf_counter() - start)
                yield batch
            epoch += 1

    per_epoch = -(-len(samples) // stage.images_per_step)

    def note(numbers: dict[str, float]) -> None:
        trains.append(numbers["seconds"])

    train_epoch(learner, timed_batches(), steps, per_epoch, note, lambda _step, error: error)
    train, load = statistics.median(trains[1:]), statistics.median(loads[1:])
    return Probe(
        train, 0.0 if cached else load, stage.workers, learner.device, load if cached else 0.0
    )


def _behind_the_frozen(learner: Learner, batch: Batch) -> Batch:
    """What a cache of the frozen parts' outputs would give for a batch."""
    images = learner.progress.images_per_forward
    outputs = [
        learner.chain.prefix(micro_batch.to(learner.device).inputs)
        for micro_batch in batch.split(images)
    ]
    inputs = {name: torch.cat([each[name] for each in outputs]).cpu() for name in outputs[0]}
    return Batch(inputs, batch.targets)


def _validation(learner: Learner, data: DataSet, stage: StagePlan) -> float:
    """Seconds of an image, from its file to figures; the second time, when everything is warm."""
    valid = build.monitored(data, stage).splits["valid"]
    few = replace(
        data, splits={**data.splits, "valid": replace(valid, records=valid.records[:IMAGES])}
    )
    for _ in range(2):
        began = time.perf_counter()
        images = learner.progress.images_per_forward
        build.measure(few, "valid", learner.chain, images, 0, lambda: None).figures()
    return (time.perf_counter() - began) / len(few.splits["valid"].records)


def _phases(chain: Chain, stage: StagePlan) -> list[tuple[int, float]]:
    """After how many epochs the boundary of what is frozen lies where."""
    thaws = [(epoch, span(thaw.part, chain.order)[0]) for epoch, thaw in sorted(stage.thaw.items())]
    return [(0, chain.frozen_to), *thaws]


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _long(seconds: float) -> str:
    """Two digits and a unit: 0.034 s, 12 s, 3.4 min, 7.2 h."""
    for size, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if seconds < 100 * size or unit == "h":
            break
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"
