"""The files of the data set that a stage of this recipe reads, in the seed's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segue.base.files import write_json
from segue.base.plugins import nearest
from segue.compat.common import warn
from segue.compat.noisy_then_manual.config import Config
from segue.compat.noisy_then_manual.register_two_stage_datasets import REGISTERED
from segue.data.dataset import SplitFiles
from segue.data.scene_groups import group_of, split_groups
from segue.errors import DataError, PlanError

VALID_SHARE = 0.2  # of the training images, where there is no file to validate on
SETUP = "python setup_two_stage.py"


def kind_of(config: Config) -> str:
    """algorithmic or manual: whose labels the stage learns from."""
    if len(config.DATASETS.TRAIN) != 1:
        raise PlanError(
            "DATASETS.TRAIN",
            f"{len(config.DATASETS.TRAIN)} names",
            "one of " + ", ".join(_names("train")),
        )
    return _registered(config.DATASETS.TRAIN[0], "TRAIN", "train")


def files_of(config: Config) -> dict[str, SplitFiles]:
    """The plan's files by split: train, valid and perhaps test. The stage's own test file
    validates; whatever else is named is measured and chooses nothing.

    Raises:
        DataError: if one that is needed is missing.
    """
    kind, folder = kind_of(config), config.DATASETS.ROOT / "annotations"
    train, valid = (folder / f"{kind}_{split}_annotations.json" for split in ("train", "test"))
    images = config.DATASETS.ROOT / "images"
    if not images.is_dir() or not train.is_file():
        layout = "images/ and annotations/{algorithmic,manual}_train_annotations.json"
        raise DataError(
            train if images.is_dir() else images, "not there", f"{layout} in DATASETS.ROOT", SETUP
        )
    paths = {"train": train, "valid": valid} if valid.is_file() else _divided(train, config)
    for name in config.DATASETS.TEST:
        other = _registered(name, "TEST", "val")
        if other != kind:
            paths["test"] = folder / f"{other}_test_annotations.json"
            warn(
                f"DATASETS.TEST: {name} is measured at the end and never chooses; "
                f"{paths['valid'].name} does"
            )
    return {split: SplitFiles(annotations=path, images=images) for split, path in paths.items()}


def _divided(train: Path, config: Config) -> dict[str, Path]:
    """The training file in two, for lack of one to validate on: whole fields of view, always the
    same.
    """
    content = read_coco(train)
    fields = {group_of(image["file_name"]) for image in content["images"]}
    if len(fields) < 2:
        message = (
            f"images of one field of view ({', '.join(fields)}), and no "
            f"{train.name.replace('train', 'test')}"
        )
        raise DataError(train, message, "a second one to validate on", "label another image")
    shares = {"train": 1 - VALID_SHARE, "valid": VALID_SHARE}
    names = split_groups(
        (image["file_name"] for image in content["images"]), shares, max(config.SEED, 0)
    )
    paths: dict[str, Path] = {}
    for split, chosen_names in names.items():
        images = [image for image in content["images"] if image["file_name"] in set(chosen_names)]
        ids = {image["id"] for image in images}
        objects = [entry for entry in content["annotations"] if entry["image_id"] in ids]
        paths[split] = config.OUTPUT_DIR / "split" / f"{split}_annotations.json"
        split_content = {**content, "images": images, "annotations": objects}
        # each of several processes comes by here
        if not paths[split].is_file() or read_coco(paths[split]) != split_content:
            write_json(paths[split], split_content)
    of = f"{len(names['valid'])} of {len(content['images'])} images of {train.name}"
    warn(
        f"no {train.name.replace('train', 'test')}: {of} validate and are not trained on: "
        f"{', '.join(names['valid'])}"
    )
    return paths


def read_coco(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # every entry has the keys that are read here
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
