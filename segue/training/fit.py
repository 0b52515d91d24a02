"""A stage from its first epoch to its last: train, evaluate, select, save, and stop on demand."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from itertools import islice

from segue.errors import Interrupted
from segue.models.parts.chain import span
from segue.models.weights.card import Card, PartSummary
from segue.training import bad_step, checkpoint, disk, processes
from segue.training.freeze import FrozenProof
from segue.training.loop import train_epoch
from segue.training.optim import Thaw
from segue.training.selection import better, keep_evaluated
from segue.training.signals import stop_signals
from segue.training.stage import Stage

NOTHING = 0.001  # a metric up to this is of a model that detects nothing yet
MOST_FAILED_SAVES = 3  # in a row, before a stage gives up


def fit(stage: Stage) -> None:
    """Train until the last epoch or early stopping; `selected` then holds what the next stage
    starts from.

    Raises:
        Interrupted: after SIGTERM or SIGINT, with everything saved in `last`.
        TrainingError: if training cannot go on; what was saved before stays.
    """
    learner, progress = stage.learner, stage.learner.progress
    stage.saved_at, stage.seen_split = time.monotonic(), progress.images_per_forward
    stage.reporter.on_begin(stage)
    with stop_signals() as received:

        def tick() -> None:
            """Between two batches of anything: stop here if asked to."""
            if processes.anywhere(bool(received)):
                raise Interrupted(received[0] if received else signal.SIGTERM)

        def after_step(numbers: dict[str, float]) -> None:
            if stage.journal is not None:
                stage.journal.step(numbers)
            _say_if_split(stage)
            stage.reporter.on_step(stage, numbers)
            every = stage.training.save_every_steps
            late = (time.monotonic() - stage.saved_at) / 60 > stage.training.save_every_minutes
            # by all processes or none, because all of them wait until it is written
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
                # cut here, so that the workers load no batch behind the last one that is used
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
                stage.reporter.say(
                    f"stopped early after epoch {progress.epoch}: {stage.metric} has not improved "
                    f"for {progress.stale} evaluations (early_stop.patience; 0 never stops)"
                )
        except Interrupted as stop:
            if not stop.at_once:
                # here, where the EMA that was being evaluated is swapped out again
                _save_last(stage, final=True)
            raise
    _save_last(stage, final=True)


def _before_training(stage: Stage, tick: Callable[[], None]) -> None:
    """Epoch 0 of the record, never selected: what the stage was handed, or what random weights
    do.
    """
    stage.learner.chain.eval()
    metrics = stage.evaluate(tick)
    stage.reporter.on_evaluated(stage, metrics)
    if stage.journal is not None:
        stage.journal.epoch({"epoch": 0, "step": 0, **metrics}, 0)


def _thaw(stage: Stage, thaw: Thaw) -> None:
    """Prove that what was frozen until now did not move, and let what thaws learn, with all parts
    behind it.

    Raises:
        TrainingError: if a frozen value moved.
    """
    learner = stage.learner
    proof = stage.proof.check(learner.chain)
    stage.reporter.say(proof)
    warmup = (
        learner.schedule.thaw_warmup_epochs if thaw.warmup_epochs is None else thaw.warmup_epochs
    )
    learner.thaw(
        span(thaw.part, learner.chain.order)[0], thaw.lr_factor, warmup * stage.steps_per_epoch
    )
    stage.proof = FrozenProof.of(learner.chain)
    learns = sum(p.numel() for p in learner.chain.parameters() if p.requires_grad)
    stage.reporter.say(
        f"epoch {learner.progress.epoch + 1}: {thaw.part} thaws, {learns:,} parameters learn"
    )
    if stage.journal is not None:
        stage.journal.event(
            "thaw", part=thaw.part, step=learner.progress.steps, learns=learns, proof=proof
        )


def _say_if_split(stage: Stage) -> None:
    """A line when memory ran out and the steps are now made of smaller micro-batches."""
    images = stage.learner.progress.images_per_forward
    if images < stage.seen_split:
        stage.reporter.say(
            f"out of memory: gradients now accumulate over micro-batches of {images} images; "
            "the result is the same"
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
    """Metrics of the weights as they stand; writes `selected` if they are the best so far."""
    progress = stage.learner.progress
    stage.learner.chain.eval()
    metrics = stage.evaluate(tick)
    stage.reporter.on_evaluated(stage, metrics)
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
            stage.reporter.say(
                f"could not save {stage.folder / 'last'} ({error}); the checkpoint before it is "
                "kept"
            )
            if final or stage.failed_saves >= MOST_FAILED_SAVES:
                message = f"saving failed {stage.failed_saves} times"
                raise disk.full(
                    stage.folder, message, error, disk.size_of([weights, state])
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
