"""A sweep: one plan with several values for some of its keys. Every combination is a member: a run
of its own.

    runs/<plan>-sweep-<n>/          sweep.json  report.html  report.csv  report.json
      <key>=<value>,<key>=<value>/  plan.yaml  log.txt  <plan>-1/ (the member's run)

The same command goes on where it stopped, and so does one with more values for the same keys:
members that are complete stay as they are.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from segue.errors import CheckpointError, Interrupted
from segue.evaluation.outcome import read_outcome
from segue.plan.schema import Plan
from segue.run.console import Console
from segue.run.folder import PLAN, SWEEP, RunFolder
from segue.run.results import describe
from segue.sweep.combinations import Member
from segue.sweep.launch import POLL, Running, SweepJob
from segue.sweep.notes import MemberNote, State, SweepNote, read_note, write_note
from segue.training import checkpoint
from segue.training.signals import stop_signals

LOG = "log.txt"


@dataclass(slots=True)
class SweepFolder:
    """A sweep on disk. notes: what sweep.json says of each member, by name."""

    path: Path
    plan: str
    threads: int
    notes: dict[str, MemberNote] = field(default_factory=dict)

    @classmethod
    def open(cls, members: Sequence[Member], threads: int | None, usual: int) -> SweepFolder:
        """The newest sweep of the same keys in which members of the same name are the same, or a
        new one.

        threads: of each member; those it began with, or the usual number, if left open.
        """
        plan = members[0].plan
        for path in sorted(
            plan.runs.glob(f"{plan.name}-sweep-*/{SWEEP}"), key=_number, reverse=True
        ):
            folder = cls.read(path.parent)
            if folder.fits(members):
                folder.threads = threads or folder.threads
                break
        else:
            taken = [_number(path / SWEEP) for path in plan.runs.glob(f"{plan.name}-sweep-*")]
            folder = cls(
                plan.runs / f"{plan.name}-sweep-{max(taken, default=0) + 1}",
                plan.name,
                threads or usual,
            )
        for member in members:
            new = MemberNote(values=member.values, digest=member.digest, state="not begun")
            folder.notes.setdefault(member.name, new)
            folder.write_plan(member)
        folder.write()
        return folder

    @classmethod
    def read(cls, path: Path) -> SweepFolder:
        """A sweep that is there.

        Raises:
            CheckpointError: if its notes are not readable.
        """
        note = read_note(path)
        return cls(path, note.plan, note.threads, note.members)

    def fits(self, members: Sequence[Member]) -> bool:
        """Whether these are members of this sweep: of the same keys, some of them known, and none
        known as another.
        """
        known = [member for member in members if member.name in self.notes]
        same = all(self.notes[member.name].digest == member.digest for member in known)
        every = [
            *(note.values for note in self.notes.values()),
            *(member.values for member in members),
        ]
        keys = {tuple(sorted(values)) for values in every}
        return bool(known) and same and len(keys) == 1

    def plan_of(self, member: Member) -> Plan:
        """The member's plan as a run of its own."""
        return member.plan.model_copy(update={"runs": self.path / member.name})

    def write_plan(self, member: Member) -> None:
        folder = self.path / member.name
        folder.mkdir(parents=True, exist_ok=True)
        resolved = yaml.safe_dump(
            self.plan_of(member).model_dump(mode="json"), sort_keys=False, allow_unicode=True
        )
        (folder / PLAN).write_text(resolved, encoding="utf-8")

    def write(self) -> None:
        """Write sweep.json."""
        note = SweepNote(plan=self.plan, threads=self.threads, members=self.notes)
        write_note(self.path, note)

    def note(self, name: str, state: State, reason: str = "") -> None:
        """Note what became of a member. reason: why it is not complete, if it could be."""
        changes = {"state": state, "reason": reason}
        self.notes[name] = self.notes[name].model_copy(update=changes)
        self.write()

    def run_of(self, member: Member) -> RunFolder | None:
        return RunFolder.find(self.plan_of(member), member.digest)

    def is_complete(self, member: Member) -> bool:
        """Whether the member is trained to its end and its last checkpoint whole."""
        run = self.run_of(member)
        if run is None or not run.complete:
            return False
        with suppress(CheckpointError):
            return bool(checkpoint.verify(run.selected(run.plan.stages[-1])))
        return False  # its own run says what is damaged

    def figures(self, member: Member) -> str:
        """What came of a complete member, in a few words."""
        run = self.run_of(member)
        assert run is not None
        outcome = read_outcome(run.stage_folder(run.plan.stages[-1]))
        return f"{describe(outcome.valid.figures)} (valid)"


