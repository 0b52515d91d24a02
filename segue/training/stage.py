"""What one stage's training is: its settings, its state while it runs, and who is shown it.

`segue.training.fit` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from segue.base.settings import Settings
from segue.models.weights.card import Card
from segue.structures.target import Batch
from segue.training.freeze import FrozenProof
from segue.training.journal import Journal
from segue.training.learner import Learner
from segue.training.optim import Thaw


class EarlyStop(Settings):
    """Stop after `patience` evaluations in which the stage's metric did not rise by more than
    `min_delta`; 0: never.

    They count from where something is detected (a metric above 0.001): before that there is nothing
    to lose.
    """

    patience: int = Field(10, ge=0)
    min_delta: float = Field(0.001, ge=0)


class Training(Settings):
    """How long a stage trains, and in what pieces.

    epochs, or steps: how long; a step is one update of the weights. evaluate_every_steps: how often
    the stage is evaluated, and at its end; after each epoch if left open. images_per_step: the
    batch size, images behind each update. images_per_forward: the micro-batch, images in memory at
    once, whose gradients accumulate over the step; all of the step if left open, and halved when
    memory runs out. workers: processes that load images. ema: decay of the exponential moving
    average (EMA) of the weights, which is what is evaluated and kept; null for no EMA. precision:
    of forward and backward; bf16 and fp16 are mixed precision, auto takes what the device does
    well. multi_scale: train at other input sizes, too. keep: of how many evaluations, the best by
    the stage's metric, the weights stay on disk; the first of them is `selected`. save_every_steps,
    save_every_minutes: how often `last` is written, from which a stopped run goes on.
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


class Reporter(Protocol):
    """Shows a stage to a person while it is trained. Nothing of it decides what is trained."""

    def say(self, line: str) -> None:
        """Show a line."""
        ...

    def on_begin(self, stage: Stage) -> None:
        """The stage is built, and goes on from what was saved of it; its first step comes next."""
        ...

    def on_step(self, stage: Stage, numbers: dict[str, float]) -> None:
        """An optimizer step is done: its number ("step", from 1), loss terms and learning rate."""
        ...

    def on_evaluated(self, stage: Stage, metrics: dict[str, float]) -> None:
        """Metrics of the weights as they stand, before the stage takes them for its best or not."""
        ...


@dataclass(slots=True)
class Stage:
    """One stage's training, to be run by `fit`.

    batches(epoch, start): the steps of an epoch from step `start` on. evaluate(tick): metrics of
    the current weights; it calls tick between batches. metric: the one that selects. card: what all
    checkpoints of the stage share. proof: of what is frozen; a thaw checks it and makes a new one.
    thaw: what, after how many epochs. journal: None in all processes but the first. images: files
    of the train split, by position. unsaved: what is written as soon as the disk has room for it
    again. failed_saves: in a row. saved_at: by the monotonic clock, in seconds. seen_split: images
    of the micro-batch when it was last reported.
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
    reporter: Reporter
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
        """Epochs of the whole stage; the last one may be cut short by `steps`."""
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
