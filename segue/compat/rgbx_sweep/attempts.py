"""What the commands that train and test several backbones have in common: failures that stay apart,
and rankings.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from segue.compat.rgbx_sweep.plan import STAGE, plan_of
from segue.errors import Interrupted, SegueError, printable
from segue.run.console import Console
from segue.run.data import read_all_data
from segue.training import checkpoint, single_file

Result = dict[str, Any]


def refuse_bad_data(args: argparse.Namespace, backbone: str) -> None:
    """Refuse now, for all backbones, what each of them would be refused for; every image is decoded
    once.

    Raises:
        SegueError: if a flag, a label or an image cannot be.
    """
    read_all_data(plan_of(args, backbone, Path("runs"), backbone), Console(quiet=True))


def attempted(backbone: str, work: Callable[[], Result], logs: Path | None = None) -> Result:
    """What some work on a backbone came to: its result with success, or its error.

    logs: where error.txt says where in the code it failed. Being stopped is no failure.
    """
    began = time.monotonic()
    try:
        return {"success": True, "backbone": backbone, **work()}
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001  the next backbone may do well, whatever this one met
        message = (
            error.message if isinstance(error, SegueError) else f"{type(error).__name__}: {error}"
        )
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
            (logs / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        sys.stderr.write(printable(f"{backbone}: failed: {message}\n"))
        failure = {
            "success": False,
            "backbone": backbone,
            "error": message,
            "total_time_sec": time.monotonic() - began,
        }
    gc.collect()  # here, where the error no longer holds the tensors of the failed step
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return failure


def ranked(
    results: Sequence[Result], worth: Callable[[Result], float], line: Callable[[Result], str]
) -> list[str]:
    """Those that succeeded, least worth first, numbered."""
    succeeded = sorted((result for result in results if result["success"]), key=worth)
    return [f"  {number}. {line(result)}" for number, result in enumerate(succeeded, 1)]


def write_selected(run: Path, target: Path, backbone: str) -> Result:
    """The weights of the epoch with the best validation AP as one file; says which epoch, and its
    AP.
    """
    card, tensors = checkpoint.read(run / f"1-{STAGE}" / "selected")
    selected = {"epoch": card.epoch, "val_ap": card.metrics[card.selected_by]}
    single_file.write(target, card, tensors, backbone=backbone, **selected)
    return selected
