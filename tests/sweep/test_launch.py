"""A sweep on a local Ray cluster gives what it gives one member after another."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from segue.errors import PlanError
from segue.sweep import launch
from segue.sweep.launch import OnRay, SweepJob, join_ray
from segue.sweep.runner import LOG, reason_of
from tests.sweep.test_runner import command, stop_once_there, toy_sweep
from tests.toy import losses, same_tensors

VALUES = ("model.queries=20,30", "stages.detector.optimizer.lr=1e-3,1e-4")


def test_without_ray_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        PlanError,
        match=r'Ray is not installed; expected the extra; next: pip install "segue\[ray\]"',
    ):
        join_ray()


def test_devices_and_ray_are_two_answers_to_one_question(rendered, tmp_path):
    code, _, said = command(
        "sweep", toy_sweep(rendered, tmp_path), *VALUES, "--on", "ray", "--devices", "cpu,cpu"
    )
    assert code == 2 and "--devices: cannot be combined with --on ray" in said


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False)
    yield ray
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.slow
def test_on_a_ray_cluster_of_two_workers_results_are_the_same_to_the_bit(
    cluster, rendered, tmp_path
):
    assert cluster.cluster_resources()["CPU"] == 2 and len(cluster.nodes()) == 2
    code, out, said = command("sweep", toy_sweep(rendered, tmp_path), *VALUES, "--threads", 1)
    assert code == 0, said
    (tmp_path / "ray").mkdir()
    code, parallel, said = command(
        "sweep", toy_sweep(rendered, tmp_path / "ray"), *VALUES, "--threads", 1, "--on", "ray"
    )
    assert code == 0, said
    first, second = Path(out.strip()), Path(parallel.strip())
    names = sorted(path.parent.name for path in first.glob("*/plan.yaml"))
    assert len(names) == 4
    for name in names:
        here, there = (sweep / name / "toy-1" / "1-detector" for sweep in (first, second))
        assert losses(here) == losses(there) and len(losses(here)) == 8
        assert same_tensors(here / "selected", there / "selected") and same_tensors(
            here / "last", there / "last"
        )
        assert (here / "predictions.coco.json").read_bytes() == (
            there / "predictions.coco.json"
        ).read_bytes()


@pytest.mark.slow
def test_a_job_cancelled_on_ray_saves_and_stops(cluster, rendered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("slow").touch()
    stage = (
        tmp_path
        / "runs"
        / "toy-sweep-1"
        / "family=tests.broken_families.starved"
        / "toy-1"
        / "1-detector"
    )
    plan = toy_sweep(rendered, tmp_path)
    stop_once_there(stage / "steps.csv")
    # too long to end before
    members = ("model.family=rfdetr,tests.broken_families.starved", "stages.detector.epochs=20")
    code, _, said = command("sweep", plan, *members, "--threads", 1, "--on", "ray")
    assert code == 143, said
    assert (stage / "last" / "card.json").is_file() and 0 < len(losses(stage)) < 80
    assert "everything is saved" in (stage.parent.parent / LOG).read_text()


@pytest.mark.slow
def test_a_job_whose_worker_is_gone_failed_and_its_log_says_so(cluster, tmp_path, monkeypatch):
    def dies(job: SweepJob) -> int:
        import os

        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    monkeypatch.setattr(launch, "run_here", dies)
    running = OnRay(SweepJob(tmp_path, tmp_path / LOG, tmp_path, 1), 0)
    deadline = time.monotonic() + 60
    while (code := running.code()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert code == 1 and reason_of(1, tmp_path / LOG).startswith("on Ray: WorkerCrashedError: ")


@pytest.mark.slow
def test_more_threads_than_any_node_has_are_refused_before_ray_waits_for_them(
    cluster, rendered, tmp_path
):
    code, _, said = command(
        "sweep", toy_sweep(rendered, tmp_path), *VALUES, "--threads", 2, "--on", "ray"
    )
    assert code == 2 and "the largest node has 1 cores" in said
