"""From a stage's plan to the objects that train it: model, learner, batches and measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import Dataset

from segue import __version__, models
from segue.console import Console
from segue.data.dataset import DataSet
from segue.data.loading import loader
from segue.data.samples import Samples, StepSampler
from segue.data.transforms import View
from segue.errors import HandoverError, PlanError
from segue.evaluation.coco_metrics import CocoMetrics, detections_needed
from segue.evaluation.evaluate import evaluate
from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.models.weights import Weights
from segue.plan import Plan, StagePlan
from segue.structures.channels import Channel
from segue.structures.seeds import seed_for
from segue.structures.target import Batch
from segue.training import cache, optim, processes
from segue.training.checkpoint import Card
from segue.training.devices import pick_device as pick_device  # also for scripts, which look for it here
from segue.training.freeze import digest
from segue.training.learner import Learner, Progress


def stage_seed(plan: Plan, stage: StagePlan) -> int:
    """What all randomness of a stage follows from."""
    return seed_for(plan.seed, stage.name)


def build_model(
    plan: Plan,
    stage: StagePlan,
    data: DataSet,
    weights: Weights | None,
    device: str,
    say: Callable[[str], None],
    begun: Mapping[str, Any] | None = None,
) -> Chain:
    """The stage's model, with new weights that follow from the plan's seed.

    What the plan leaves open is as in the checkpoint it starts from, so that it fits, or else as the size, the
    data and the device suggest. begun: the options of this stage's own checkpoint, if it goes on from one.

    Raises:
        PlanError: if the plan's choices do not fit the size or the data.
        HandoverError: if the checkpoint is of another family or size.
    """
    family = models.get(plan.model.family)
    parent = weights.card["spec"] if weights is not None and weights.card else None
    if (
        weights is not None
        and parent is not None
        and (parent["family"], parent["size"]) != (plan.model.family, plan.model.size)
    ):
        found = f"a {parent['family']} {parent['size']} model"
        raise HandoverError(weights.source, found, f"{plan.model.family} {plan.model.size}, as the plan's model says")
    size = models.size_of(family, plan.model.size)
    known: Mapping[str, Any] = {}
    if weights is not None:
        known = parent["options"] if parent else family.options_in(weights.tensors, plan.model.size, device)
    chosen = {name: value for name, value in plan.model.options.items() if value is not None}
    options = begun or {**known, **chosen}
    settled, said = family.settle(family.Options(**options), size, data.most_objects, device)
    for line in said:
        say(f"{stage.name}: {line}")
    channels = family.normalised(settled, plan.data_of(stage).channels)
    if channels != plan.data_of(stage).channels:
        say(f"{stage.name}: mean / deviation " + ", ".join(f"{c.name} {c.mean} / {c.std}" for c in channels))
    for line in _seen_otherwise(parent, channels):
        say(f"{stage.name}: {line}")
    spec = ModelSpec(
        family=plan.model.family,
        size=plan.model.size,
        classes=data.classes,
        channels=channels,
        options=settled.model_dump(),
    )
    head = family.PARTS[-1]
    brought = weights is not None and any(name.startswith(head + ".") for name in weights.tensors)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed_for(stage_seed(plan, stage), "weights"))
        return family.build(spec, masks=stage.with_masks or (brought and head not in stage.drop))


def _seen_otherwise(parent: Mapping[str, Any] | None, channels: Sequence[Channel]) -> list[str]:
    """A warning for each channel whose values will mean something else than in the checkpoint a stage starts from."""
    before = [Channel.model_validate(channel) for channel in (parent or {}).get("channels", ())]
    known = {channel.name: channel for channel in before}
    lines = []
    for channel in channels:
        then, now = known.get(channel.name, channel).model_dump(), channel.model_dump()
        changed = [
            f"{key} {then[key]} -> {now[key]}" for key in ("scale", "plane", "mean", "std") if then[key] != now[key]
        ]
        if changed:
            lines.append(f"warning: channel {channel.name} meant something else before: {', '.join(changed)}")
    return lines


def new_learner(plan: Plan, stage: StagePlan, chain: Chain, device: str) -> Learner:
    """A learner at the first step. Draws of dropout follow from the plan's seed, too."""
    family = models.get(chain.spec.family)
    precision = pick_precision(stage.precision, device)
    torch.manual_seed(seed_for(stage_seed(plan, stage), "dropout", processes.rank()))
    return Learner(
        chain=chain,
        loss=replace(family.criterion(chain, stage.task, stage.loss), noise=stage.noise),
        optimizer=optim.build(chain, stage.optimizer),
        schedule=stage.schedule,
        ema=optim.Ema(chain, stage.ema) if stage.ema else None,
        scaler=torch.amp.GradScaler(device.split(":")[0], enabled=precision == torch.float16),
        progress=Progress(images_per_forward=stage.images_per_forward or stage.images_per_step),
        device=device,
        precision=precision,
        settings=stage.optimizer,
        seed=stage_seed(plan, stage),
        scales=() if stage.multi_scale == "off" else family.scales(chain.spec, stage.multi_scale == "expanded"),
    )


def pick_precision(name: str, device: str) -> torch.dtype:
    """auto: bfloat16 where the GPU computes it, float16 on older GPUs, float32 on CPUs."""
    if name == "auto":
        if not device.startswith("cuda"):
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def training_samples(plan: Plan, stage: StagePlan, data: DataSet, learner: Learner) -> Samples:
    """The training images as samples, read and augmented anew in every epoch."""
    height, width = models.get(learner.chain.spec.family).input_size(learner.chain.spec)
    view = View(height, width, stage.augment, learner.chain.spec.channels)
    records, channels = data.splits["train"].records, plan.data_of(stage).channels
    noise = {"weighed": stage.noise.quality, "with_unexplained": stage.noise.missed is not None}
    return Samples(records, data.classes, channels, view, learner.seed, stage.with_masks, **noise)


