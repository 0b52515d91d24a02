"""Trains and evaluates one stage, in one or several processes: what both commands do."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from segue.compat.common import warn
from segue.compat.noisy_then_manual.config import Config
from segue.compat.noisy_then_manual.dataset import files_of
from segue.compat.noisy_then_manual.files import (
    FINAL,
    INFERENCE,
    Logged,
    leave,
    percent,
    progress_of,
    trained,
    unfinished,
)
from segue.compat.noisy_then_manual.plan import channels_of, model_of, plan_of
from segue.data.dataset import DataSet, read_dataset
from segue.errors import CheckpointError, DataError, PlanError, show
from segue.inference.loading import from_card, from_weights, load
from segue.inference.predict import Predictor
from segue.plan.reading import load_plan
from segue.plan.schema import Plan
from segue.run.build import measure
from segue.run.console import Console
from segue.run.folder import PLAN, digest_of, runs_of
from segue.run.notes import read_note
from segue.run.opening import open_weights
from segue.run.results import write_predictions
from segue.run.runner import run_plan
from segue.training import processes
from segue.training.devices import pick_device

STAGE_1 = "python train_two_stage.py --stage 1"


def train(config: Config, where: str, resume: bool, count: int = 1) -> None:
    """Train the stage of a configuration, or go on with it; prints where model_final.pth is.

    count: how many processes do this together.

    Raises:
        PlanError: with `resume`, if what is unfinished has other settings.
    """
    plan = plan_of(config, start_of(config), where, count)
    processes.start(pick_device(plan.device))
    console = Logged(config.OUTPUT_DIR)
    note_others(plan, config.OUTPUT_DIR, resume, console)
    run = run_plan(plan, console)
    if processes.rank() == 0:
        show(leave(run, config))
    processes.barrier()


def start_of(config: Config) -> str | None:
    """What a stage starts from: MODEL.WEIGHTS, or the selected checkpoint behind it if it is a
    stage's result here.
    """
    if not config.MODEL.WEIGHTS:
        warn(
            "MODEL.WEIGHTS: none: training starts from random weights and needs far more images "
            "and iterations"
        )
        return None
    weights = Path(config.MODEL.WEIGHTS)
    if weights.name == FINAL and ((weights.parent / "runs").is_dir() or not weights.is_file()):
        return str(trained(weights.parent, STAGE_1))
    return config.MODEL.WEIGHTS


def note_others(plan: Plan, out: Path, resume: bool, console: Console) -> None:
    """Say that an unfinished run with other settings stays as it is; with `resume`, refuse to begin
    another.
    """
    others = unfinished(out)
    if not others:
        return
    digest = digest_of(plan, [read_dataset(plan.data_of(stage)).manifest for stage in plan.stages])
    if any(read_note(path).digest == digest for path in runs_of(plan)):
        return  # this one goes on, or is complete
    name, stage = list(others.items())[-1]
    before = load_plan(out / "runs" / name / PLAN)
    differing = differences(identity(before), identity(plan)) or ["the data"]
    message = f"{name} ended {progress_of(stage)} with other settings: {', '.join(differing[:3])}"
    if resume:
        raise PlanError(
            "--resume",
            message,
            "the same settings",
            "the same command without --resume for a new run",
        )
    console.say(f"{out}: {message}; it is kept; this is a new run next to it")


def identity(plan: Plan) -> dict[str, Any]:
    return {"MODEL.WEIGHTS": plan.model.weights, **plan.identity(plan.stages[0])}


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Dotted keys of plain values that differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            line
            for key in {**a, **b}
            for line in differences(a.get(key), b.get(key), f"{at}.{key}".strip("."))
        ]
    return [] if a == b else [f"{at} {a} -> {b}"]


def evaluate(config: Config, given: str | None) -> dict[str, float]:
    """The figures of a stage's trained weights, or of those given, on what validates it; printed
    and written.

    Raises:
        HandoverError: if it is not trained.
        DataError: if the weights know no class of the data.
    """
    predictor = open_model(
        given or str(trained(config.OUTPUT_DIR, "the same command without --eval-only")), config
    )
    data = read_dataset(plan_of(config, None, "evaluation").data)
    known = [name for name in predictor.class_names if name in data.classes]
    if not known:
        message = "no class of the weights, which have " + ", ".join(predictor.class_names[:5])
        raise DataError(files_of(config)["valid"].annotations, message, ", ".join(data.classes))
    ids = dict(zip(data.classes, data.ids, strict=True))
    numbers = tuple(ids.get(name, -1) for name in predictor.class_names)
    # the model's classes in its own order
    relabelled = DataSet(data.splits, predictor.class_names, numbers, [], data.manifest)
    with Console().progress("evaluating") as tick:
        total = len(data.splits["valid"].records)
        done = iter(range(1, total + 1))
        metrics = measure(
            relabelled, "valid", predictor.chain, 1, 0, lambda: tick(next(done), total)
        )
    metrics.results = [
        entry for entry in metrics.results if predictor.class_names[entry["category_id"] - 1] in ids
    ]
    figures = percent(metrics.figures())
    (config.OUTPUT_DIR / INFERENCE).mkdir(parents=True, exist_ok=True)
    results = config.OUTPUT_DIR / INFERENCE / "coco_instances_results.json"
    write_predictions(results, metrics, relabelled)
    for kind in ("bbox", "segm"):
        names = [name for name in figures if name.startswith(kind)]
        show(
            f"{kind}: "
            + ", ".join(f"{name.partition('/')[2]} {figures[name]:.2f}" for name in names)
        )
    return figures


def open_model(source: str, config: Config) -> Predictor:
    """The model in a segue checkpoint, a file of this recipe's, or any that the family reads.

    Raises:
        CheckpointError: if it cannot be used.
    """
    device = pick_device("auto" if config.MODEL.DEVICE == "cuda" else config.MODEL.DEVICE)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        return load(source, device)
    model = model_of(config)
    weights = open_weights(source, model)
    if weights.card is not None:
        return from_card(weights, device=device)
    if not any(weights.classes):
        raise CheckpointError(
            source, "class rows without names", "a checkpoint of a stage, or COCO's classes"
        )
    channels, resolution = channels_of(config), config.INPUT.IMAGE_SIZE
    return from_weights(
        weights, model.family, model.size, True, device, channels, resolution=resolution
    )


def check(configs: Iterable[Config], count: int) -> None:
    """Refuse now what would be refused when the stage begins, perhaps hours later.

    Raises:
        SegueError: if a configuration or a data set cannot be.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # a stage warns when it begins
        for config in configs:
            plan_of(config, None, "configuration", count)


def launch(count: int, machines: Sequence[str] = ()) -> None:
    """Start this command again in `count` processes under torchrun, in place of this one; not if it
    is one of them.

    machines: further arguments for torchrun.
    """
    if "LOCAL_RANK" in os.environ or (count == 1 and not machines):
        return
    line = [sys.executable, "-m", "torch.distributed.run", *(machines or ["--standalone"])]
    sys.stdout.flush()
    os.execv(sys.executable, [*line, f"--nproc-per-node={count}", *sys.argv])
