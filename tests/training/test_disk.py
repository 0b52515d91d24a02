"""A disk that is full is named with what is needed and what is free; sizes are those of tensors."""

from __future__ import annotations

import errno
import hashlib
import re

import pytest
import torch

from segue.training import disk


def test_a_full_disk_says_how_much_is_needed_and_free(tmp_path):
    error = disk.full(
        tmp_path / "new" / "last",
        "no checkpoint",
        OSError(errno.ENOSPC, "No space left"),
        5_000_000,
        "keep: 1",
    )
    assert re.search(
        r"no checkpoint \(No space left\): 5.0 MB needed, [\d,.]+ MB free", error.message
    )
    assert "free disk space, or keep: 1" in error.message and error.exit_code == 3


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EDQUOT, "free disk space"),
        (None, "free disk space"),
        (errno.EACCES, "a folder to write to"),
    ],
)
def test_what_is_expected_follows_from_what_failed(tmp_path, number, expected):
    error = OSError("library says no") if number is None else OSError(number, "no")
    assert disk.full(tmp_path, "x", error).expected == expected


def test_tensors_are_counted_wherever_they_are_nested():
    values = {
        "a": torch.zeros(3),
        "b": [torch.zeros(2, dtype=torch.int64), {"c": torch.zeros(5, dtype=torch.uint8)}],
        "d": 7,
    }
    assert disk.size_of(values) == 12 + 16 + 5


def test_a_flushed_file_has_the_digest_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert disk.flushed_sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    disk.flush_folder(tmp_path)
