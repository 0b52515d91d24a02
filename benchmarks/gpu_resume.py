"""Kill a run with SIGKILL in the middle, go on with it, and compare it with runs that nobody
disturbed.

    # one run; benchmarks/gpu.py starts these
    python benchmarks/gpu_resume.py PLAN [--kill-after 6] [--deterministic]

Two undisturbed runs are compared as well: what a GPU adds up in another order each time differs
between them, too. With --deterministic torch is asked for the algorithms that do not, where it has
them.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from segue.cli.app import main as segue
from segue.data.synthetic import render_dataset
from segue.training import checkpoint
from segue.training.journal import Journal, read_rows

KILL_AFTER = 6
WAYS = ("undisturbed", "undisturbed again", "killed")


@dataclass(frozen=True)
class Trial:
    """One family, with the algorithms torch takes by itself or with deterministic ones; its runs
    lie in `folder`.
    """

    family: str
    deterministic: bool
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.family}, {'deterministic' if self.deterministic else 'as it is'}"

    def plan(self, way: str) -> Path:
        return self.folder / f"{way.replace(' ', '-')}.yaml"

    def stage(self, way: str) -> Path:
        return self.folder / way.replace(" ", "-") / "resume-1" / "1-both"

    def write(self, data: Path, device: str) -> None:
        """A plan for each run: eight steps, each of which is saved."""
        self.folder.mkdir(parents=True, exist_ok=True)
        model: dict[str, Any] = {"family": self.family, "size": "pico", "resolution": 160}
        model |= {"groups": 2, "queries": 30} if self.family == "rfdetr" else {}
        stage = {
            "name": "both",
            "task": "joint" if self.family == "rfdetr" else "boxes",
            "epochs": 2,
        }
        stage |= {
            "images_per_step": 4,
            "save_every_steps": 1,
            "workers": 2,
            "optimizer": {"lr": 1e-3, "clip": 1.0},
        }
        for way in WAYS:
            plan = {
                "name": "resume",
                "device": device,
                "data": {"root": str(data)},
                "model": model,
                "stages": [stage],
            }
            plan["runs"] = str(self.folder / way.replace(" ", "-"))
            self.plan(way).write_text(yaml.safe_dump(plan))

    def start(self, way: str, kill: bool) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "ignore", __file__, str(self.plan(way))]
        command += ["--deterministic"] if self.deterministic else []
        command += [f"--kill-after={KILL_AFTER}"] if kill else []
        environment = (
            {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
            if self.deterministic
            else dict(os.environ)
        )
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )

    def compared(self, way: str) -> dict[str, Any]:
        """A run compared with the undisturbed one: losses, weights and the rest of the state at
        their ends.
        """
        a, b = self.stage("undisturbed"), self.stage(way)
        losses = [
            [float(row["loss"]) for row in read_rows(stage / "steps.csv")] for stage in (a, b)
        ]
        weights = [checkpoint.read(stage / "last")[1] for stage in (a, b)]
        states = [checkpoint.read_state(stage / "last") for stage in (a, b)]
        differences = {
            "steps": len(losses[1]),
            "loss_difference": max(abs(x - y) for x, y in zip(*losses, strict=True)),
            "weight_difference": difference(*weights),
            "state_difference": difference(*states),
            "loss": losses[0][-1],
        }
        differences["equal"] = not any(
            differences[f"{what}_difference"] for what in ("loss", "weight", "state")
        )
        return differences


def difference(a: Any, b: Any) -> float:
    """The largest difference of any value in two nested structures; infinite where they differ in
    anything else.
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape:
            return float("inf")
        return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
    if isinstance(a, dict) and isinstance(b, dict):
        return (
            max((difference(a[k], b[k]) for k in a), default=0.0)
            if a.keys() == b.keys()
            else float("inf")
        )
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        same = len(a) == len(b)
        return (
            max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
            if same
            else float("inf")
        )
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b)
    return 0.0 if a == b else float("inf")


def resumed(folder: Path, device: str, quick: bool) -> dict[str, Any]:
    """All trials side by side: `undisturbed again` and `killed` compared with `undisturbed`."""
    data = render_dataset(folder / "data", {"train": 16, "valid": 4}, side=128, seed=3)
    families, ways = (("rfdetr",), (WAYS[0], WAYS[2])) if quick else (("rfdetr", "detr"), WAYS)
    trials = [
        Trial(family, deterministic, folder / f"{family}-{deterministic:d}")
        for family in families
        for deterministic in ((False,) if quick else (False, True))
    ]
    for trial in trials:
        trial.write(data, device)
    outputs: dict[tuple[Trial, str], tuple[str, int]] = {}
    running: list[tuple[Trial, str, subprocess.Popen[str]]] = []
    try:
        running += [
            (trial, way, trial.start(way, way == "killed")) for trial in trials for way in ways
        ]
        outputs |= {
            (trial, way): (process.communicate()[1], process.returncode)
            for trial, way, process in running
        }
        again = [(trial, "resumed", trial.start("killed", False)) for trial in trials]
        running += again
        outputs |= {
            (trial, way): (process.communicate()[1], process.returncode)
            for trial, way, process in again
        }
    finally:
        for _, _, process in running:
            process.kill()  # nothing is left of it where all went well
    return {
        trial.name: outcome(trial, ways, {way: outputs[t, way] for t, way in outputs if t == trial})
        for trial in trials
    }


def outcome(
    trial: Trial, ways: tuple[str, ...], outputs: dict[str, tuple[str, int]]
) -> dict[str, Any]:
    codes = {way: code for way, (_, code) in outputs.items()}
    expected = {way: -signal.SIGKILL if way == "killed" else 0 for way in codes}
    if codes != expected:
        last = {way: text[-1500:] for way, (text, code) in outputs.items() if code != expected[way]}
        return {"codes": codes, "said": last}
    comparisons: dict[str, Any] = {way: trial.compared(way) for way in ways[1:]}
    names = re.findall(
        r"(\w+) does not have a deterministic implementation", outputs["undisturbed"][0]
    )
    return {
        **comparisons,
        "going_on": "resuming from" in outputs["resumed"][0],
        "without_deterministic": sorted(set(names)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan")
    parser.add_argument("--kill-after", type=int)
    parser.add_argument("--deterministic", action="store_true")
    args = parser.parse_args()
    if args.deterministic:
        # of attention only one way is the same each time
        for name in ("flash", "mem_efficient", "cudnn"):
            getattr(torch.backends.cuda, f"enable_{name}_sdp")(False)
        torch.use_deterministic_algorithms(True, warn_only=True)
        warnings.filterwarnings("always", ".*does not have a deterministic implementation")
    note = Journal.step

    def deadly(self: Journal, row: dict[str, float]) -> None:
        note(self, row)
        if row["step"] == args.kill_after:  # before this step is saved
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.step = deadly  # type: ignore[method-assign]
    sys.exit(segue(["run", args.plan]))


if __name__ == "__main__":
    main()
