"""What a person sees while segue works: lines, and a progress bar where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segue.errors import printable
from segue.training import processes
from segue.training.selection import better
from segue.training.stage import Reporter, Stage

SHOWN_EVERY = 30.0  # seconds between progress lines where there is no terminal


class Console:
    """Lines to standard error, so that standard output stays free for results.

    Processes other than the first stay silent.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.rich = Rich(stderr=True, highlight=False, soft_wrap=True)
        self.quiet = quiet or processes.rank() != 0

    def say(self, line: str) -> None:
        """Show a line."""
        # the rank again, because a console may be older than the group of processes
        if not self.quiet and processes.rank() == 0:
            self.rich.print(printable(line), markup=False)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show a progress bar; call the function it yields with the steps done and their total."""
        if self.quiet or not self.rich.is_terminal:
            yield _ProgressLines(self, what)
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
    def stage(self, name: str) -> Iterator[Reporter]:
        """The reporter of a stage: shows its steps as a bar over all its epochs, and prints a line
        for each evaluation.
        """
        with self.progress(name) as tick:
            yield StageLines(self, name, tick)


class StageLines:
    """The console as the reporter of one stage. tick(done, total): moves its bar."""

    def __init__(self, console: Console, name: str, tick: Callable[[int, int], None]) -> None:
        self.console, self.name, self.tick = console, name, tick
        self.began = time.monotonic()

    def say(self, line: str) -> None:
        self.console.say(line)

    def on_begin(self, stage: Stage) -> None:
        """Show nothing: the line about the resume was printed when its checkpoint was read."""

    def on_step(self, stage: Stage, numbers: dict[str, float]) -> None:
        self.tick(int(numbers["step"]), stage.steps)

    def on_evaluated(self, stage: Stage, metrics: dict[str, float]) -> None:
        """A line with the headline figures; a star marks the best weights so far."""
        progress = stage.learner.progress
        epoch = progress.epoch + bool(progress.steps)  # 0 before the first step
        position = f"epoch {epoch}/{stage.epochs}"
        if stage.training.evaluate_every_steps is not None:
            position = f"step {progress.steps}/{stage.steps}"
        figures = "  ".join(
            f"{name} {metrics[name]:.3f}" for name in _headline(metrics, stage.metric)
        )
        star = " *" if epoch and better(metrics[stage.metric], progress.best) else ""
        seconds = time.monotonic() - self.began
        self.say(f"{self.name}  {position}  {figures}{star}  {seconds:.0f} s")


def _headline(metrics: dict[str, float], metric: str) -> list[str]:
    """Names of the figures that are shown, those of the selecting metric's kind first."""
    kinds = dict.fromkeys([metric.split("_")[0], *(name.split("_")[0] for name in metrics)])
    return [
        f"{kind}_{what}" for kind in kinds for what in ("ap", "ap50") if f"{kind}_{what}" in metrics
    ]


class _ProgressLines:
    """Progress where there is no terminal: a line now and then."""

    def __init__(self, console: Console, what: str) -> None:
        self.console, self.what = console, what
        self.began = self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last > SHOWN_EVERY:
            self.last = now
            left = (now - self.began) / max(done, 1) * (total - done)
            self.console.say(f"{self.what}: {done}/{total}, about {left:.0f} s left")
