"""sweep.json: what a sweep says of its members, read and written here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from segue.base.files import read_typed, write_json
from segue.base.settings import Settings
from segue.run.folder import SWEEP

State = Literal["not begun", "running", "complete", "interrupted", "failed"]


class MemberNote(Settings):
    """What a sweep says of a member.

    values: by swept key, as typed. digest: of all that decides what comes out of it. reason: why it
    failed or was interrupted; empty otherwise.
    """

    model_config = ConfigDict(extra="ignore")  # what a later version may add

    values: dict[str, str]
    digest: str
    state: State
    reason: str = ""


class SweepNote(Settings):
    """What a sweep says of itself. threads: of the CPU, for each member."""

    model_config = ConfigDict(extra="ignore")

    plan: str
    threads: int
    members: dict[str, MemberNote] = Field(default_factory=dict)


def read_note(sweep: Path) -> SweepNote:
    """sweep.json of a sweep's folder.

    Raises:
        CheckpointError: if it is damaged, or no sweep's note.
    """
    return read_typed(sweep / SWEEP, SweepNote, "a sweep's notes")


def write_note(sweep: Path, note: SweepNote) -> None:
    """Replace sweep.json in one rename.

    Raises:
        OSError: if the disk is full or fails; the note is as before.
    """
    write_json(sweep / SWEEP, note.model_dump(mode="json", exclude_unset=True), indent=2)
