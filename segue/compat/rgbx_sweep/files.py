"""What the sweep leaves of a backbone, under the names of its text, while it happens.

<backbone>/checkpoints/   epoch_001_loss_2.3456.pth, best_model.pth, <b>_final.pth (.json),
                          <b>_final_complete.pth
<backbone>/logs/          epoch_metrics.csv, batch_metrics.csv, training_info.json
<backbone>/runs/          segue's own run: report, and what going on needs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from segue.compat.rgbx_sweep.member import Member
from segue.compat.rgbx_sweep.plan import STAGE
from segue.compat.rgbx_sweep.tables import (
    BATCHES,
    EPOCHS,
    append_row,
    batch_row,
    epoch_row,
    now,
    read_table,
    write_table,
)
from segue.data.writing.folders import link
from segue.models import rgbx_rcnn
from segue.models.parts.chain import Chain
from segue.models.weights.card import Card
from segue.run.console import Console
from segue.training import checkpoint, single_file
from segue.training.optim import Schedule
from segue.training.stage import Reporter, Stage


class Followed(Console):
    """Leaves the tables and checkpoints of a backbone while it is trained."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.member = member

    @override
    @contextmanager
    def stage(self, name: str) -> Iterator[Reporter]:
        """Write down what a stage shows, too."""
        with super().stage(name) as shown:
            yield FollowedStage(self.member, shown)


class FollowedStage:
    """The reporter of a backbone's stage that also leaves its tables and checkpoints; `shown` is
    what a person sees.
    """

    def __init__(self, member: Member, shown: Reporter) -> None:
        self.member, self.shown = member, shown
        self.epochs = member.logs / "epoch_metrics.csv"
        self.batches = member.logs / "batch_metrics.csv"

    def say(self, line: str) -> None:
        self.shown.say(line)

    def on_begin(self, stage: Stage) -> None:
        """Begin the tables; rows of an attempt that was killed, behind what it goes on from, are
        removed.
        """
        self.shown.on_begin(stage)
        member, learner = self.member, stage.learner
        member.config, member.model = config_of(stage), size_of(learner.chain)
        member.checkpoints.mkdir(parents=True, exist_ok=True)
        member.logs.mkdir(parents=True, exist_ok=True)
        member.rows = read_table(self.epochs)[: learner.progress.epoch]
        write_table(self.epochs, EPOCHS, member.rows)
        write_table(self.batches, BATCHES, read_table(self.batches)[: learner.progress.steps])
        member.write_info("training")

    def on_step(self, stage: Stage, numbers: dict[str, float]) -> None:
        self.shown.on_step(stage, numbers)
        append_row(self.batches, BATCHES, batch_row(numbers, stage.steps_per_epoch))

    def on_evaluated(self, stage: Stage, metrics: dict[str, float]) -> None:
        self.shown.on_evaluated(stage, metrics)
        if stage.learner.progress.steps:
            self._end_epoch(stage, metrics)
            write_table(self.epochs, EPOCHS, self.member.rows)
            self.member.write_info("training")

    def _end_epoch(self, stage: Stage, metrics: dict[str, float]) -> None:
        """A row for the epoch that has just been measured, and its checkpoint."""
        member, progress = self.member, stage.learner.progress
        epoch, value = progress.epoch + 1, metrics[stage.metric]
        better = progress.best is None or value > progress.best  # as the engine is about to decide
        row = {
            **epoch_row(stage.folder, epoch),
            "is_best": str(better),
            "timestamp": now(),
            "val_ap": f"{value:.9g}",
        }
        path = member.checkpoints / f"epoch_{epoch:03d}_loss_{float(row['avg_loss']):.4f}.pth"
        member.rows.append({**row, "checkpoint_path": str(path)})
        position = {
            "epoch": epoch,
            "step": progress.steps,
            "metrics": metrics,
            "selected_by": stage.metric,
        }
        learner, card = stage.learner, stage.card.model_copy(update=position)
        further = complete(member, card, learner.optimizer.state_dict(), learner.schedule)
        single_file.write(path, card, learner.chain.state_dict(), **further, loss=member.losses[-1])
        if better:
            member.best_model.unlink(missing_ok=True)
            link(path, member.best_model)
        if epoch == 1 and not member.keep_all:
            size = path.stat().st_size / 1e9
            self.say(
                f"{member.backbone}: a checkpoint is {size:.2f} GB; the best and the newest "
                "epoch's stay "
                f"({stage.epochs * size:.1f} GB for all of {stage.epochs}, with --keep-all-epochs)"
            )
        if not member.keep_all:
            prune(member)


