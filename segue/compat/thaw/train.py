"""Fine-tune DETR or Conditional DETR as a configuration file says: backbone frozen, thawed, or
thawed later.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from segue.compat.thaw.config import read
from segue.compat.thaw.plan import plan_of, pretrained
from segue.errors import show
from segue.evaluation.outcome import read_outcome
from segue.models.weights import foreign
from segue.run.console import Console
from segue.run.runner import run_plan
from segue.training import checkpoint, processes
from segue.training.journal import read_rows
from segue.training.selection import kept

OWNER = "run.txt"  # says which run of segue's a version belongs to


def parse(default: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=default)
    parser.add_argument("--gpu", type=int, help="number of the GPU; by default the first there is")
    return parser.parse_args()


def command(default: Path) -> None:
    """default: the configuration that is read where none is named."""
    args = parse(default)
    config = read(args.config)
    start = config.train.checkpoint_path or pretrained(config)
    device = "auto" if args.gpu is None else f"cuda:{args.gpu}"
    plan = plan_of(config, args.config, start, device)
    run = run_plan(plan, Console())
    if processes.rank() == 0:
        report(run, leave_promised(run, args.config))


def report(run: Path, version: Path) -> None:
    for path in sorted((version / "checkpoints").glob("*.ckpt")):
        show(path)
    figures = read_outcome(run / "1-tune").valid.figures
    show(
        f"valid: box_ap {figures['box_ap']:.3f}, box_ap50 {figures['box_ap50']:.3f}; report "
        f"{run / 'report.html'}"
    )


def leave_promised(run: Path, config: Path) -> Path:
    """lightning_logs/version_N with checkpoints/, config.yaml, hparams.yaml and the TensorBoard
    events.
    """
    stage, version = run / "1-tune", version_of(run)
    (version / "checkpoints").mkdir(parents=True, exist_ok=True)
    (version / OWNER).write_text(run.name + "\n", encoding="utf-8")
    losses = train_losses(stage)
    for folder, card in kept(stage) or [
        (stage / "selected", checkpoint.read_card(stage / "selected"))
    ]:
        loss = losses.get(card.epoch, float("nan"))
        name = f"best_epoch={card.epoch - 1}-step={card.step}-train_loss={loss:.4f}.ckpt"
        write_ckpt(folder, version / "checkpoints" / name)
    # taken over from an earlier run
    last = stage / "last" if (stage / "last").is_dir() else stage / "selected"
    write_ckpt(last, version / "checkpoints" / "last.ckpt")
    shutil.copyfile(config, version / "config.yaml")
    (version / "hparams.yaml").write_text(
        (run / "plan.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    for events in (stage / "tb").glob("events.*"):
        shutil.copyfile(events, version / events.name)
    return version


def version_of(run: Path) -> Path:
    """The version that belongs to a run, or the next free one; those of other runs and programs are
    left alone.
    """
    versions = {path: path / OWNER for path in run.parent.parent.glob("version_*")}
    for path, note in versions.items():
        if note.is_file() and note.read_text().strip() == run.name:
            return path
    tails = [path.name.removeprefix("version_") for path in versions]
    newest = max((int(tail) for tail in tails if tail.isdigit()), default=-1)
    return run.parent.parent / f"version_{newest + 1}"


def train_losses(stage: Path) -> dict[int, float]:
    """The mean loss of each epoch, counted from 1."""
    by_epoch: dict[int, list[float]] = {}
    for row in read_rows(stage / "steps.csv"):
        by_epoch.setdefault(int(row["epoch"]), []).append(row["loss"])
    return {epoch: sum(values) / len(values) for epoch, values in by_epoch.items()}


def write_ckpt(folder: Path, target: Path) -> None:
    """A segue checkpoint as one file in Lightning's layout: tensors and plain values only."""
    card, tensors = checkpoint.read(folder)
    content = {
        "state_dict": tensors,
        "epoch": card.epoch - 1,
        "global_step": card.step,
        "hyper_parameters": {
            "class_names": list(card.spec.classes),
            "category_ids": card.data.get("classes", {}),
            "model": card.spec.model_dump(mode="json"),
        },
    }
    foreign.write_pickle(target, content)
