"""What a person sees while segue works: plain lines, and a progress bar where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segue.errors import printable
from segue.training import processes
from segue.training.selection import better
from segue.training.stage import Stage

SHOWN_EVERY = 30.0  # seconds between progress lines where there is no terminal


class Console:
    """Lines to standard error, so that standard output stays free for results.

    Other processes stay silent.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.rich = Rich(stderr=True, highlight=False, soft_wrap=True)
        self.quiet = quiet or processes.rank() != 0
        self.bar: Progress | None = None

    def say(self, line: str) -> None:
        if not self.quiet and processes.rank() == 0:
            self.rich.print(printable(line), markup=False)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar; the function it gives is called with how much is done of how much."""
        if self.quiet or not self.rich.is_terminal:
            yield _Lines(self, what)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.rich, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Shows a stage's steps as a bar over all its epochs, and a line for each finished epoch."""
        name = stage.folder.name
        with self.progress(name) as tick:
            began = time.monotonic()
            evaluate = stage.evaluate

            def watch(numbers: dict[str, float]) -> None:
                tick(int(numbers["step"]), stage.steps)

            def measured(check: Callable[[], None]) -> dict[str, float]:
                metrics = evaluate(check)
                shown = "  ".join(f"{k} {metrics[k]:.3f}" for k in _shown(metrics, stage.metric))
                progress = stage.learner.progress
                best, epoch = progress.best, progress.epoch + bool(progress.steps)
                at = f"epoch {epoch}/{stage.epochs}"
                if stage.training.evaluate_every_steps is not None:
                    at = f"step {progress.steps}/{stage.steps}"
                star = " *" if epoch and better(metrics[stage.metric], best) else ""
                seconds = time.monotonic() - began
                self.say(f"{name}  {at}  {shown}{star}  {seconds:.0f} s")
                return metrics

            stage.watch, stage.evaluate = watch, measured
            yield


def _shown(metrics: dict[str, float], metric: str) -> list[str]:
    kinds = dict.fromkeys([metric.split("_")[0], *(name.split("_")[0] for name in metrics)])
    return [
        f"{kind}_{what}" for kind in kinds for what in ("ap", "ap50") if f"{kind}_{what}" in metrics
    ]


class _Lines:
    """Progress where there is no terminal: a line now and then."""

    def __init__(self, console: Console, what: str) -> None:
        self.console, self.what, self.began, self.last = (
            console,
            what,
            time.monotonic(),
            time.monotonic(),
        )

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last > SHOWN_EVERY:
            self.last = now
            left = (now - self.began) / max(done, 1) * (total - done)
            self.console.say(f"{self.what}: {done}/{total}, about {left:.0f} s left")
