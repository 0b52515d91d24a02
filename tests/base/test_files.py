"""Files are whole under their name, or as they were."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from segue.base.files import read_typed, write_json
from segue.base.settings import Settings
from segue.errors import CheckpointError


def test_a_file_comes_back_and_its_folder_is_made(tmp_path: Path) -> None:
    path = write_json(tmp_path / "new" / "a.json", {"b": [1, None]})
    assert (
        json.loads(path.read_text()) == {"b": [1, None]} and len(path.read_text().splitlines()) == 1
    )
    assert write_json(path, {"b": 1}, indent=2).read_text() == '{\n  "b": 1\n}\n'


@pytest.mark.parametrize("content", [{"good": 1, "bad": object()}, "\ud800"])
def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, content: dict[str, Any] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_json(tmp_path / "a.json", "before")
    if isinstance(content, str):  # the disk is full
        monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises((TypeError, ZeroDivisionError)):
        write_json(path, content)
    assert json.loads(path.read_text()) == "before"


class Note(Settings):
    stages: dict[str, int]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"stages": {"a": "b"}}', "stages.a: Input should be a valid integer"),
        ("[]", "Input should be a valid dictionary"),
        ("{", "not readable"),
        (None, "not readable"),
    ],
)
def test_a_file_of_another_layout_is_one_line_with_its_place(
    tmp_path: Path, text: str | None, complaint: str
) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CheckpointError) as refused:
        read_typed(path, Note, "a note")
    message = refused.value.message
    assert complaint in message and message.endswith("expected a note") and "\n" not in message


def test_a_file_is_read_as_the_type_that_wrote_it(tmp_path: Path) -> None:
    note = Note(stages={"a": 1})
    path = write_json(tmp_path / "a.json", note.model_dump(mode="json"))
    assert read_typed(path, Note, "a note") == note
