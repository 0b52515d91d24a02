"""From a configuration to the one-stage plan that it means."""

from __future__ import annotations

import torch

from segue.compat.common import chosen, plan_errors, warn
from segue.compat.noisy_then_manual.config import Config, Input, MaskFormer, ModelKeys, Solver
from segue.compat.noisy_then_manual.dataset import files_of, kind_of, read_coco
from segue.data.pipeline.transforms import Augment
from segue.errors import PlanError
from segue.losses.noise import Noise
from segue.models.mask2former import SIZES, Options
from segue.plan.schema import Data, Model, Plan, StagePlan
from segue.structures.channels import RGB, Channel
from segue.training.optim import Optimizer, Schedule
from segue.training.stage import EarlyStop


def plan_of(config: Config, start: str | None, where: str, processes: int = 1) -> Plan:
    """The one-stage plan that a configuration means.

    start: what to begin from, None for new weights. where: what errors name, such as the
    configuration's file. processes: how many will train together.

    Raises:
        PlanError: if keys contradict each other.
        DataError: if a file of the data set is missing.
    """
    with plan_errors(where):
        files, solver = files_of(config), config.SOLVER
        images = len(read_coco(files["train"].annotations)["images"])
        # refusals and warnings come in the order of these lines
        schedule = schedule_of(solver, images)
        augment = augment_of(config.INPUT)
        every = config.TEST.EVAL_PERIOD or solver.MAX_ITER
        if solver.CHECKPOINT_PERIOD not in (0, every):
            warn(
                "SOLVER.CHECKPOINT_PERIOD: weights are kept whenever they are evaluated, every "
                f"{every} iterations"
            )
        device = device_of(config.MODEL.DEVICE, processes)
        model = model_of(config, start)
        stage = StagePlan(
            name=kind_of(config),
            task="joint",
            steps=solver.MAX_ITER,
            evaluate_every_steps=every,
            keep=-(-solver.MAX_ITER // every) if solver.CHECKPOINT_PERIOD else 1,
            images_per_step=solver.IMS_PER_BATCH,
            workers=config.DATALOADER.NUM_WORKERS,
            precision="auto" if solver.AMP.ENABLED else "fp32",
            ema=None,
            early_stop=EarlyStop(patience=0),
            optimizer=optimizer_of(solver),
            schedule=schedule,
            augment=augment,
            noise=noise_of(config),
            loss=loss_weights_of(config.MODEL.MASK_FORMER),
        )
        return Plan(
            name=kind_of(config),
            seed=max(config.SEED, 0),
            device=device,
            runs=config.OUTPUT_DIR / "runs",
            data=Data(
                train=files["train"],
                valid=files["valid"],
                test=files.get("test"),
                channels=channels_of(config),
            ),
            model=model,
            stages=(stage,),
        )


def model_of(config: Config, weights: str | None = None) -> Model:
    """The plan's model."""
    former = config.MODEL.MASK_FORMER
    options = Options(
        resolution=config.INPUT.IMAGE_SIZE,
        queries=former.NUM_OBJECT_QUERIES,
        points=former.TRAIN_NUM_POINTS,
        no_object=former.NO_OBJECT_WEIGHT,
        recompute=config.MODEL.RECOMPUTE,
    )
    size = size_of(config.MODEL)
    return Model(family="mask2former", size=size, weights=weights, **chosen(options))


def channels_of(config: Config) -> tuple[Channel, ...]:
    """The plan's channels: r, g and b, three equal ones of a grey image."""
    keys = config.SEGUE.CHANNEL
    return tuple(
        # by model_validate, which gives r, g and b the mean and deviation of ImageNet
        Channel.model_validate({"name": channel.name, "scale": keys.SCALE, "plane": keys.PLANE})
        for channel in RGB
    )


def size_of(model: ModelKeys) -> str:
    """The size that is named, or that Swin's keys describe.

    Raises:
        PlanError: if there is no such size, or the two are not the same.
    """
    described = {
        key: value for key, value in model.SWIN.model_dump().items() if value not in (None, ())
    }
    fields = {"EMBED_DIM": "embed", "DEPTHS": "depths", "NUM_HEADS": "heads"}
    fields["WINDOW_SIZE"] = "window"
    fitting = [
        name
        for name, size in SIZES.items()
        if all(getattr(size, fields[key]) == value for key, value in described.items())
    ]
    if not fitting:
        keys = ", ".join(f"{key}: {value}" for key, value in described.items())
        raise PlanError("MODEL.SWIN", keys, "those of one of " + ", ".join(SIZES))
    size = model.BACKBONE.SIZE or (fitting[0] if described else "swin-base")
    if size not in SIZES:
        raise PlanError("MODEL.BACKBONE.SIZE", size, "one of " + ", ".join(SIZES))
    if size not in fitting:
        raise PlanError(
            "MODEL.BACKBONE.SIZE",
            f"{size}, but MODEL.SWIN is {' or '.join(fitting)}",
            "one of the two",
        )
    return size


def optimizer_of(solver: Solver) -> Optimizer:
    clip = solver.CLIP_GRADIENTS
    return Optimizer(
        lr=solver.BASE_LR,
        lr_factors={"backbone": solver.BACKBONE_MULTIPLIER},
        weight_decay=solver.WEIGHT_DECAY,
        clip=clip.CLIP_VALUE if clip.ENABLED else 0.0,
    )


def schedule_of(solver: Solver, images: int) -> Schedule:
    """Iterations as shares of the stage and as epochs. images: how many an epoch has."""
    warmup = solver.WARMUP_ITERS / -(-images // solver.IMS_PER_BATCH)
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        warn(
            f"SOLVER.WARMUP_ITERS: {solver.WARMUP_ITERS} are not over in {solver.MAX_ITER} "
            "iterations"
        )
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return Schedule(kind="cosine", warmup_epochs=warmup)
    never = [step for step in solver.STEPS if step >= solver.MAX_ITER]
    if never:
        warn(
            f"SOLVER.STEPS: {', '.join(map(str, never))} never happens in {solver.MAX_ITER} "
            "iterations"
        )
    at = tuple(step / solver.MAX_ITER for step in solver.STEPS if step not in never)
    return Schedule(kind="step", at=at, factor=solver.GAMMA, warmup_epochs=warmup)


def augment_of(given: Input) -> Augment:
    """Flips and crops: enlarging an image by up to MAX_SCALE in its frame is the same as a crop of
    1 / MAX_SCALE of its sides.
    """
    if given.MIN_SCALE < 1:
        warn(
            f"INPUT.MIN_SCALE: {given.MIN_SCALE}: images are enlarged in their frame but never "
            "made smaller"
        )
    least, most = min(given.MIN_SCALE, 1.0), given.MAX_SCALE
    share = min(given.CROP.SIZE) if given.CROP.ENABLED else 1.0
    often = 1.0 if given.CROP.ENABLED else (most - 1) / max(most - least, 1e-9)
    return Augment(
        flip=0.5 * (given.RANDOM_FLIP == "horizontal"),
        vertical_flip=0.5 * (given.RANDOM_FLIP == "vertical"),
        crop=often,
        crop_area=(share / most) ** 2,
    )


def noise_of(config: Config) -> Noise:
    keys = config.SEGUE.NOISE
    return Noise(quality=keys.QUALITY, boundary=keys.BOUNDARY, missed=keys.MISSED)


def loss_weights_of(keys: MaskFormer) -> dict[str, float]:
    return {
        "classes": keys.CLASS_WEIGHT,
        "mask_bce": keys.MASK_WEIGHT,
        "dice": keys.DICE_WEIGHT,
    }


def device_of(name: str, processes: int) -> str:
    """cuda is a GPU if there is one. Several processes need one each; the CPU stands in for all."""
    there = torch.cuda.device_count()
    if processes > max(there, 1):
        warn(f"--num-gpus {processes}: {there} GPUs here; the CPU stands in, in as many processes")
        return "cpu"
    return "auto" if name == "cuda" else name
