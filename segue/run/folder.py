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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segue import __version__
from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.errors import CheckpointError, HandoverError
from segue.plan.schema import Plan, StagePlan
from segue.training import checkpoint, processes

NOTE, PLAN, REPORT, SWEEP = "run.json", "plan.yaml", "report.html", "sweep.json"


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
    """A run on disk. stages: what run.json says about each stage (state, key, folder)."""

    path: Path
    plan: Plan
    resumed: bool
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    digest: str = ""

    @classmethod
    def open(cls, plan: Plan, manifests: list[str]) -> RunFolder:
        """The newest run of exactly this plan on exactly this data, or a new one.

        Data that are not there yet have the manifest "". A run that began without the data of its
        later stages is the run of these data as soon as they are there.
        """
        digest = digest_of(plan, manifests)
        for known in range(len(manifests), 0, -1):
            begun_with = [*manifests[:known], *[""] * (len(manifests) - known)]
            if (found := cls.find(plan, digest_of(plan, begun_with))) is not None:
                found.digest = digest
                return found
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
            write_json(staging / NOTE, run._note(), indent=2)
            staging.rename(run.path)
        processes.barrier()
        return run

    @classmethod
    def find(cls, plan: Plan, digest: str) -> RunFolder | None:
        """The newest run of exactly this, if there is one."""
        for path in runs_of(plan):
            note = read_note(path)
            if note.get("digest") == digest:
                return cls(path, plan, True, note["stages"], digest)
        return None

    @property
    def complete(self) -> bool:
        """Whether every stage of the plan is."""
        return all(
            self.stages.get(stage.name, {}).get("state") == "complete" for stage in self.plan.stages
        )

    def stage_folder(self, stage: StagePlan) -> Path:
        number = [s.name for s in self.plan.stages].index(stage.name) + 1
        return self.path / f"{number}-{stage.name}"

    def selected(self, stage: StagePlan) -> Path:
        return self.stage_folder(stage) / "selected"

    def finished(self, stage: StagePlan, key: str) -> bool:
        """Whether the stage is complete under this key; brings it over from another run of the
        plan, or of another member of the same sweep, if it is there.

        Raises:
            CheckpointError: if it is, but its checkpoint was damaged since.
        """
        entry = self.stages.get(stage.name, {})
        if entry.get("state") == "complete" and entry.get("key") == key:
            checkpoint.verify(self.selected(stage))
            return True
        for other in (*runs_of(self.plan), *runs_beside(self.plan)):
            found = read_note(other).get("stages", {}).get(stage.name, {})
            if other != self.path and found.get("state") == "complete" and found.get("key") == key:
                if processes.rank() == 0:
                    self._bring_over(other / found["folder"], stage)
                processes.barrier()
                source = (
                    other.name
                    if other.parent == self.path.parent
                    else f"{other.parent.name}/{other.name}"
                )
                needed = {name: value for name, value in found.items() if name == "peak_bytes"}
                self._set(stage, state="complete", key=key, reused_from=source, **needed)
                return True
        return False

    def _bring_over(self, source: Path, stage: StagePlan) -> None:
        checkpoint.verify(source / "selected")
        staging = self.stage_folder(stage).with_suffix(".copying")
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(
            source, staging, ignore=shutil.ignore_patterns("last*", "cache", "bad-step*")
        )
        shutil.rmtree(self.stage_folder(stage), ignore_errors=True)
        staging.rename(self.stage_folder(stage))

    def begin(self, stage: StagePlan, key: str) -> None:
        """Mark a stage as running.

        What an earlier attempt under another key left is moved aside.
        """
        folder = self.stage_folder(stage)
        if processes.rank() == 0:
            if self.stages.get(stage.name, {}).get("key", key) != key and folder.exists():
                number = 1
                while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
                    number += 1
                folder.rename(aside)
            folder.mkdir(exist_ok=True)
        self._set(stage, state="running", key=key)
        processes.barrier()

    def end(self, stage: StagePlan, state: str, peak_bytes: int | None) -> None:
        """Mark a stage as complete, interrupted or failed.

        peak_bytes: the memory it needed, if that is known.
        """
        before = self.stages[stage.name].get("peak_bytes")
        known = [value for value in (before, peak_bytes) if value is not None]
        self._set(stage, state=state, **({"peak_bytes": max(known)} if known else {}))

    def complete_parent(self, stage: StagePlan) -> Path:
        """The selected checkpoint of a finished stage.

        Raises:
            HandoverError: if the stage is not finished.
            CheckpointError: if its checkpoint is damaged.
        """
        state = self.stages.get(stage.name, {}).get("state", "not begun")
        if state != "complete":
            raise HandoverError(
                f"stage {stage.name}",
                f"is {state}",
                "a complete stage to start from",
                "segue run with this plan",
            )
        return self.selected(stage)

    def _set(self, stage: StagePlan, **entries: Any) -> None:
        entry = self.stages.setdefault(stage.name, {"folder": self.stage_folder(stage).name})
        entry.update(entries)
        if processes.rank() == 0:
            self._write()

    def _write(self) -> None:
        write_json(self.path / NOTE, self._note(), indent=2)

    def _note(self) -> dict[str, Any]:
        return {
            "plan": self.plan.name,
            "digest": self.digest,
            "segue": __version__,
            "stages": self.stages,
        }


def runs_of(plan: Plan) -> list[Path]:
    """Folders of this plan's runs, newest first."""
    found = [
        path
        for path in plan.runs.glob(f"{plan.name}-*")
        if _number(path) and (path / NOTE).is_file()
    ]
    return sorted(found, key=_number, reverse=True)


def runs_beside(plan: Plan) -> list[Path]:
    """Runs of the other members, if the plan is a member of a sweep."""
    if not (plan.runs.parent / SWEEP).is_file():
        return []
    found = plan.runs.parent.glob(f"*/{plan.name}-*/{NOTE}")
    return sorted(path.parent for path in found if path.parent.parent != plan.runs)


def _number(path: Path) -> int:
    tail = path.name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def read_note(path: Path) -> dict[str, Any]:
    """run.json of a run.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        note = read_json(path / NOTE)
    except (OSError, ValueError) as error:
        raise CheckpointError(path / NOTE, f"not readable ({error})", "a run's notes") from None
    if not isinstance(note, dict):
        raise CheckpointError(path / NOTE, f"a {type(note).__name__}", "a run's notes")
    return note
