"""sweep.json: what a sweep says of its members comes back as it was written."""

from __future__ import annotations

import json

import pytest

from segue.errors import CheckpointError
from segue.sweep.notes import read_note, write_note

MEMBER = {"values": {"lr": "1"}, "digest": "d", "state": "not begun"}
SWEEP = {"plan": "a", "threads": 1, "members": {"lr=1": MEMBER}}


def test_a_note_keeps_its_keys_and_the_order_of_its_members(tmp_path):
    members = {name: {**MEMBER, "values": {"lr": name}} for name in ("9", "10", "1")}
    content = {**SWEEP, "members": members}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    write_note(tmp_path, read_note(tmp_path))
    assert (tmp_path / "sweep.json").read_text() == json.dumps(content, indent=2) + "\n"


def test_a_state_nobody_writes_is_named_with_its_member(tmp_path):
    content = {**SWEEP, "members": {"lr=1": {**MEMBER, "state": "lost"}}}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"sweep\.json: members\.lr=1\.state: "):
        read_note(tmp_path)


def test_a_folder_that_is_no_sweep_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="a sweep's notes"):
        read_note(tmp_path)
