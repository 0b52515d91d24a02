"""The benchmark of a GPU runs to its end without one, so that nothing in it is found out on a card
that costs money.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def run(tmp_path, *arguments: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(ROOT / "benchmarks" / "gpu.py"),
        "--out",
        str(tmp_path / "gpu.json"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=1500, env=environment
    )


@pytest.mark.slow
def test_every_section_runs_on_a_cpu(tmp_path):
    done = run(tmp_path, "--device", "cpu", "--quick")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert "failed" not in found and "left out" not in found, found.get("failed")
    assert len(found["steps"]) == 7 + 2 + 4 and all(
        row["ms"] > 0 for row in found["steps"].values()
    )
    assert (
        found["resume"]["rfdetr, as it is"]["killed"]["equal"]
        and found["resume"]["rfdetr, as it is"]["going_on"]
    )
    for section in ("machine", "precision", "predict", "evaluate", "processes"):
        assert found[section]
    assert "FAILED" not in done.stdout and "seg-nano cached" in done.stdout


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_one_line(tmp_path):
    done = run(tmp_path)
    assert (
        done.returncode == 1
        and done.stderr == "gpu.py: no GPU here; --device cpu --quick shows that it runs\n"
    )
