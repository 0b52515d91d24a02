"""From a stage's plan to the objects that train it: model, learner, validation and card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import transformers

from segue import __version__, models
from segue.data.dataset import DataSet
from segue.data.pipeline.transforms import View
from segue.errors import PlanError
from segue.evaluation.coco_metrics import CocoMetrics, detections_needed
from segue.evaluation.evaluate import evaluate
from segue.models.parts.chain import Chain, span
from segue.models.weights import ModelWeights
from segue.models.weights.card import Card
from segue.plan.schema import Plan, StagePlan
from segue.run.context import StageContext, stage_seed
from segue.run.spec import spec_of
from segue.structures.seeds import seed_for
from segue.training import optim, processes
from segue.training.ema import Ema
from segue.training.handover import Report, adopt
from segue.training.learner import Learner, Progress


def build_model(
    context: StageContext,
    weights: ModelWeights | None,
    resumed_options: Mapping[str, Any] | None = None,
) -> Chain:
    """The stage's model, with new weights that follow from the plan's seed; `weights` say what the
    plan leaves open, and are not loaded yet. See `spec_of`.

    Raises:
        PlanError: if the plan's choices do not fit the size or the data.
        HandoverError: if the weights are of another family or size.
    """
    stage, spec = context.stage, spec_of(context, weights, resumed_options)
    family = models.get(spec.family)
    head = family.PARTS[-1]
    brought = weights is not None and any(name.startswith(head + ".") for name in weights.tensors)
    # seeded apart from all other draws, so that a model is the same whatever was drawn before it
    with torch.random.fork_rng(devices=[]):
        seed = seed_for(stage_seed(context.plan, stage), "weights")
        torch.random.default_generator.manual_seed(seed)
        return family.build(spec, masks=stage.with_masks or (brought and head not in stage.drop))


def hand_over(context: StageContext, chain: Chain, weights: ModelWeights | None) -> Report | None:
    """Adopt the weights a stage starts from, if any, and freeze what it freezes.

    Raises:
        HandoverError: if weights and model differ in what the stage does not declare.
        PlanError: if new, random weights would be frozen, or a thaw would thaw nothing.
    """
    stage, where = context.stage, f"stage {context.name}"
    if weights is None and stage.freeze:
        raise PlanError(where, "would freeze new, random weights", "model.weights or start")
    report = adopt(chain, weights, stage.fresh, stage.drop) if weights is not None else None
    chain.freeze_through(stage.freeze)
    for epoch, thaw in sorted(stage.thaw.items()):  # only a built model has blocks to count
        frozen = len(chain.frozen_tensors())
        chain.freeze_to(span(thaw.part, chain.order)[0])
        if len(chain.frozen_tensors()) >= frozen:
            message = "the backbone has too few blocks for so many thaws"
            raise PlanError(
                f"{where}: thaw: {epoch}", f"{thaw.part} learns before that: {message}", "fewer"
            )
    chain.freeze_through(stage.freeze)
    return report


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
        ema=Ema(chain, stage.ema) if stage.ema else None,
        scaler=torch.amp.GradScaler(device.split(":")[0], enabled=precision == torch.float16),
        progress=Progress(images_per_forward=stage.images_per_forward or stage.images_per_step),
        device=device,
        precision=precision,
        settings=stage.optimizer,
        seed=stage_seed(plan, stage),
        scales=()
        if stage.multi_scale == "off"
        else family.multiscale_sides(chain.spec, stage.multi_scale == "expanded"),
    )


def pick_precision(name: str, device: str) -> torch.dtype:
    """auto: bfloat16 where the GPU computes it, float16 on older GPUs, float32 on CPUs."""
    if name == "auto":
        if not device.startswith("cuda"):
            return torch.float32
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float16
        )
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


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
            message = f"never happens: {stage.steps} steps are {epochs} epochs here"
            raise PlanError(
                f"stage {stage.name}: thaw: {epoch}: {thaw.part}",
                message,
                "an earlier epoch, or more steps",
            )


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
        message = f"no objects in {len(chosen)} of {len(valid.records)} validation images"
        raise PlanError(f"stage {stage.name}: monitor", message, "images with objects")
    return replace(data, splits={**data.splits, "valid": replace(valid, records=chosen)})


def evaluator(
    context: StageContext, learner: Learner
) -> Callable[[Callable[[], None]], dict[str, float]]:
    """What a stage calls between epochs: figures of the learner's model as it is, on the monitored
    images.
    """
    watched, workers = monitored(context.data, context.stage), context.stage.workers

    def figures(tick: Callable[[], None]) -> dict[str, float]:
        images = learner.progress.images_per_forward
        return measure(watched, "valid", learner.chain, images, workers, tick).figures()

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
    """Detections of the chain as it is in one split of the data, with the ground truth; see
    `evaluate`.
    """
    kinds = ("box", "mask") if chain.has_masks else ("box",)
    records = data.splits[part].records
    metrics = CocoMetrics(records, data.classes, kinds, detections_needed(data.most_objects))
    return evaluate(chain, records, metrics, images_per_forward, workers, tick, view)


def card_of(context: StageContext, chain: Chain, weights: ModelWeights | None) -> Card:
    """What every checkpoint of a stage says of itself."""
    data = context.data
    return Card(
        spec=chain.spec,
        plan=context.plan.name,
        stage=context.name,
        task=context.stage.task,
        came_from=weights.came_from if weights is not None else {},
        data={
            "sha256": data.manifest,
            "classes": dict(zip(data.classes, data.ids, strict=True)),
            **data.counts(),
        },
        code={
            "segue": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    )