def why_no_cache(samples: Samples, stage: StagePlan, learner: Learner, folder: Path) -> tuple[str, int]:
    """Why a stage does without the cache its plan has, empty if it does not; and the bytes of one record."""
    assert stage.cache is not None
    epochs = stage.epochs or -(-(stage.steps or 0) * stage.images_per_step // len(samples))
    size = cache.record_bytes(learner.chain, samples, learner.device)
    return cache.worth_it(stage.cache, min(stage.thaw, default=epochs), size, len(samples), folder), size


def cached_samples(
    samples: Samples, stage: StagePlan, learner: Learner, manifest: str, folder: Path, console: Console
) -> Dataset | None:
    """The same images behind the frozen parts, from the disk; None if the plan wants no cache or it does not pay.

    manifest: of the data. A thaw ends the cache's use; a stage that goes on behind its first thaw has none.
    """
    chain = learner.chain
    if stage.cache is None or learner.progress.thawed:
        return None
    why_not, size_of_one = why_no_cache(samples, stage, learner, folder)
    if why_not:
        console.say(f"{stage.name}: {why_not}")
        return None
    total = size_of_one * len(samples) * stage.cache.views
    console.say(f"{stage.name}: frozen outputs of {stage.cache.views} views of each image cached, {total / 1e6:.0f} MB")
    views = replace(samples, views=stage.cache.views)
    augment = None if stage.augment is None else stage.augment.model_dump()
    frozen = digest(chain.frozen_tensors())
    key = {"frozen": frozen, "data": manifest, "augment": augment, "seed": learner.seed}
    key |= {"views": stage.cache.views, "size": samples.view.size, "masks": stage.with_masks}
    key |= {"noise": stage.noise.model_dump()}
    images = learner.progress.images_per_forward
    with console.progress(f"{folder.name}: caching") as tick:
        if processes.rank() == 0:
            cache.fill(chain, views, folder / "cache", key, images, learner.device, tick)
        processes.barrier()
        return cache.fill(chain, views, folder / "cache", key, images, learner.device, tick)  # only opens it


def step_batches(
    samples: Samples, cached: Dataset | None, stage: StagePlan, device: str
) -> Callable[[int, int], Iterable[Batch]]:
    """The steps of an epoch from a given step on, this process's share of each; cached ones until the first thaw."""

    def batches(epoch: int, start: int) -> Iterable[Batch]:
        share = (processes.rank(), processes.world())
        steps = StepSampler(len(samples), stage.images_per_step, samples.seed, epoch, start, *share)
        live = cached is None or epoch >= min(stage.thaw, default=epoch + 1)
        return loader(samples if live else cached, steps, stage.workers, device)

    return batches


def refuse_late_thaws(stage: StagePlan, data: DataSet) -> None:
    """A plan in steps learns only from the data how many epochs they are.

    Raises:
        PlanError: if a thaw comes after the last of them.
    """
    if stage.steps is None:
        return
    epochs = -(-stage.steps // -(-len(data.splits["train"].records) // stage.images_per_step))
    for epoch, thaw in stage.thaw.items():
        if epoch >= epochs:
            found = f"never happens: {stage.steps} steps are {epochs} epochs here"
            raise PlanError(f"stage {stage.name}: thaw: {epoch}: {thaw.part}", found, "an earlier epoch, or more steps")


def monitored(data: DataSet, stage: StagePlan) -> DataSet:
    """The data, with only those validation images that are looked at between epochs.

    Raises:
        PlanError: if there are none.
    """
    if stage.monitor is None:
        return data
    valid = data.splits["valid"]
    chosen = valid.records[stage.monitor.start :][: stage.monitor.images]
    if not any(not a.crowd for record in chosen for a in record.annotations):
        found = f"no objects in {len(chosen)} of {len(valid.records)} validation images"
        raise PlanError(f"stage {stage.name}: monitor", found, "images with objects")
    return replace(data, splits={**data.splits, "valid": replace(valid, records=chosen)})


def evaluator(data: DataSet, stage: StagePlan, learner: Learner) -> Callable[[Callable[[], None]], dict[str, float]]:
    """What a stage calls between epochs: the figures of the learner's model as it is, on the monitored images."""
    watched = monitored(data, stage)

    def figures(tick: Callable[[], None]) -> dict[str, float]:
        images = learner.progress.images_per_forward
        return measure(watched, "valid", learner.chain, images, stage.workers, tick).figures()

    return figures


def measure(
    data: DataSet,
    part: str,
    chain: Chain,
    images_per_forward: int,
    workers: int,
    tick: Callable[[], None],
    view: View | None = None,
) -> CocoMetrics:
    """Detections of the chain as it is in one part of the data, with the truth beside them; see `evaluate`."""
    kinds = ("box", "mask") if chain.has_masks else ("box",)
    records = data.splits[part].records
    metrics = CocoMetrics(records, data.classes, kinds, detections_needed(data.most_objects))
    return evaluate(chain, records, metrics, images_per_forward, workers, tick, view)


def card_of(plan: Plan, stage: StagePlan, data: DataSet, chain: Chain, weights: Weights | None) -> Card:
    """What every checkpoint of a stage says of itself."""
    return Card(
        spec=chain.spec,
        plan=plan.name,
        stage=stage.name,
        task=stage.task,
        came_from=weights.came_from if weights is not None else {},
        data={"sha256": data.manifest, "classes": dict(zip(data.classes, data.ids, strict=True)), **data.counts()},
        code={"segue": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    )
