"""From a configuration to the one-stage plan that it means, with the files of the data set in the
seed's layout.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from register_two_stage_datasets import REGISTERED
from stage_config import Config, Input, ModelKeys, Solver

from segue.base.files import write_json
from segue.base.plugins import nearest
from segue.base.settings import Settings
from segue.compat.common import warn
from segue.data.scene_groups import group_of, split_groups
from segue.errors import DataError, PlanError
from segue.models.mask2former import SIZES
from segue.structures.channels import RGB, Channel

VALID_SHARE = 0.2  # of the training images, where there is no file to validate on
SETUP = "python setup_two_stage.py"


def plan_of(config: Config, start: str | None, processes: int = 1) -> dict[str, Any]:
    """The plan. start: what to begin from, None for new weights. processes: how many will train
    together.

    Raises:
        PlanError: if keys contradict each other.
        DataError: if a file of the data set is missing.
    """
    solver, test = config.SOLVER, config.TEST
    kind, data = kind_of(config), data_of(config)
    every = test.EVAL_PERIOD or solver.MAX_ITER
    stage = {
        "name": kind,
        "task": "joint",
        "steps": solver.MAX_ITER,
        "evaluate_every_steps": every,
        "keep": -(-solver.MAX_ITER // every) if solver.CHECKPOINT_PERIOD else 1,
        "images_per_step": solver.IMS_PER_BATCH,
        "workers": config.DATALOADER.NUM_WORKERS,
        "precision": "auto" if solver.AMP.ENABLED else "fp32",
        "ema": None,
        "early_stop": {"patience": 0},
        "optimizer": {
            "lr": solver.BASE_LR,
            "lr_factors": {"backbone": solver.BACKBONE_MULTIPLIER},
            "weight_decay": solver.WEIGHT_DECAY,
            "clip": solver.CLIP_GRADIENTS.CLIP_VALUE if solver.CLIP_GRADIENTS.ENABLED else 0.0,
        },
        "schedule": _schedule(solver, len(_coco(data["train"]["annotations"])["images"])),
        "augment": _augment(config.INPUT),
        "noise": _lower(config.SEGUE.NOISE),
        "loss": _loss(config.MODEL),
    }
    if solver.CHECKPOINT_PERIOD not in (0, every):
        warn(
            "SOLVER.CHECKPOINT_PERIOD: weights are kept whenever they are evaluated, every "
            f"{every} iterations"
        )
    return {
        "name": kind,
        "seed": max(config.SEED, 0),
        "device": _device(config.MODEL.DEVICE, processes),
        "runs": config.OUTPUT_DIR / "runs",
        "data": data | {"channels": channels_of(config)},
        "model": model_of(config) | ({"weights": start} if start else {}),
        "stages": [stage],
    }


def model_of(config: Config) -> dict[str, Any]:
    """The plan's model, without weights."""
    former = config.MODEL.MASK_FORMER
    chosen = {
        "family": "mask2former",
        "size": _size(config.MODEL),
        "resolution": config.INPUT.IMAGE_SIZE,
        "queries": former.NUM_OBJECT_QUERIES,
        "points": former.TRAIN_NUM_POINTS,
        "no_object": former.NO_OBJECT_WEIGHT,
        "recompute": config.MODEL.RECOMPUTE,
    }
    return {key: value for key, value in chosen.items() if value is not None}


def channels_of(config: Config) -> tuple[Channel, ...]:
    """The plan's channels: those of weights trained on colour; grey images become three equal ones."""
    keys = _lower(config.SEGUE.CHANNEL)
    return tuple(Channel.model_validate({"name": channel.name, **keys}) for channel in RGB)


def kind_of(config: Config) -> str:
    """algorithmic or manual: whose labels the stage learns from."""
    if len(config.DATASETS.TRAIN) != 1:
        raise PlanError(
            "DATASETS.TRAIN",
            f"{len(config.DATASETS.TRAIN)} names",
            "one of " + ", ".join(_names("train")),
        )
    return _registered(config.DATASETS.TRAIN[0], "TRAIN", "train")


def data_of(config: Config) -> dict[str, Any]:
    """The plan's files. The stage's own test file validates; whatever else is named is measured and
    chooses nothing.

    Raises:
        DataError: if one that is needed is missing.
    """
    kind, folder = kind_of(config), config.DATASETS.ROOT / "annotations"
    train, valid = (folder / f"{kind}_{part}_annotations.json" for part in ("train", "test"))
    images = config.DATASETS.ROOT / "images"
    if not images.is_dir() or not train.is_file():
        layout = "images/ and annotations/{algorithmic,manual}_train_annotations.json"
        raise DataError(
            train if images.is_dir() else images, "not there", f"{layout} in DATASETS.ROOT", SETUP
        )
    parts = {"train": train, "valid": valid} if valid.is_file() else _divided(train, config)
    for name in config.DATASETS.TEST:
        other = _registered(name, "TEST", "val")
        if other != kind:
            parts["test"] = folder / f"{other}_test_annotations.json"
            warn(
                f"DATASETS.TEST: {name} is measured at the end and never chooses; "
                f"{parts['valid'].name} does"
            )
    return {part: {"annotations": path, "images": images} for part, path in parts.items()}