def _number(note: Path) -> int:
    tail = note.parent.name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A member in training. began: by the monotonic clock."""

    member: Member
    device: str | None
    began: float
    running: Running


def train_members(
    folder: SweepFolder,
    members: Sequence[Member],
    devices: Sequence[str | None],
    start: Callable[[SweepJob], Running],
    console: Console,
) -> list[Member]:
    """Train every member that is not complete; returns those that are not complete even then.

    devices: one for each member that is trained at the same time; None for the plan's own.

    Raises:
        Interrupted: on SIGTERM or SIGINT, when all that ran have saved and stopped.
    """
    waiting = _incomplete(folder, members, console)
    todo, free, stopping = len(waiting), list(devices), False
    attempts: list[Attempt] = []
    with stop_signals() as received, console.progress("sweep") as tick:
        try:
            while attempts or (waiting and not received):
                while waiting and free and not received:
                    attempts.append(_begin(folder, waiting.pop(0), free.pop(0), start, console))
                if received and not stopping:
                    console.say(f"asked to stop: waiting until {len(attempts)} members have saved")
                    stopping = _stop(attempts)
                for attempt in [
                    attempt for attempt in attempts if attempt.running.code() is not None
                ]:
                    attempts.remove(attempt)
                    free.append(attempt.device)
                    _end(folder, attempt, stopping, console)
                    tick(todo - len(waiting) - len(attempts), todo)
                time.sleep(POLL)
        finally:
            _stop(attempts)  # none, unless something went wrong here
    if received:
        raise Interrupted(received[0])
    return [member for member in members if folder.notes[member.name].state != "complete"]


def _incomplete(folder: SweepFolder, members: Sequence[Member], console: Console) -> list[Member]:
    incomplete = []
    for member in members:
        if folder.is_complete(member):
            folder.note(member.name, "complete")
            console.say(f"{member.name}: complete, kept, {folder.figures(member)}")
        else:
            incomplete.append(member)
    return incomplete


def _stop(attempts: Sequence[Attempt]) -> bool:
    for attempt in attempts:
        attempt.running.stop()
    return True


def _begin(
    folder: SweepFolder,
    member: Member,
    device: str | None,
    start: Callable[[SweepJob], Running],
    console: Console,
) -> Attempt:
    home = folder.path / member.name
    job = SweepJob(
        (home / PLAN).resolve(), (home / LOG).resolve(), Path.cwd(), folder.threads, device
    )
    with job.log.open("a", encoding="utf-8") as log:
        log.write(f"--- {member.name}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
    folder.note(member.name, "running")
    console.say(f"{member.name}: begun{f' on {device}' if device else ''}, log {home / LOG}")
    return Attempt(member, device, time.monotonic(), start(job))


def _end(folder: SweepFolder, attempt: Attempt, stopping: bool, console: Console) -> None:
    """Note how a member ended, and say it in a line. stopping: whether it was asked to stop."""
    member, code = attempt.member, attempt.running.code()
    assert code is not None
    state: State
    if code == 0 and folder.is_complete(member):
        state, reason = "complete", ""
    elif stopping and abs(code) in (128 + signal.SIGTERM, signal.SIGTERM):
        state, reason = "interrupted", "stopped when asked to"
    else:
        state, reason = "failed", reason_of(code, folder.path / member.name / LOG)
    folder.note(member.name, state, reason)
    details = folder.figures(member) if state == "complete" else reason
    console.say(f"{member.name}: {state}, {details}, {time.monotonic() - attempt.began:.0f} s")


def reason_of(code: int, log: Path) -> str:
    """Why a process ended: the signal, or the last line it printed."""
    if code < 0:
        hint = "; perhaps memory ran out" if code == -signal.SIGKILL else ""
        return f"killed by signal {-code} ({signal.Signals(-code).name}){hint}"
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "---"
    if last.startswith("---"):  # our own line
        return f"ended with exit code {code}"
    return last.removeprefix("segue: ").removeprefix("error: ")
