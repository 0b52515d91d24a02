"""Where a run keeps things, what is finished there, and what may be used again.

    runs/<plan>-<n>/  plan.yaml  run.json  report.html  1-<stage>/  2-<stage>/ ...

A stage is identified by a key: its settings, the weights it starts from and the bytes of its data.
A stage that is complete under its key is never trained again, in this run or in another run of the
plan.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segue.errors import HandoverError, Interrupted, SegueError
from segue.plan.schema import Plan, StagePlan
from segue.run.notes import NOTE, RunNote, StageNote, State, read_note, write_note
from segue.training import checkpoint, disk, processes
from segue.training.estimate import Peak

PLAN, REPORT, SWEEP = "plan.yaml", "report.html", "sweep.json"
LEFT_BEHIND = ("last*", "cache", "bad-step*")  # by a finished stage that is copied


def key_of(*parts: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def digest_of(plan: Plan, manifests: list[str]) -> str:
    """What tells runs apart: all that decides what comes out of each stage.

    manifests: of each stage's data.
    """
    return key_of(
        [[plan.start_of(stage), plan.identity(stage)] for stage in plan.stages], manifests
    )


@dataclass(slots=True)
class RunFolder:
    """A run on disk.

    resumed: whether it was there before. stages: what run.json says about each stage that has
    begun, by name. digest: of all that decides what comes out of the stages.
    """

    path: Path
    plan: Plan
    resumed: bool
    stages: dict[str, StageNote] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def read(cls, path: Path, plan: Plan) -> RunFolder:
        """A run that is there.

        Raises:
            CheckpointError: if its note is damaged.
        """
        note = read_note(path)
        return cls(path, plan, True, note.stages, note.digest)

    @classmethod
    def open(cls, plan: Plan, manifests: list[str]) -> RunFolder:
        """The newest run of exactly this plan on exactly this data, or a new one.

        Data that are not there yet have the manifest "". A run that began without the data of its
        later stages is the run of these data as soon as they are there.
        """
        digest = digest_of(plan, manifests)
        for known in range(len(manifests), 0, -1):
            begun_with = [*manifests[:known], *[""] * (len(manifests) - known)]
            if (run := cls.find(plan, digest_of(plan, begun_with))) is not None:
                run.digest = digest
                return run
        number = max(map(_number, plan.runs.glob(f"{plan.name}-*")), default=0) + 1
        run = cls(plan.runs / f"{plan.name}-{number}", plan, False, {}, digest)
        # every process has seen the same folders before one of them adds this one
        processes.barrier()
        if processes.rank() == 0:
            # killed here, nothing is there that is half a run
            staging = run.path.with_name(run.path.name + ".writing")
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            resolved = yaml.safe_dump(
                plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True
            )
            (staging / PLAN).write_text(resolved, encoding="utf-8")
            write_note(staging, run._note())
            staging.rename(run.path)
        processes.barrier()
        return run

    @classmethod
    def find(cls, plan: Plan, digest: str) -> RunFolder | None:
        """The newest run of exactly this, if there is one."""
        for path in runs_of(plan):
            run = cls.read(path, plan)
            if run.digest == digest:
                return run
        return None

    @property
    def complete(self) -> bool:
        """Whether every stage of the plan is."""
        return all(self.is_complete(stage) for stage in self.plan.stages)

    def is_complete(self, stage: StagePlan) -> bool:
        """Whether a stage is trained to its end, under whatever key."""
        note = self.stages.get(stage.name)
        return note is not None and note.state == "complete"

    def stage_folder(self, stage: StagePlan) -> Path:
        number = [s.name for s in self.plan.stages].index(stage.name) + 1
        return self.path / f"{number}-{stage.name}"

    def selected(self, stage: StagePlan) -> Path:
        return self.stage_folder(stage) / "selected"

    def finished(self, stage: StagePlan, key: str) -> bool:
        """Whether the stage is complete under this key; copies it from another run of the plan, or
        of another member of the same sweep, if it is complete there.

        Raises:
            CheckpointError: if it is, but its checkpoint was damaged since.
        """
        note = self.stages.get(stage.name)
        if note is not None and self.is_complete(stage) and note.key == key:
            checkpoint.verify(self.selected(stage))
            return True
        for other in (*runs_of(self.plan), *sweep_siblings(self.plan)):
            known = read_note(other).stages.get(stage.name)
            if (
                known is not None
                and other != self.path
                and (known.state, known.key) == ("complete", key)
            ):
                self._copy(other, known, stage)
                return True
        return False

    def _copy(self, other: Path, known: StageNote, stage: StagePlan) -> None:
        """Take a complete stage over from another run."""
        if processes.rank() == 0:
            self._copy_files(other / known.folder, stage)
        processes.barrier()
        source = (
            other.name if other.parent == self.path.parent else f"{other.parent.name}/{other.name}"
        )
        self._set(
            stage,
            state="complete",
            key=known.key,
            reused_from=source,
            peak_bytes=known.peak_bytes,
        )

    def _copy_files(self, source: Path, stage: StagePlan) -> None:
        checkpoint.verify(source / "selected")
        staging = self.stage_folder(stage).with_suffix(".copying")
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(source, staging, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        shutil.rmtree(self.stage_folder(stage), ignore_errors=True)
        staging.rename(self.stage_folder(stage))

    def begin(self, stage: StagePlan, key: str) -> None:
        """Mark a stage as running.

        What an earlier attempt under another key left is moved aside.
        """
        folder = self.stage_folder(stage)
        if processes.rank() == 0:
            note = self.stages.get(stage.name)
            if note is not None and note.key != key and folder.exists():
                number = 1
                while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
                    number += 1
                folder.rename(aside)
            folder.mkdir(exist_ok=True)
        self._set(stage, state="running", key=key)
        processes.barrier()

    @contextmanager
    def attempt(self, stage: StagePlan, key: str, device: str) -> Iterator[None]:
        """Around the training of a stage: notes that it runs, how it ended, and the most memory it
        needed.

        Raises:
            TrainingError: if the disk failed; whatever else the training raises is raised again.
        """
        self.begin(stage, key)
        peak = Peak(device)
        try:
            yield
        except Interrupted:
            self.end(stage, "interrupted", peak.bytes())
            raise
        except (SegueError, OSError) as error:
            with suppress(OSError):  # a full disk takes no note of it either
                self.end(stage, "failed", peak.bytes())
            if isinstance(error, OSError) and error.errno in disk.FAILING:
                raise disk.full(self.stage_folder(stage), "could not be written", error) from None
            raise
        self.end(stage, "complete", peak.bytes())

    def end(self, stage: StagePlan, state: State, peak_bytes: int | None) -> None:
        """Mark a stage as complete, interrupted or failed.

        peak_bytes: the memory it needed, if that is known.
        """
        peaks = [self.stages[stage.name].peak_bytes, peak_bytes]
        known = [value for value in peaks if value is not None]
        self._set(stage, state=state, peak_bytes=max(known, default=None))

    def complete_parent(self, stage: StagePlan) -> Path:
        """The selected checkpoint of a finished stage.

        Raises:
            HandoverError: if the stage is not finished.
            CheckpointError: if its checkpoint is damaged.
        """
        note = self.stages.get(stage.name)
        state = "not begun" if note is None else note.state
        if state != "complete":
            raise HandoverError(
                f"stage {stage.name}",
                f"is {state}",
                "a complete stage to start from",
                "segue run with this plan",
            )
        return self.selected(stage)

    def _set(self, stage: StagePlan, **changes: Any) -> None:
        """Change what run.json says of a stage; what is not named stays."""
        begun = StageNote(folder=self.stage_folder(stage).name, state="running")
        note = self.stages.get(stage.name, begun)
        self.stages[stage.name] = note.model_copy(update=changes)
        if processes.rank() == 0:
            write_note(self.path, self._note())

    def _note(self) -> RunNote:
        return RunNote(plan=self.plan.name, digest=self.digest, stages=self.stages)


def runs_of(plan: Plan) -> list[Path]:
    """Folders of this plan's runs, newest first."""
    runs = [
        path
        for path in plan.runs.glob(f"{plan.name}-*")
        if _number(path) and (path / NOTE).is_file()
    ]
    return sorted(runs, key=_number, reverse=True)


def sweep_siblings(plan: Plan) -> list[Path]:
    """Runs of the other members, if the plan is a member of a sweep."""
    if not (plan.runs.parent / SWEEP).is_file():
        return []
    notes = plan.runs.parent.glob(f"*/{plan.name}-*/{NOTE}")
    return sorted(path.parent for path in notes if path.parent.parent != plan.runs)


def _number(path: Path) -> int:
    tail = path.name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0
