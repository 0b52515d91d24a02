"""What the benchmark of a GPU has measured so far: kept in a file at every change, shown as a
table.
"""

from __future__ import annotations

import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from gpu_measure import freed


@dataclass
class Bench:
    """What was found so far, by section, written to the file at every change."""

    device: str
    quick: bool
    out: Path
    ends: float
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def step_seconds(self) -> float:
        """How long steps of one kind are repeated at most, if they are not too slow for that."""
        return 0.5 if self.quick else 9.0

    def put(self, section: str, name: str, value: Any) -> None:
        self.found.setdefault(section, {})[name] = value
        self.out.write_text(json.dumps(self.found, indent=1, default=str))
        print(f"[{section}] {name}: {json.dumps(value, default=str)[:300]}", flush=True)

    def attempt(self, section: str, name: str, seconds: float, work: Callable[[], object]) -> None:
        """Do it, but end what takes longer than it may, and put down what went wrong instead of
        ending all.
        """
        # of a card; two cores take longer even with models of a few pixels
        seconds *= 1 if self.cuda else 5
        began, seconds = time.monotonic(), min(seconds, self.ends - time.monotonic())
        if seconds <= 1:
            self.put("left out", f"{section}: {name}", "out of time")
            return
        try:
            with limited(seconds):
                work()
        except Exception as error:  # noqa: BLE001  # the other sections have their say
            message = {
                "error": f"{type(error).__name__}: {error}"[:500],
                "traceback": traceback.format_exc()[-6000:],
            }
            self.put("failed", f"{section}: {name}", message)
        freed(self.device)
        self.found.setdefault("seconds", {})[f"{section}: {name}"] = round(
            time.monotonic() - began, 1
        )


class TooLong(Exception):
    """A section has used up its time."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TooLong(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def table(results: dict[str, Any]) -> str:
    """The steps, ours next to the peer's, and one line for each other result."""
    rows = results.get("steps", {})
    lines = [
        f"{'step':34} {'ms':>9} {'peer ms':>9} {'ratio':>6} {'MFU':>6} {'MB':>8} "
        f"{'peer MB':>8} {'waits':>6} "
        f"{'launches':>8} {'busy':>5}"
    ]
    for name, row in rows.items():
        if ", " in name:
            continue
        peer: dict[str, Any] = next(
            (other for key, other in rows.items() if key.startswith(name + ", ")), {}
        )
        ratio = row["ms"] / peer["ms"] if peer else None
        busy = row["busy_ms"] / row["ms"] if "busy_ms" in row else None
        cells = [
            (row["ms"], 9, ".1f"),
            (peer.get("ms"), 9, ".1f"),
            (ratio, 6, ".2f"),
            (row.get("mfu"), 6, ".3f"),
            (row.get("peak_mb"), 8, ".0f"),
            (peer.get("peak_mb"), 8, ".0f"),
            (row.get("waits"), 6, "d"),
            (row.get("launches"), 8, "d"),
            (busy, 5, ".2f"),
        ]
        shown = [
            f"{value:{width}{kind}}" if value is not None else f"{'-':>{width}}"
            for value, width, kind in cells
        ]
        lines.append(" ".join([f"{name + (' SPLIT' if row.get('split') else ''):34}", *shown]))
    for section in ("precision", "resume", "predict", "evaluate", "processes", "left out"):
        lines += [
            f"{section}: {name}: {brief(row)}" for name, row in results.get(section, {}).items()
        ]
    lines += [f"FAILED {name}: {row['error']}" for name, row in results.get("failed", {}).items()]
    return "\n".join(lines)


def brief(row: Any) -> str:
    if isinstance(row, float):
        return f"{row:.4g}"
    if isinstance(row, dict):
        return ", ".join(
            f"{name} {'(' + brief(v) + ')' if isinstance(v, dict) else brief(v)}"
            for name, v in row.items()
        )
    return str(row)