def _divided(train: Path, config: Config) -> dict[str, Path]:
    """The training file in two, for lack of one to validate on: whole fields of view, always the
    same.
    """
    content = _coco(train)
    fields = {group_of(image["file_name"]) for image in content["images"]}
    if len(fields) < 2:
        found = (
            f"images of one field of view ({', '.join(fields)}), and no "
            f"{train.name.replace('train', 'test')}"
        )
        raise DataError(train, found, "a second one to validate on", "label another image")
    shares = {"train": 1 - VALID_SHARE, "valid": VALID_SHARE}
    names = split_groups(
        (image["file_name"] for image in content["images"]), shares, max(config.SEED, 0)
    )
    found = {}
    for part, chosen in names.items():
        images = [image for image in content["images"] if image["file_name"] in set(chosen)]
        ids = {image["id"] for image in images}
        objects = [entry for entry in content["annotations"] if entry["image_id"] in ids]
        found[part] = config.OUTPUT_DIR / "split" / f"{part}_annotations.json"
        wanted = {**content, "images": images, "annotations": objects}
        # each of several processes comes by here
        if not found[part].is_file() or _coco(found[part]) != wanted:
            write_json(found[part], wanted)
    of = f"{len(names['valid'])} of {len(content['images'])} images of {train.name}"
    warn(
        f"no {train.name.replace('train', 'test')}: {of} validate and are not trained on: "
        f"{', '.join(names['valid'])}"
    )
    return found


def _coco(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        [(image["id"], image["file_name"]) for image in content["images"]]
        [entry["image_id"] for entry in content["annotations"]]
        return content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            path, f"not readable ({type(error).__name__}: {error})", "COCO annotations", SETUP
        ) from None


def _registered(name: str, key: str, end: str) -> str:
    known = _names(end)
    if name not in known:
        raise PlanError(f"DATASETS.{key}", f"{name} is not registered", nearest(name, known))
    return REGISTERED[name].partition("_")[0]


def _names(end: str) -> list[str]:
    return [name for name in REGISTERED if name.endswith(end)]


def _size(model: ModelKeys) -> str:
    """The size that is named, or that Swin's keys describe."""
    described = {
        key: value for key, value in model.SWIN.model_dump().items() if value not in (None, ())
    }
    keys = {"EMBED_DIM": "embed", "DEPTHS": "depths", "NUM_HEADS": "heads", "WINDOW_SIZE": "window"}
    fitting = [
        n
        for n, size in SIZES.items()
        if all(getattr(size, keys[k]) == v for k, v in described.items())
    ]
    if not fitting:
        found = ", ".join(f"{key}: {value}" for key, value in described.items())
        raise PlanError("MODEL.SWIN", found, "those of one of " + ", ".join(SIZES))
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


def _schedule(solver: Solver, images: int) -> dict[str, Any]:
    warmup = solver.WARMUP_ITERS / -(-images // solver.IMS_PER_BATCH)
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        warn(
            f"SOLVER.WARMUP_ITERS: {solver.WARMUP_ITERS} are not over in {solver.MAX_ITER} "
            "iterations"
        )
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return {"kind": "cosine", "warmup_epochs": warmup}
    never = [step for step in solver.STEPS if step >= solver.MAX_ITER]
    if never:
        warn(
            f"SOLVER.STEPS: {', '.join(map(str, never))} never happens in {solver.MAX_ITER} "
            "iterations"
        )
    at = [step / solver.MAX_ITER for step in solver.STEPS if step not in never]
    return {"kind": "step", "at": at, "factor": solver.GAMMA, "warmup_epochs": warmup}


def _augment(given: Input) -> dict[str, Any]:
    """Enlarging an image by up to MAX_SCALE in its frame is the same as a crop of 1 / MAX_SCALE of
    its sides.
    """
    if given.MIN_SCALE < 1:
        warn(
            f"INPUT.MIN_SCALE: {given.MIN_SCALE}: images are enlarged in their frame but never "
            "made smaller"
        )
    least, most = min(given.MIN_SCALE, 1.0), given.MAX_SCALE
    share = min(given.CROP.SIZE) if given.CROP.ENABLED else 1.0
    often = 1.0 if given.CROP.ENABLED else (most - 1) / max(most - least, 1e-9)
    return {
        "flip": 0.5 * (given.RANDOM_FLIP == "horizontal"),
        "vertical_flip": 0.5 * (given.RANDOM_FLIP == "vertical"),
        "crop": often,
        "crop_area": (share / most) ** 2,
    }


def _loss(model: ModelKeys) -> dict[str, float]:
    former = model.MASK_FORMER
    return {
        "classes": former.CLASS_WEIGHT,
        "mask_bce": former.MASK_WEIGHT,
        "dice": former.DICE_WEIGHT,
    }


def _lower(keys: Settings) -> dict[str, Any]:
    """A section whose keys are a plan's."""
    return {key.lower(): value for key, value in keys.model_dump().items()}


def _device(name: str, processes: int) -> str:
    """cuda is a GPU if there is one. Several processes need one each; the CPU stands in for all."""
    there = torch.cuda.device_count()
    if processes > max(there, 1):
        warn(f"--num-gpus {processes}: {there} GPUs here; the CPU stands in, in as many processes")
        return "cpu"
    return "auto" if name == "cuda" else name
