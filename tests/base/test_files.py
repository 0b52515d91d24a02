"""Files are whole under their name, or as they were."""

from __future__ import annotations

import json
import os

import pytest

from segue.base.files import write_json


def test_a_file_comes_back_and_its_folder_is_made(tmp_path):
    path = write_json(tmp_path / "new" / "a.json", {"b": [1, None]})
    assert (
        json.loads(path.read_text()) == {"b": [1, None]} and len(path.read_text().splitlines()) == 1
    )
    assert write_json(path, {"b": 1}, indent=2).read_text() == '{\n  "b": 1\n}\n'


@pytest.mark.parametrize("content", [{"good": 1, "bad": object()}, "\ud800"])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path, content, monkeypatch):
    path = write_json(tmp_path / "a.json", "before")
    if isinstance(content, str):  # the disk is full
        monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises((TypeError, ZeroDivisionError)):
        write_json(path, content)
    assert json.loads(path.read_text()) == "before"
