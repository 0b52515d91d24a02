"""Two processes train what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import toy_plan, write_plan
from tests.toy import losses, run


def torchrun(plan: Path, count: int) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={count}",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [*command, "-m", "segue", "run", str(plan)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )


@pytest.mark.slow
def test_two_processes_give_the_losses_and_metrics_of_one(rendered: Path, tmp_path: Path) -> None:
    # 16 images in steps of 5: shares are uneven, and in the last step one process has nothing to do
    common = {"images_per_step": 5, "epochs": 1}
    changes = {"detector": common, "masks": {**common, "epochs": 2, "cache": {"views": 1}}}
    alone = run(toy_plan(rendered, tmp_path / "one", **changes))
    plan = write_plan(tmp_path / "plan.yaml", toy_plan(rendered, tmp_path / "two", **changes))
    out = torchrun(plan, 2)
    assert out.returncode == 0, out.stderr
    both = tmp_path / "two" / "toy-1"
    for stage in ("1-detector", "2-masks"):
        assert losses(both / stage)[:2] == pytest.approx(losses(alone / stage)[:2], rel=1e-5)
        assert losses(both / stage) == pytest.approx(losses(alone / stage), rel=1e-3)
    assert "complete" in (both / "run.json").read_text() and "cached, " in out.stderr
    again = torchrun(plan, 2)
    assert again.returncode == 0 and again.stderr.count("complete, kept") == 2, again.stderr


@pytest.mark.slow
def test_two_processes_thaw_what_one_thaws(rendered: Path, tmp_path: Path) -> None:
    thaw = {
        "freeze": "backbone",
        "thaw": {1: "backbone.last_half", 2: "backbone"},
        "start": "detector",
    }
    content = toy_plan(rendered, tmp_path / "one", detector={"epochs": 1, "images_per_step": 5})
    content["model"] = {"family": "detr", "size": "pico", "resolution": 64}
    content["stages"][1] = {**content["stages"][0], "name": "tune", "epochs": 3, "keep": 2, **thaw}
    alone = run(content) / "2-tune"
    plan = write_plan(tmp_path / "plan.yaml", {**content, "runs": str(tmp_path / "two")})
    out = torchrun(plan, 2)
    assert out.returncode == 0, out.stderr
    both = tmp_path / "two" / "toy-1" / "2-tune"
    assert losses(both)[:2] == pytest.approx(losses(alone)[:2], rel=1e-5)
    assert losses(both) == pytest.approx(losses(alone), rel=1e-3)
    assert (both / "saving.json").is_file() and len(list((both / "best").iterdir())) == 2
