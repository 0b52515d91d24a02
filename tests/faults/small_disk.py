"""A file system of a few megabytes that really is full when it is full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MOUNT = 'mount -t tmpfs -o size="$1" none "$2" && echo mounted && exec cat'


class SmallDisk:
    """A file system in memory that a process of ours holds in a name space of its own."""

    def __init__(self, path: Path) -> None:
        self.path, self.ballast = path, path / "ballast"

    def fill(self) -> None:
        """Leave not one page free."""
        for size in (1_000_000, 4096, 1):
            with suppress(OSError), self.ballast.open("ab", buffering=0) as file:
                while file.write(bytes(size)):
                    pass
        assert shutil.disk_usage(self.path).free == 0

    def clear(self) -> None:
        self.ballast.unlink()


@contextmanager
def small_disk(size: str, folder: Path) -> Iterator[SmallDisk]:
    """The file system, mounted where only the process that holds it sees it, and reached through
    /proc.

    Skips, with a word, where the machine allows no name spaces.
    """
    folder.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here to mount a small file system with")
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", size, str(folder)]
    holder = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert holder.stdin and holder.stdout
    try:
        if holder.stdout.readline() != "mounted\n":
            pytest.skip("this machine does not let us mount a small file system")
        yield SmallDisk(Path(f"/proc/{holder.pid}/root{folder}"))
    finally:
        holder.stdin.close()
        holder.wait(timeout=10)
        holder.stdout.close()
