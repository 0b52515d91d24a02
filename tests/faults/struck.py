"""Runs in processes of their own, which signal themselves at a chosen place: forked from one that
has imported segue and computed nothing, so that a run begins in a fraction of a second and no
thread of a parent is missing in it.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import segue.run.runner
from segue.cli.app import main
from segue.evaluation import bootstrap
from segue.run import results
from segue.run.notes import read_note
from segue.training import checkpoint
from tests.conftest import toy_plan, write_plan
from tests.toy import losses, same_tensors

# What is struck, by a word; `between` is what lies between two trainings, before the first and
# after the last.
PLACES = {
    "step": ("segue.training.loop", "train_step"),
    "validation": ("segue.training.fit", "_evaluated"),
    "saving": ("segue.training.checkpoint", "write"),
    "thaw": ("segue.training.fit", "_thaw"),
}
BETWEEN = "between"


@dataclass(frozen=True)
class Blow:
    """Signals that a run sends itself, one after the other, in the `call`-th call (from 1) of a
    place, after so many events there: functions entered or left.
    """

    place: str
    call: int
    event: int = 0
    signals: tuple[int, ...] = (signal.SIGKILL,)


class Striker:
    """Strikes once, or else counts what happens in the places of a run. calls: how many events each
    call took.

    Only the call that is to be struck is counted then: counting all that happens doubles the time
    of a toy.
    """

    def __init__(self, blow: Blow | None) -> None:
        self.blow = blow
        self.calls: dict[str, list[int]] = {}
        self.seen = 0

    def count(self, _frame: FrameType, _event: str, _argument: object) -> None:
        self.seen += 1
        if self.blow is not None and self.seen > self.blow.event:
            sys.setprofile(None)
            for number in self.blow.signals:
                os.kill(os.getpid(), number)

    def enter(self, place: str) -> None:
        calls = self.calls.setdefault(place, [])
        calls.append(-self.seen)
        if self.is_struck(place):
            sys.setprofile(self.count)

    def leave(self, place: str) -> None:
        if self.is_struck(place):
            # a call that ends too early for the blow is not struck, and nothing behind it is
            sys.setprofile(None)
        self.calls[place][-1] += self.seen

    def is_struck(self, place: str) -> bool:
        """Whether the newest call of a place is that of the blow."""
        return self.blow is not None and (self.blow.place, self.blow.call) == (
            place,
            len(self.calls[place]),
        )

    def watch(self, module: Any, name: str, place: str, inside: bool = True) -> None:
        """Count in every call of a function, or else between its calls."""
        function = getattr(module, name)
        before, after = (self.enter, self.leave) if inside else (self.leave, self.enter)

        @wraps(function)
        def watched(*arguments: Any, **options: Any) -> Any:
            before(place)
            try:
                return function(*arguments, **options)
            finally:
                after(place)

        setattr(module, name, watched)


def command(plan: Path, blow: Blow | None, counts: Path | None) -> None:
    """What the process does: `segue run`, watched. Drawing curves and resampling images, which take
    half of a toy's time, are left out.
    """
    os.dup2(os.open(plan.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    torch.set_num_threads(1)
    results.render = lambda *_: "no curves"  # pyrefly: ignore[bad-assignment]  # here only
    bootstrap.RESAMPLES = 1  # pyrefly: ignore[bad-assignment]  # here only
    striker = Striker(blow)
    if counts is not None:
        sys.setprofile(striker.count)
    for place, (module, name) in PLACES.items():
        striker.watch(importlib.import_module(module), name, place)
    striker.enter(BETWEEN)
    striker.watch(segue.run.runner, "fit", BETWEEN, inside=False)
    code = main(["run", str(plan)])
    sys.setprofile(None)
    striker.leave(BETWEEN)
    if counts is not None:
        counts.write_text(json.dumps(striker.calls))
    sys.exit(code)


def run(plan: Path, blow: Blow | None = None, counts: Path | None = None) -> tuple[int, str]:
    """The exit code of `segue run PLAN` (-N if signal N ended it), and what it said.

    counts: where to write how much happens in each call of each place.
    """
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["segue.run.runner", "segue.cli.app", "segue.models.rfdetr"])
    process = context.Process(target=command, args=(plan, blow, counts))
    process.start()
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode, plan.with_suffix(".log").read_text()


def three_stages(data: Path, folder: Path, parts: int = 1, **changes: Any) -> tuple[Path, Path]:
    """A plan of steps in so many parts, with a thaw, a cache and two kept epochs; and where its run
    will be.
    """
    common = {
        "images_per_step": 4,
        "images_per_forward": 4 // parts,
        "save_every_steps": 1,
        **changes,
    }
    plan = toy_plan(
        data, folder / "runs", detector=common, masks={**common, "epochs": 1, "cache": {"views": 1}}
    )
    thaw = {"start": "detector", "freeze": "projector", "thaw": {1: "backbone"}, "keep": 2}
    plan["stages"].insert(1, {**plan["stages"][0], "name": "tune", **thaw})
    plan["stages"][2] |= {"start": "tune"}
    folder.mkdir(parents=True, exist_ok=True)
    return write_plan(folder / "plan.yaml", plan), folder / "runs" / "toy-1"


def differences(a: Path, b: Path) -> list[str]:
    """In what two runs differ: files there are, losses, best scores, weights, averages, optimizer,
    random numbers.
    """
    found = sorted(names(a) ^ names(b))
    for folder in (note.folder for note in read_note(a).stages.values()):
        found += [f"{folder}: losses"] if losses(a / folder) != losses(b / folder) else []
        for kind in ("selected", "last"):
            pair = (a / folder / kind, b / folder / kind)
            same = (
                same_tensors(*pair)
                and len({str(checkpoint.read_card(path).metrics) for path in pair}) == 1
            )
            found += [] if same else [f"{folder}/{kind}"]
    return found


def names(folder: Path) -> set[str]:
    """What lies in a run's folder, but for TensorBoard's files: each start begins one."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.parent.name != "tb"
    }
