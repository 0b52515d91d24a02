"""What a stage leaves in OUTPUT_DIR under the names its text promises, and finding it there again.

runs/<stage>-<n>/    segue's own run: report, checkpoints, what going on needs
model_final.pth      the selected weights, in facebookresearch/Mask2Former's layout;
                     last_checkpoint names it
model_0000799.pth    those of every evaluation, if SOLVER.CHECKPOINT_PERIOD asks for them
log.txt, metrics.json, inference/coco_instances_results.json, config.yaml, events.out.tfevents.*
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from typing_extensions import override

from segue.compat.noisy_then_manual.config import Config
from segue.errors import HandoverError
from segue.models.weights import foreign
from segue.models.weights import mask2former as files
from segue.run.console import Console
from segue.run.notes import read_note
from segue.training import checkpoint, processes
from segue.training.journal import read_rows
from segue.training.selection import kept
from segue.training.stage import Reporter, Stage

FINAL, OWNER, INFERENCE = "model_final.pth", "run.txt", "inference"
LOSSES = {"loss": "total_loss", "classes": "loss_ce", "mask_bce": "loss_mask", "dice": "loss_dice"}
KEYS = {"data.channels.scale": "SEGUE.CHANNEL.SCALE"}
SIZES = {"ap_small": "APs", "ap_medium": "APm", "ap_large": "APl"}


class Logged(Console):
    """Says everything in log.txt, too, and every step and evaluation in metrics.json while they
    happen. A plan's keys have the names of these configurations.
    """

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out
        out.mkdir(parents=True, exist_ok=True)

    @override
    def say(self, line: str) -> None:
        for ours, theirs in KEYS.items():
            line = line.replace(ours, theirs)
        super().say(line)
        if processes.rank() == 0:
            with (self.out / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"[{time.strftime('%m/%d %H:%M:%S')} segue]: {line}\n")

    @override
    @contextmanager
    def stage(self, name: str) -> Iterator[Reporter]:
        """Write down what a stage shows, too."""
        with super().stage(name) as shown:
            yield LoggedStage(self.out, shown)


class LoggedStage:
    """The reporter of a stage that also writes metrics.json; `shown` is what a person sees."""

    def __init__(self, out: Path, shown: Reporter) -> None:
        self.path, self.shown = out / "metrics.json", shown

    def say(self, line: str) -> None:
        self.shown.say(line)

    def on_begin(self, stage: Stage) -> None:
        """Remove lines of a run that was killed, behind the step it goes on from."""
        self.shown.on_begin(stage)
        if processes.rank() == 0:
            write_metrics(stage.folder, self.path)

    def on_step(self, stage: Stage, numbers: dict[str, float]) -> None:
        self.shown.on_step(stage, numbers)
        self._append(step_line(numbers))

    def on_evaluated(self, stage: Stage, metrics: dict[str, float]) -> None:
        self.shown.on_evaluated(stage, metrics)
        if stage.learner.progress.steps:
            self._append(figures_line(stage.learner.progress.steps, metrics))

    def _append(self, line: dict[str, float]) -> None:
        if processes.rank() == 0:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def write_metrics(stage: Path, path: Path) -> None:
    """All steps and evaluations of a stage so far, in order."""
    lines = {row["step"]: [step_line(row)] for row in read_rows(stage / "steps.csv")}
    for row in read_rows(stage / "epochs.csv")[1:]:  # the first is before training
        lines.setdefault(row["step"], []).append(figures_line(int(row["step"]), row))
    text = [json.dumps(line) + "\n" for step in sorted(lines) for line in lines[step]]
    path.write_text("".join(text), encoding="utf-8")


def step_line(row: Mapping[str, float]) -> dict[str, float]:
    """A step as detectron2 writes it; iterations count from 0.

    As many digits as the run's own record has.
    """
    named = {name: row[term] for term, name in LOSSES.items() if term in row}
    named |= {"lr": row["lr"], "time": row["seconds"]}
    return {
        "iteration": int(row["step"]) - 1,
        **{name: float(f"{value:.9g}") for name, value in named.items()},
    }


def figures_line(step: int, figures: Mapping[str, float]) -> dict[str, float]:
    """An evaluation as detectron2 writes it: in percent, after this many steps."""
    return {
        "iteration": step - 1,
        **{name: round(value, 6) for name, value in percent(figures).items()},
    }


def percent(figures: Mapping[str, float]) -> dict[str, float]:
    """segm/AP, segm/AP50, ... bbox/APl; -1 stays COCO's word for "no such objects"."""
    named: dict[str, float] = {}
    for kind, name in (("mask", "segm"), ("box", "bbox")):
        for figure in ("ap", "ap50", "ap75", *SIZES):
            value = figures[f"{kind}_{figure}"]
            key = f"{name}/{SIZES.get(figure, figure.upper())}"
            named[key] = 100 * value if value >= 0 else value
    return named


