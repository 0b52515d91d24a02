"""Disks: writing so that it stays written, and what to say when one is full: where, how much is
needed and how much is free.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from segue.errors import TrainingError

# of the disk itself, and not of a file that is missing or may not be written to
FAILING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
AGAIN = "the same command again, which resumes from what was saved"


def full(
    where: Path, failure: str, error: OSError, needed: int = 0, remedy: str = ""
) -> TrainingError:
    """The error that ends a stage.

    needed: bytes, if known; remedy: what helps besides free disk space.
    """
    sizes = f"{megabytes(needed)} needed, " if needed else ""
    # errors of the library that writes checkpoints have no number
    failing = error.errno is None or error.errno in FAILING
    expected = (
        "free disk space" + (f", or {remedy}" if remedy else "")
        if failing
        else "a folder to write to"
    )
    message = f"{failure} ({error.strerror or error}): {sizes}{megabytes(free(where))} free"
    return TrainingError(where, message, expected, AGAIN)


def free(path: Path) -> int:
    """Bytes left on the file system of a path, which need not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def size_of(values: Any) -> int:
    """Bytes of all tensors in nested dictionaries and lists, which is nearly what a file of them
    takes.
    """
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    within: Iterable[Any] = values.values() if isinstance(values, dict) else values
    return sum(map(size_of, within)) if isinstance(values, (dict, list, tuple)) else 0


def flushed_sha256(path: Path) -> str:
    """SHA-256 of a file whose bytes are on the disk from now on, also when the power fails."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_folder(folder: Path) -> None:
    """Make renames in a folder durable; a no-op where folders cannot be opened (Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
