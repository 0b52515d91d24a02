"""`segue sweep`: every combination of values, each trained as a run of its own, and all of them in
one table.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from segue.cli.commands.report import compare_runs, write_page
from segue.errors import PlanError, TrainingError
from segue.run.console import Console
from segue.sweep.combinations import Member, members_of
from segue.sweep.launch import Local, OnRay, Running, SweepJob, join_ray
from segue.sweep.runner import SweepFolder, train_members
from segue.training.devices import pick_device


@dataclass(frozen=True, slots=True)
class Where:
    """Where members are trained. jobs: how many at the same time. devices: one for each of them, or
    none named.

    threads: of the CPU for each, None for those the sweep began with. on: here or ray.
    """

    on: str = "here"
    jobs: int | None = None
    devices: tuple[str, ...] = ()
    threads: int | None = None

    @property
    def places(self) -> tuple[str | None, ...]:
        """A place for each member that is trained at the same time: its device, or None for the
        plan's.
        """
        return self.devices or (None,) * (self.jobs or 1)

    def check(self) -> None:
        """Raises:
        PlanError: if two of these say different things, or a device is not here.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise PlanError(
                "segue sweep",
                "was started by torchrun",
                "one process, which starts the members itself",
            )
        if self.devices and self.jobs:
            raise PlanError(
                "--jobs",
                "cannot be combined with --devices",
                "one of the two: a device is for one member at a time",
            )
        if self.devices and self.on == "ray":
            raise PlanError(
                "--devices",
                "cannot be combined with --on ray",
                "one of the two: Ray gives each member its GPU",
            )
        for name, number in (("--jobs", self.jobs), ("--threads", self.threads)):
            if number is not None and number < 1:
                raise PlanError(name, str(number), "1 or more")
        for device in self.devices:
            pick_device(device)


def sweep_plan(path: Path, arguments: Sequence[str], where: Where, console: Console) -> Path:
    """Train what is missing of a sweep, write its report, and return its folder.

    Raises:
        PlanError: if anything is wrong with any member; then none is trained.
        TrainingError: if a member could not be trained to its end, with a line for each; the others
        were.
        Interrupted: on SIGTERM or SIGINT.
    """
    where.check()
    cluster = join_ray() if where.on == "ray" else None
    members = members_of(path, arguments, console)
    usual = max(1, torch.get_num_threads() // len(where.places))
    folder = SweepFolder.open(members, where.threads, min(usual, cluster[0]) if cluster else usual)
    console.say(
        f"sweep {folder.path}: {len(members)} members, CPU threads of each: {folder.threads}"
    )
    if cluster is None:
        missing = train_members(folder, members, where.places, Local, console)
    else:
        missing = train_members(
            folder, members, *_on_ray(cluster, where.jobs, folder, members), console
        )
    page = compare_runs([folder.path], None, console)
    for line in page.as_text().splitlines():
        console.say(line)
    console.say(f"report: {write_page(page, folder.path)}")
    if missing:
        reasons = [f"{member.name}: {folder.notes[member.name].reason}" for member in missing]
        message = "\n  ".join(
            [f"{len(missing)} of {len(members)} members are not complete", *reasons]
        )
        again = shlex.join(["segue", "sweep", str(path), *arguments])
        raise TrainingError(folder.path, message, next_step=again)
    return folder.path


def _on_ray(
    cluster: tuple[int, int], jobs: int | None, folder: SweepFolder, members: Sequence[Member]
) -> tuple[Sequence[str | None], Callable[[SweepJob], Running]]:
    """Places for all members, because Ray knows itself for how many it has room, and how one is
    started.

    Raises:
        PlanError: if a member needs more threads than any node has, for which Ray would wait.
    """
    cores, gpus = cluster
    if folder.threads > cores:
        message = f"{folder.threads} for each member, and the largest node has {cores} cores"
        raise PlanError("--threads", message, f"at most {cores}")
    gpus_per_job = int(gpus > 0 and any(member.plan.device != "cpu" for member in members))

    def start(job: SweepJob) -> OnRay:
        return OnRay(replace(job, device="cuda") if gpus_per_job else job, gpus_per_job)

    return (None,) * (jobs or len(members)), start
