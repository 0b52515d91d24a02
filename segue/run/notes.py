"""run.json: what a run says of itself, read and written here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from segue import __version__
from segue.base.files import read_typed, write_json
from segue.base.settings import Settings

NOTE = "run.json"
State = Literal["running", "complete", "interrupted", "failed"]


class StageNote(Settings):
    """What a run says of one of its stages.

    folder: its name in the run's folder. key: SHA-256 of all that decides what comes out of it.
    reused_from: the run it was copied from, as it is complete there. peak_bytes: the most memory it
    needed, if known.
    """

    model_config = ConfigDict(extra="ignore")  # what a later version may add

    folder: str
    state: State
    key: str = ""
    reused_from: str | None = None
    peak_bytes: int | None = None


class RunNote(Settings):
    """What a run says of itself. digest: of all that decides what comes out of its stages."""

    model_config = ConfigDict(extra="ignore")

    plan: str = ""
    digest: str = ""
    segue: str = __version__
    stages: dict[str, StageNote] = Field(default_factory=dict)


def read_note(run: Path) -> RunNote:
    """run.json of a run's folder.

    Raises:
        CheckpointError: if it is damaged, or no run's note.
    """
    return read_typed(run / NOTE, RunNote, "a run's notes")


def write_note(run: Path, note: RunNote) -> None:
    """Replace run.json in one rename.

    Raises:
        OSError: if the disk is full or fails; the note is as before.
    """
    write_json(run / NOTE, note.model_dump(mode="json", exclude_none=True), indent=2)
