"""A stage from its first epoch to its last: train, evaluate, select, save, and stop when asked to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import Field

from segue.base.settings import Settings
from segue.errors import Interrupted
from segue.models.parts.chain import span
from segue.structures.target import Batch
from segue.training import bad_step, checkpoint, disk, processes
from segue.training.checkpoint import Card, PartSummary
from segue.training.freeze import FrozenProof
from segue.training.journal import Journal
from segue.training.learner import Learner
from segue.training.loop import train_epoch
from segue.training.optim import Thaw
from segue.training.selection import better, keep_evaluated
from segue.training.signals import stop_signals

NOTHING = 0.001  # a metric up to this is of a model that finds nothing yet
MOST_FAILED_SAVES = 3  # in a row, before a stage gives up


class EarlyStop(Settings):
    """Stop after `patience` evaluations in which the stage's metric did not rise by more than
    `min_delta`; 0: never.

    They count from where something is found (a metric above 0.001): before that there is nothing to
    lose.
    """

    patience: int = Field(10, ge=0)
    min_delta: float = Field(0.001, ge=0)


class Training(Settings):
    """How long and in what pieces a stage trains.

    epochs, or steps: how long; a step is one update of the weights. evaluate_every_steps: how often
    it is evaluated and may be selected, and at the end; after each epoch if left open.
    images_per_step: images behind each update. images_per_forward: images in memory at once, all of
    the step if left open; lowered by itself when memory runs out. ema: decay of the averaged
    weights that are evaluated and kept; null for none. keep: of how many evaluations, the best by
    the stage's metric, the weights stay on disk; the first of them is `selected`.
    """

    epochs: int | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    evaluate_every_steps: int | None = Field(None, gt=0)
    images_per_step: int = Field(16, gt=0)
    images_per_forward: int | None = Field(None, gt=0)
    workers: int = Field(2, ge=0)
    ema: float | None = Field(0.993, gt=0, lt=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    multi_scale: Literal["off", "standard", "expanded"] = "off"
    early_stop: EarlyStop = EarlyStop()
    keep: int = Field(1, ge=1)
    save_every_steps: int | None = Field(None, gt=0)
    save_every_minutes: float = Field(5.0, gt=0)


@dataclass(slots=True)
class Stage:
    """One stage's training, to be run by `fit`.

    batches(epoch, start): the steps of an epoch from step `start` on. evaluate(tick): metrics of
    the current weights; it calls tick between batches. metric: the one that selects. card: what all
    checkpoints of the stage share. proof: of what is frozen; a thaw checks it and makes a new one.
    thaw: what, after how many epochs. journal: None in all processes but the first. images: files
    of the training part, by position. unsaved: what is written as soon as the disk has room for it
    again.
    """

    learner: Learner
    training: Training
    steps_per_epoch: int
    batches: Callable[[int, int], Iterable[Batch]]
    evaluate: Callable[[Callable[[], None]], dict[str, float]]
    metric: str
    folder: Path
    card: Card
    journal: Journal | None
    proof: FrozenProof
    thaw: Mapping[int, Thaw]
    say: Callable[[str], None]
    watch: Callable[[dict[str, float]], None] = lambda numbers: None
    images: Sequence[Path] = ()
    unsaved: list[Callable[[], None]] = field(default_factory=list)
    failed_saves: int = 0
    saved_at: float = 0.0
    seen_split: int = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole stage, if it is not stopped early."""
        return self.training.steps or (self.training.epochs or 1) * self.steps_per_epoch

    @property
    def epochs(self) -> int:
        return -(-self.steps // self.steps_per_epoch)

    @property
    def epoch_ends(self) -> int:
        """After which of the stage's steps the current epoch ends."""
        progress = self.learner.progress
        return min(progress.steps - progress.step + self.steps_per_epoch, self.steps)

    @property
    def next_evaluation(self) -> int:
        """After which of the stage's steps the next evaluation is due."""
        every = self.training.evaluate_every_steps
        if every is None:
            return self.epoch_ends
        return min((self.learner.progress.evaluated // every + 1) * every, self.steps)


def fit(stage: Stage) -> None:
    """Train until the last epoch or early stopping; `selected` then holds what the next stage
    starts from.

    Raises:
        Interrupted: after SIGTERM or SIGINT, with everything saved in `last`.
        TrainingError: if training cannot go on; what was saved before stays.
    """
    learner, progress = stage.learner, stage.learner.progress
    stage.saved_at, stage.seen_split = time.monotonic(), progress.images_per_forward
    with stop_signals() as received:

        def tick() -> None:
            """Between two batches of anything: stop here if asked to."""
            if processes.anywhere(bool(received)):
                raise Interrupted(received[0] if received else signal.SIGTERM)

        def after_step(numbers: dict[str, float]) -> None:
            if stage.journal is not None:
                stage.journal.step(numbers)
            _say_if_split(stage)
            stage.watch(numbers)
            every = stage.training.save_every_steps
            late = (time.monotonic() - stage.saved_at) / 60 > stage.training.save_every_minutes
            # saving is a thing of all
            if (every and progress.steps % every == 0) or processes.anywhere(late):
                _save_last(stage)
            tick()

        try:
            if progress.steps == 0:
                _before_training(stage, tick)
            while progress.epoch < stage.epochs and not _stopped_early(stage):
                if progress.step == 0 and progress.epoch in stage.thaw:
                    _thaw(stage, stage.thaw[progress.epoch])
                count = min(stage.epoch_ends, stage.next_evaluation) - progress.steps
                # loads none after them
                batches = islice(stage.batches(progress.epoch, progress.step), max(count, 0))
                keep_bad = partial(
                    bad_step.keep, stage.folder, learner, partial(_card, stage, {}), stage.images
                )
                train_epoch(
                    learner, batches, stage.steps, stage.steps_per_epoch, after_step, keep_bad
                )
                _pause(stage, tick)
            tick()  # the last evaluation is long, and the next stage must not begin
            if progress.epoch < stage.epochs:
                stage.say(
                    f"stopped early after epoch {progress.epoch}: {stage.metric} has not risen "
                    f"for {progress.stale} "
                    "evaluations (early_stop.patience; 0 never stops)"
                )
        except Interrupted as stop:
            if not stop.at_once:
                # here, because averaged weights under evaluation are swapped back by now
                _save_last(stage, final=True)
            raise
    _save_last(stage, final=True)


def _before_training(stage: Stage, tick: Callable[[], None]) -> None:
    """Epoch 0 of the record: what the stage was handed, or what random weights do.

    Never selected.
    """
    stage.learner.chain.eval()
    metrics = stage.evaluate(tick)
    if stage.journal is not None:
        stage.journal.epoch({"epoch": 0, "step": 0, **metrics}, 0)


def _thaw(stage: Stage, thaw: Thaw) -> None:
    """Prove that what was frozen until now did not move, and let what thaws and all behind it
    learn.
    """
    learner = stage.learner
    proof = stage.proof.check(learner.chain)
    stage.say(proof)
    warmup = (
        learner.schedule.thaw_warmup_epochs if thaw.warmup_epochs is None else thaw.warmup_epochs
    )
    learner.thaw(
        span(thaw.part, learner.chain.order)[0], thaw.lr_factor, warmup * stage.steps_per_epoch
    )
    stage.proof = FrozenProof.of(learner.chain)
    learns = sum(p.numel() for p in learner.chain.parameters() if p.requires_grad)
    stage.say(f"epoch {learner.progress.epoch + 1}: {thaw.part} thaws, {learns:,} parameters learn")
    if stage.journal is not None:
        stage.journal.event(
            "thaw", part=thaw.part, step=learner.progress.steps, learns=learns, proof=proof
        )


def _say_if_split(stage: Stage) -> None:
    """A line when memory ran out and the steps are now made of smaller parts."""
    images = stage.learner.progress.images_per_forward
    if images < stage.seen_split:
        stage.say(
            f"out of memory: steps now run in parts of {images} images; the result is the same"
        )
        if stage.journal is not None:
            stage.journal.event(
                "out of memory", step=stage.learner.progress.steps, images_per_forward=images
            )
    stage.seen_split = images


def _pause(stage: Stage, tick: Callable[[], None]) -> None:
    """After an epoch, and wherever an evaluation is due: evaluate, keep the best weights, write
    everything down.
    """
    learner, progress = stage.learner, stage.learner.progress
    epoch, ended, due = (
        progress.epoch + 1,
        progress.steps == stage.epoch_ends,
        progress.steps == stage.next_evaluation,
    )
    if due and learner.ema is not None:
        with learner.ema.applied(learner.chain):
            progress.metrics = _evaluated(stage, tick)
    elif due:
        progress.metrics = _evaluated(stage, tick)
    if ended:
        progress.epoch, progress.step = epoch, 0
    if not due:
        return
    progress.evaluated = progress.steps
    if stage.journal is not None:
        stage.journal.epoch(
            {"epoch": epoch, "step": progress.steps, **progress.metrics}, progress.steps
        )
    if (
        learner.schedule.kind == "plateau"
        and progress.stale
        and progress.stale % learner.schedule.patience == 0
    ):
        progress.drops += 1
    _save_last(stage)


def _evaluated(stage: Stage, tick: Callable[[], None]) -> dict[str, float]:
    """Metrics of the weights as they stand; writes `selected` if they are better than any before."""
    progress = stage.learner.progress
    stage.learner.chain.eval()
    metrics = stage.evaluate(tick)
    value = metrics[stage.metric]
    stop = stage.training.early_stop
    card = _card(stage, metrics).model_copy(update={"epoch": progress.epoch + 1})
    best = better(value, progress.best)
    rose = progress.best is None or value > progress.best + stop.min_delta
    if best:
        progress.best, progress.best_epoch = value, progress.epoch + 1
    progress.stale = 0 if rose or (progress.best or 0.0) <= NOTHING else progress.stale + 1
    if processes.rank() == 0:
        keep = partial(keep_evaluated, stage.folder, card, best, stage.training.keep)
        weights = stage.learner.chain.state_dict()
        try:
            _write_unsaved(stage)  # in their order: what is written last is what is selected
            keep(weights)
        except OSError:  # the weights will have moved on by the time the disk has room
            stage.unsaved.append(
                partial(keep, {n: t.detach().to("cpu", copy=True) for n, t in weights.items()})
            )
    return metrics


def _write_unsaved(stage: Stage) -> None:
    """Write the evaluated weights that wait for room on the disk."""
    while stage.unsaved:
        stage.unsaved[0]()
        stage.unsaved.pop(0)


def _stopped_early(stage: Stage) -> bool:
    """Whether patience has run out; never while a thaw is still to come, which is what the stage is
    for.
    """
    patience, progress = stage.training.early_stop.patience, stage.learner.progress
    return (
        bool(patience)
        and progress.stale >= patience
        and progress.epoch > max(stage.thaw, default=-1)
    )


def _save_last(stage: Stage, final: bool = False) -> None:
    """Write `last`, after all that it builds on. A disk that fails costs nothing that was saved
    before; only repeated failure ends the stage.
    """
    stage.saved_at = time.monotonic()
    if processes.rank() == 0:
        state = {**stage.learner.state_dict(), "metric": stage.metric}
        weights = stage.learner.chain.state_dict()
        try:
            if stage.journal is not None:
                stage.journal.flush()
            _write_unsaved(stage)
            card = _card(stage, stage.learner.progress.metrics)
            checkpoint.write(stage.folder / "last", weights, card, state, keep_previous=True)
            stage.failed_saves = 0
        except OSError as error:
            stage.failed_saves += 1
            stage.say(
                f"could not save {stage.folder / 'last'} ({error}); the checkpoint before it is "
                "kept"
            )
            if final or stage.failed_saves >= MOST_FAILED_SAVES:
                found = f"saving failed {stage.failed_saves} times"
                raise disk.full(
                    stage.folder, found, error, disk.size_of([weights, state])
                ) from None
    processes.barrier()


def _card(stage: Stage, metrics: dict[str, float]) -> Card:
    progress, chain = stage.learner.progress, stage.learner.chain
    return stage.card.model_copy(
        update={
            "epoch": progress.epoch,
            "step": progress.steps,
            "metrics": metrics,
            "selected_by": stage.metric,
            "parts": {
                name: PartSummary.of(chain.part(name), name in chain.frozen) for name in chain.order
            },
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )
