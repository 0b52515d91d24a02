"""`segue sweep`: every combination of values, each trained as a run of its own, and all of them in one table."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segue.commands.report import compare_runs, write_page
from segue.console import Console
from segue.errors import PlanError, TrainingError
from segue.launch import Job, Local, OnRay, Running, join_ray
from segue.members import Member, members_of
from segue.stages import pick_device
from segue.sweep import SweepFolder, train_members


@dataclass(frozen=True, slots=True)
class Where:
    """Where members are trained. jobs: how many at the same time. devices: one for each of them, or none named.

    threads: of the CPU for each, None for those the sweep began with. on: here or ray.
    """

    on: str = "here"
    jobs: int | None = None
    devices: tuple[str, ...] = ()
    threads: int | None = None

    @property
    def places(self) -> tuple[str | None, ...]:
        """A place for each member that is trained at the same time: its device, or None for the plan's."""
        return self.devices or (None,) * (self.jobs or 1)

    def check(self) -> None:
        """Raises:
        PlanError: if two of these say different things, or a device is not here.
        """
        if self.devices and self.jobs:
            raise PlanError("--jobs", "stands beside --devices", "one of the two: a device is for one member at a time")
        if self.devices and self.on == "ray":
            raise PlanError("--devices", "stands beside --on ray", "one of the two: Ray gives each member its GPU")
        for name, number in (("--jobs", self.jobs), ("--threads", self.threads)):
            if number is not None and number < 1:
                raise PlanError(name, str(number), "1 or more")
        for device in self.devices:
            pick_device(device)


def sweep_plan(path: Path, arguments: Sequence[str], where: Where, console: Console) -> Path:
    """Train what is missing of a sweep, write its report, and return its folder.

    Raises:
        PlanError: if anything is wrong with any member; then none is trained.
        TrainingError: if a member could not be trained to its end, with a line for each; the others were.
        Interrupted: on SIGTERM or SIGINT.
    """
    where.check()
    members = members_of(path, arguments, console)
    usual = max(1, torch.get_num_threads() // len(where.places))
    folder = SweepFolder.open(members, where.threads, usual)
    console.say(f"sweep {folder.path}: {len(members)} members, {folder.threads} threads each")
    start, places = _starter(where, members)
    missing = train_members(folder, members, places, start, console)
    page = compare_runs([folder.path], None, console)
    for line in page.as_text().splitlines():
        console.say(line)
    console.say(f"report: {write_page(page, folder.path)}")
    if missing:
        reasons = [f"{member.name}: {folder.notes[member.name]['reason']}" for member in missing]
        found = "\n  ".join([f"{len(missing)} of {len(members)} members are not complete", *reasons])
        again = shlex.join(["segue", "sweep", str(path), *arguments])
        raise TrainingError(folder.path, found, run=again)
    return folder.path


def _starter(where: Where, members: Sequence[Member]) -> tuple[Callable[[Job], Running], Sequence[str | None]]:
    """How a member is started, and the places there are. Ray knows itself for how many members it has room."""
    if where.on == "here":
        return Local, where.places
    gpus = join_ray() > 0 and any(member.plan.device != "cpu" for member in members)
    places: Sequence[Any] = (None,) * (where.jobs or len(members))

    def start(job: Job) -> OnRay:
        return OnRay(replace(job, device="cuda" if gpus else None), int(gpus))

    return start, places