def leave(run: Path, config: Config) -> Path:
    """Put a finished run's results into OUTPUT_DIR in place of those before; returns
    model_final.pth.
    """
    out = config.OUTPUT_DIR
    _, stage = _runs(out)[run.name]
    write(stage / "selected", out / FINAL)
    write_metrics(stage, out / "metrics.json")
    if config.SOLVER.CHECKPOINT_PERIOD:
        for folder, card in kept(stage):
            write(folder, out / f"model_{card.step - 1:07d}.pth")
    (out / INFERENCE).mkdir(exist_ok=True)
    shutil.copyfile(
        stage / "predictions.coco.json", out / INFERENCE / "coco_instances_results.json"
    )
    for events in (stage / "tb").glob("events.*"):
        shutil.copyfile(events, out / events.name)
    (out / "config.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
    )
    (out / "last_checkpoint").write_text(FINAL, encoding="utf-8")
    (out / OWNER).write_text(run.name + "\n", encoding="utf-8")
    return out / FINAL


def write(folder: Path, target: Path) -> None:
    """A segue checkpoint as one file."""
    card, tensors = checkpoint.read(folder)
    foreign.write_pickle(
        target, files.file_of(tensors, card.spec, card.step, card.data.get("classes", {}))
    )


def unfinished(out: Path) -> dict[str, Path]:
    """Runs in OUTPUT_DIR that did not end, by name, each with the folder of its stage."""
    return {name: stage for name, (state, stage) in _runs(out).items() if state != "complete"}


def trained(out: Path, command: str) -> Path:
    """The weights a finished stage left in OUTPUT_DIR: its selected checkpoint, or the file if that
    is all there is.

    Raises:
        HandoverError: if there is no stage, or the newest did not finish; it says which command to
        type.
    """
    runs = _runs(out)
    finished = [name for name, (state, _) in runs.items() if state == "complete"]
    owner = (out / OWNER).read_text(encoding="utf-8").strip() if (out / OWNER).is_file() else ""
    chosen = owner if owner in finished else finished[-1] if finished else ""
    newer = [name for name in unfinished(out) if not chosen or _number(name) > _number(chosen)]
    if newer:
        state, stage = runs[newer[-1]]
        message = f"is not finished ({state} {progress_of(stage)})"
        raise HandoverError(
            out / "runs" / newer[-1], message, "a finished stage to start from", command
        )
    if chosen:
        return runs[chosen][1] / "selected"
    if (out / FINAL).is_file():
        return out / FINAL
    message = f"no {FINAL}" if out.is_dir() else "no such folder"
    raise HandoverError(out, message, "a finished stage to start from", command)


def progress_of(stage: Path) -> str:
    """How far a stage came."""
    last = stage / "last"
    return (
        f"after step {checkpoint.read_card(last).step}"
        if (last / checkpoint.CARD).is_file()
        else "at its beginning"
    )


def _runs(out: Path) -> dict[str, tuple[str, Path]]:
    """State and stage folder of each run, by name, the oldest first."""
    runs: dict[str, tuple[str, Path]] = {}
    for path in sorted(
        (out / "runs").glob("*/run.json"), key=lambda path: _number(path.parent.name)
    ):
        for note in read_note(path.parent).stages.values():
            runs[path.parent.name] = (note.state, path.parent / note.folder)
    return runs


def _number(name: str) -> int:
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0