def prune(member: Member) -> None:
    """Remove the checkpoints of all epochs but the best and the newest, and their paths from the
    table.
    """
    for row in member.rows:
        if row["checkpoint_path"] and row is not member.best and row is not member.rows[-1]:
            Path(row["checkpoint_path"]).unlink(missing_ok=True)
            row["checkpoint_path"] = ""


def complete(
    member: Member, card: Card, optimizer: Mapping[str, Any], schedule: Schedule
) -> dict[str, Any]:
    """What a complete checkpoint holds next to the weights and their loss."""
    return {
        "epoch": card.epoch,
        "backbone": member.backbone,
        "optimizer_state_dict": dict(optimizer),
        "scheduler_state_dict": scheduler_state(schedule, optimizer, card.epoch),
        **member.best_so_far,
        "val_ap": card.metrics[card.selected_by],
        "config": member.config,
    }


def scheduler_state(schedule: Schedule, optimizer: Mapping[str, Any], epoch: int) -> dict[str, Any]:
    """As torch.optim.lr_scheduler.StepLR keeps its own after so many epochs."""
    step_size = schedule.every_epochs or 1
    gamma = schedule.factor if schedule.every_epochs else 1.0
    rates = [group["base_lr"] for group in optimizer["param_groups"]]
    now_at = [rate * gamma ** (epoch // step_size) for rate in rates]
    state = {"step_size": step_size, "gamma": gamma, "base_lrs": rates, "last_epoch": epoch}
    return {**state, "_step_count": epoch + 1, "_last_lr": now_at}


def leave_final(member: Member, run: Path, schedule: Schedule) -> None:
    """The weights of the last epoch of a finished run, alone and complete."""
    last = run / f"1-{STAGE}" / "last"
    card, tensors = checkpoint.read(last)
    card = card.model_copy(update={"complete": True})
    losses = {
        "loss": member.losses[-1],
        "final_loss": member.losses[-1],
        "epoch_losses": member.losses,
    }
    further = {
        **complete(member, card, checkpoint.read_state(last)["optimizer"], schedule),
        **losses,
    }
    single_file.write(
        member.final.with_name(f"{member.backbone}_final_complete.pth"), card, tensors, **further
    )
    single_file.write_weights(member.final, card, tensors)


def discard_last(run: Path) -> None:
    """Remove what going on would need of a run that is finished and whose files are all written."""
    for name in ("last", "last.previous"):
        checkpoint.discard(run / f"1-{STAGE}" / name)


def config_of(stage: Stage) -> dict[str, Any]:
    """The settings of a training, by the text's names.

    num_classes counts the background, as torchvision does.
    """
    spec, settings = stage.learner.chain.spec, stage.learner.settings
    return {
        "num_epochs": stage.epochs,
        "batch_size": stage.training.images_per_step,
        "learning_rate": settings.lr,
        "momentum": settings.momentum,
        "weight_decay": settings.weight_decay,
        "device": stage.learner.device,
        "num_classes": len(spec.classes) + 1,
        "fpn_out_channels": rgbx_rcnn.SIZES[spec.size].width,
        "class_names": list(spec.classes),
        "channels": list(spec.channel_names),
        "resolution": spec.options["resolution"],
    }


def size_of(chain: Chain) -> dict[str, Any]:
    total = sum(p.numel() for p in chain.parameters())
    learning = sum(p.numel() for p in chain.parameters() if p.requires_grad)
    return {
        "total_parameters": total,
        "trainable_parameters": learning,
        "parameters_M": round(total / 1e6, 2),
    }
