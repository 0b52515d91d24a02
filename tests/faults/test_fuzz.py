"""Annotations of which anything may be anything else: read, audited and drawn, in bounded time and
memory.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.errors import SegueError
from segue.structures.masks import coco_rle
from tests.faults.mutated import FORMATS, SIDE

MOST_SECONDS, MOST_BYTES = 0.05, 200_000_000
# A piece of the file replaced by other bytes: where, how much, by what.
SPLICES = st.none() | st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=4))


def spliced(path: Path, splice: tuple[float, int, bytes] | None) -> None:
    if splice is not None:
        content = path.read_bytes()
        at = int(splice[0] * len(content))
        path.write_bytes(content[:at] + splice[2] + content[at + splice[1] :])


def look(root: Path, name: str) -> int:
    """Read, audit and draw everything; how many objects there were."""
    try:
        splits = read_splits(Data(root=root, format=name))
        audit(splits, pixels=False)
    except SegueError as error:
        assert all(c.isprintable() or c == "\n" for c in error.message)
        return 0
    objects = [(r, a) for split in splits.values() for r in split.records for a in r.annotations]
    for record, annotation in objects:
        x0, y0, x1, y1 = annotation.box_xyxy
        assert 0 <= x0 < x1 <= record.width and 0 <= y0 < y1 <= record.height
        if annotation.mask is not None:
            assert coco_rle(annotation.mask, record.height, record.width)["counts"]
    return len(objects)


def seconds(root: Path, name: str) -> float:
    began = time.process_time()
    look(root, name)
    return time.process_time() - began


def resident() -> int:
    """Bytes of memory this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def highest() -> int:
    """The most bytes it ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(name: str, count: int, folder: Path) -> int:
    """So many mutated objects of a format, and a few more: none may take long or much, and some are
    still objects.
    """
    strategy, write = FORMATS[name]
    root = folder / name
    (root / "images").mkdir(parents=True)
    for place in (root, root / "images"):
        Image.new("RGB", (SIDE, SIDE)).save(place / "a.png")
    figures = {"seen": 0, "objects": 0, "slowest": 0.0, "most": 0}

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=HealthCheck,
    )
    @given(strategy, SPLICES)
    def check(entry: Any, splice: tuple[float, int, bytes] | None) -> None:
        spliced(write(root, entry), splice)
        began, held, most = time.process_time(), resident(), highest()
        figures["objects"] += look(root, name)
        taken = time.process_time() - began
        if highest() > most:  # else it took less than something before it
            figures["most"] = max(figures["most"], highest() - held)
        # once more, because whatever else this process does is counted, too
        if taken > MOST_SECONDS:
            taken = min(seconds(root, name) for _ in range(3))
        figures["seen"] += 1
        figures["slowest"] = max(figures["slowest"], taken)

    check()
    assert figures["seen"] >= count and figures["objects"] > count // 50, (name, figures)
    assert figures["slowest"] < MOST_SECONDS and figures["most"] < MOST_BYTES, (name, figures)
    return int(figures["seen"])


def fuzzed(count: int, folder: Path) -> int:
    return sum(fuzz(name, count, folder) for name in FORMATS)


def test_no_mutated_object_breaks_anything(tmp_path, promise):
    promise(
        "fuzz", fuzzed(100, tmp_path), "mutated objects of six formats, each under 50 ms and 200 MB"
    )


@pytest.mark.slow
def test_none_of_ten_thousand_mutated_objects_breaks_anything(tmp_path, promise):
    total = fuzzed(1700, tmp_path)
    assert total >= 10_000
    promise("fuzz", total, "mutated objects of six formats, each under 50 ms and 200 MB")
