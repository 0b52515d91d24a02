"""What the configurations of the noisy-then-manual recipe mean, and what is said of keys and data
that cannot be.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from segue import models
from segue.losses.noise import Noise
from segue.structures.channels import RGB
from segue.training.optim import Schedule
from tests.compat.noisy_then_manual.commands import SHORT, merged, rewrite


def test_the_shipped_files_mean_what_the_text_says_and_warn_of_nothing(plan: Any) -> None:
    first, said = plan("stage1_config.yaml")
    second, more = plan("stage2_config.yaml")
    assert said == more == ""
    for given, steps, every, images, lr, factor, decay, clip in (
        (first, 4000, 800, 2, 3e-5, 0.1, 0.05, 0.01),
        (second, 1500, 300, 1, 8e-5, 0.03, 0.01, 0.003),
    ):
        (stage,) = given.stages
        assert (stage.steps, stage.evaluate_every_steps, stage.images_per_step) == (
            steps,
            every,
            images,
        )
        assert (stage.optimizer.lr, stage.optimizer.lr_factors) == (lr, {"backbone": factor})
        assert (stage.optimizer.weight_decay, stage.optimizer.clip, stage.ema) == (
            decay,
            clip,
            None,
        )
        assert (
            stage.loss == {"classes": 2.0, "mask_bce": 5.0, "dice": 5.0}
            and stage.metric == "mask_ap"
        )
        assert given.model.size == "swin-base"
        wanted = {
            "resolution": 1500,
            "queries": 200,
            "points": 12544,
            "no_object": 0.1,
            "recompute": True,
        }
        assert given.model.options == wanted
    assert [first.data.valid.annotations.name, second.data.valid.annotations.name] == [
        "algorithmic_test_annotations.json", "manual_test_annotations.json",
    ]  # fmt: skip


def test_the_rate_falls_and_warms_up_at_the_iterations_that_are_named(plan: Any) -> None:
    schedule = plan(
        "stage1_config.yaml",
        ("SOLVER.STEPS", "(7, 9)"),
        ("SOLVER.MAX_ITER", 11),
        ("SOLVER.WARMUP_ITERS", 4),
    )[0]
    found = [schedule.stages[0].schedule.at_step(step, 11, 3) for step in range(11)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = (
        plan("stage1_config.yaml", ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"))[0]
        .stages[0]
        .schedule
    )
    assert cosine == Schedule(kind="cosine", warmup_epochs=100 / 3)


def test_swin_may_be_described_in_mask2formers_own_keys(plan: Any) -> None:
    large = {
        "EMBED_DIM": 192,
        "DEPTHS": "(2, 2, 18, 2)",
        "NUM_HEADS": "(6, 12, 24, 48)",
        "WINDOW_SIZE": 12,
    }
    pairs = [
        ("MODEL.BACKBONE.SIZE", "null"),
        *((f"MODEL.SWIN.{key}", value) for key, value in large.items()),
    ]
    assert plan("stage1_config.yaml", *pairs)[0].model.size == "swin-large"
    assert plan("stage1_config.yaml", ("MODEL.BACKBONE.SIZE", "null"))[0].model.size == "swin-base"


def test_levels_planes_and_noise_are_said_in_keys_of_our_own(plan: Any) -> None:
    before = plan("stage1_config.yaml")[0]
    assert before.data.channels == RGB and before.stages[0].noise == Noise()
    levels = [("SEGUE.CHANNEL.SCALE", "percentile"), ("SEGUE.CHANNEL.PLANE", 3)]
    noise = [
        ("SEGUE.NOISE.QUALITY", "false"),
        ("SEGUE.NOISE.BOUNDARY", 1.5),
        ("SEGUE.NOISE.MISSED", 0.6),
    ]
    after = plan("stage1_config.yaml", *levels, *noise)[0]
    assert after.stages[0].noise == Noise(quality=False, boundary=1.5, missed=0.6)
    assert {(channel.scale, channel.plane) for channel in after.data.channels} == {
        ("percentile", 3)
    }
    assert [(c.name, c.mean, c.std) for c in after.data.channels] == [
        (c.name, c.mean, c.std) for c in RGB
    ]
    (twelve,) = {
        c.scale for c in plan("stage2_config.yaml", ("SEGUE.CHANNEL.SCALE", 4095))[0].data.channels
    }
    assert twelve == 4095


def test_a_file_of_the_original_with_dead_keys_is_read_and_each_is_named(
    plan: Any, place: Path
) -> None:
    dead = {
        "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": 0.8,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 1,
    }
    dead |= {"INPUT.COLOR_AUG_SSD": False, "STAGE": 1, "ANNOTATION_TYPE": "algorithmic"}
    dead |= {"DESCRIPTION": "robust features", "PARENT_STAGE": 1}
    fixed = {
        "MODEL.META_ARCHITECTURE": "MaskFormer",
        "MODEL.MASK_FORMER.DEC_LAYERS": 10,
        "VERSION": 2,
    }
    before = plan("stage1_config.yaml")[0]
    rewrite(place / "stage1_config.yaml", dead | fixed)
    after, said = plan("stage1_config.yaml")
    assert after == before and said.count("WARNING") == len(dead) == 7
    lines = (place / "stage1_config.yaml").read_text().splitlines()
    for key in dead:
        (warning,) = [line for line in said.splitlines() if f": {key} has no effect here: " in line]
        number = int(warning.split(":")[2])
        assert key.rpartition(".")[2] in lines[number - 1]


def test_the_manual_test_set_is_measured_but_never_chooses_in_stage_1(plan: Any) -> None:
    for words in (
        "('myotube_stage2_val',)",
        "(myotube_stage1_val, myotube_stage2_val)",
        "[myotube_stage2_val]",
    ):
        found, said = plan("stage1_config.yaml", ("DATASETS.TEST", words))
        assert found.data.valid.annotations.name == "algorithmic_test_annotations.json"
        assert found.data.test.annotations.name == "manual_test_annotations.json"
        assert "myotube_stage2_val is measured at the end and never chooses" in said


def test_without_a_test_file_whole_fields_of_the_training_file_validate(
    plan: Any, place: Path, rendered: Path
) -> None:
    folder = place / "myotube_dataset"
    (folder / "annotations" / "algorithmic_test_annotations.json").unlink()
    path = folder / "annotations" / "algorithmic_train_annotations.json"
    content = json.loads(path.read_text())
    for number, image in enumerate(content["images"]):  # three fields in two colours
        name = f"field{number // 2}_{('green', 'grey')[number % 2]}.png"
        (folder / "images" / image["file_name"]).rename(folder / "images" / name)
        image["file_name"] = name
    path.write_text(json.dumps(content))
    found, said = plan("stage1_config.yaml")
    names = {}
    for part, files in (("train", found.data.train), ("valid", found.data.valid)):
        written = json.loads(files.annotations.read_text())
        names[part] = {image["file_name"].partition("_")[0] for image in written["images"]}
        assert {entry["image_id"] for entry in written["annotations"]} <= {
            image["id"] for image in written["images"]
        }
    assert (
        names["train"] | names["valid"] == {"field0", "field1", "field2"}
        and not names["train"] & names["valid"]
    )
    assert (
        "2 of 6 images of algorithmic_train_annotations.json validate and are not trained on"
        in said
    )


def test_the_short_files_of_the_other_test_are_of_a_size_for_cpus(plan: Any, place: Path) -> None:
    content = merged(yaml.safe_load((place / "stage1_config.yaml").read_text()), SHORT)
    (place / "short.yaml").write_text(yaml.safe_dump(content))
    assert plan("short.yaml")[0].model.size == "pico" and "pico" in models.get("mask2former").SIZES
