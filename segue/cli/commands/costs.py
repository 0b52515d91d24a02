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
from segue.plan.schema import Plan, StagePlan
from segue.run import build
from segue.structures.target import Batch, collate
from segue.training.estimate import free_bytes, needs
from segue.training.learner import Learner
from segue.training.loop import train_epoch

# steps of a probe, of which the first only warms up; no further one after so long
STEPS, MOST_SECONDS = 6, 60.0
FEWEST = 2
IMAGES = 4  # of validation
USED = 0.9  # of the memory that is free


def needed(chain: Chain, stage: StagePlan, data: DataSet, device: str) -> list[str]:
    """Operations and activations of one image, and how many images fit: at the start, and from each
    thaw on.

    The chain is frozen as the stage begins, and left so.
    """
    precision, position = build.pick_precision(stage.precision, device), chain.frozen_to
    free, lines = free_bytes(device), []
    for epoch, place in _phases(chain, stage):
        chain.freeze_to(place)
        found = needs(chain, data.most_objects)
        when = f"after {epoch} epochs: " if epoch else ""
        kept = found.bytes_kept(precision)
        lines.append(
            f"{when}{found.learned:,} of {found.parameters:,} parameters learn; the fullest "
            "image takes "
            f"{found.forward / 1e9:.3g} GFLOP in a forward, {found.step / 1e9:.3g} in training, "
            "and keeps about "
            f"{_size(kept)} of activations for backward"
        )
        if free is None:
            continue
        fit = found.images_in(int(USED * free), precision, bool(stage.ema))
        asked = stage.images_per_forward or stage.images_per_step
        room = f"{when}{_size(free)} are free on {device}: "
        if fit >= asked:
            whole = _size(found.bytes_of(asked, precision, bool(stage.ema)))
            lines.append(
                f"{room}{asked} images in a forward fit (about {whole} if all are so full), up "
                f"to about {fit} do"
            )
        elif fit:
            lines.append(
                f"{room}about {fit} images fit in a forward, so steps of {stage.images_per_step} "
                "are split"
            )
        else:
            lines.append(f"{room}warning: not even one image may fit; lower model.resolution")
    chain.freeze_to(position)
    return lines


def taken(plan: Plan, stage: StagePlan, data: DataSet, chain: Chain, device: str) -> list[str]:
    """How long an epoch and the stage take, from a few steps on its own images; the chain's weights
    do not matter then.

    Raises:
        OutOfMemoryError: if not even one image fits.
    """
    chain.to(device)
    position = chain.frozen_to
    learner = build.new_learner(plan, stage, chain, device)
    samples = build.training_samples(plan, stage, data, learner)
    per_epoch = -(-len(samples) // stage.images_per_step)
    steps = stage.steps or (stage.epochs or 0) * per_epoch
    starts = [epoch for epoch, _ in _phases(chain, stage)] + [-(-steps // per_epoch)]
    pays = stage.cache is not None and not build.why_no_cache(samples, stage, learner, plan.runs)[0]
    seconds, lines = 0.0, []
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
        if (images := learner.progress.images_per_forward) < (
            stage.images_per_forward or stage.images_per_step
        ):
            lines.append(
                f"{when}memory ran out with more than {images} images in a forward; steps are split"
            )
    looked = build.monitored(data, stage).splits["valid"].records
    one = _validation(learner, data, stage) * len(looked)
    times = 1 + -(-steps // (stage.evaluate_every_steps or per_epoch))
    lines.append(f"about {_long(one)} a validation of {len(looked)} images")
    lines.append(f"about {_long(seconds + times * one)} for the stage, if it is not stopped early")
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
    began, loads, trains = time.perf_counter(), [], []

    def batches() -> Iterator[Batch]:
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

    train_epoch(learner, batches(), steps, per_epoch, note, lambda _step, error: error)
    train, load = statistics.median(trains[1:]), statistics.median(loads[1:])
    return Probe(
        train, 0.0 if cached else load, stage.workers, learner.device, load if cached else 0.0
    )


def _behind_the_frozen(learner: Learner, batch: Batch) -> Batch:
    """What a cache of the frozen parts' outputs would give for a batch."""
    images = learner.progress.images_per_forward
    parts = [learner.chain.prefix(part.to(learner.device).inputs) for part in batch.split(images)]
    return Batch(
        {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}, batch.targets
    )


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
