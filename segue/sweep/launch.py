"""Starting runs in processes of their own: on this machine, or on a Ray cluster.

A run that is killed, runs out of memory or crashes takes nothing with it but its process. On this
machine processes are forked from one that has imported segue and done nothing else, so that a run
starts at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from segue.errors import Interrupted, PlanError, SegueError

POLL = 0.1  # seconds between two looks at what runs


@dataclass(frozen=True, slots=True)
class SweepJob:
    """A plan to run. cwd: the folder that relative paths in it start from. log: where all it says
    goes, appended.

    device: instead of the plan's. threads: of the CPU; sums that are divided among another number
    of threads may have other last bits.
    """

    plan: Path
    log: Path
    cwd: Path
    threads: int
    device: str | None = None


class Running(Protocol):
    """A job that was started."""

    def code(self) -> int | None:
        """Its exit code, -N if signal N ended it; None while it runs."""
        ...

    def stop(self) -> None:
        """Ask it to save and to stop."""
        ...


class Local:
    """A job in a process on this machine."""

    def __init__(self, job: SweepJob) -> None:
        context: Any = multiprocessing.get_context(
            "forkserver" if sys.platform == "linux" else "spawn"
        )
        if sys.platform == "linux":
            context.set_forkserver_preload(["segue.run.runner"])
        self.process = context.Process(target=run_job, args=(job,))
        self.process.start()

    def code(self) -> int | None:
        return self.process.exitcode

    def stop(self) -> None:
        if self.process.is_alive():
            self.process.terminate()


class OnRay:
    """A job in a process on a node of a Ray cluster, all of which see the same files."""

    def __init__(self, job: SweepJob, gpus: int) -> None:
        import ray

        task = ray.remote(num_cpus=job.threads, num_gpus=gpus, max_retries=0)(run_here)
        self.reference, self.log = task.remote(job), job.log

    def code(self) -> int | None:
        import ray

        done, _ = ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            return ray.get(done[0])
        except ray.exceptions.TaskCancelledError:
            return 128 + signal.SIGTERM
        except ray.exceptions.RayError as error:  # the node or the worker is gone, or has no segue
            lines = [line for line in str(error).splitlines() if line.strip()]
            with self.log.open("a", encoding="utf-8") as log:
                log.write(
                    "\n".join([*lines, f"on Ray: {type(error).__name__}: {lines[-1].strip()}"])
                    + "\n"
                )
            return 1

    def stop(self) -> None:
        import ray

        ray.cancel(self.reference)


def join_ray() -> tuple[int, int]:
    """Join the Ray cluster that RAY_ADDRESS names or that runs here, or start one.

    Returns how many CPU cores its largest node has, and how many GPUs there are.

    Raises:
        PlanError: if Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise PlanError(
            "--on ray", "Ray is not installed", "the extra", 'pip install "segue[ray]"'
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    cores = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return int(max(cores, default=0)), int(ray.cluster_resources().get("GPU", 0))


def run_here(job: SweepJob) -> int:
    """Run a job to its end in a process of its own; return its exit code.

    Cancelled, it saves and stops.
    """
    running = Local(job)
    while (code := running.code()) is None:
        try:
            time.sleep(POLL)
        except KeyboardInterrupt:  # how Ray cancels
            running.stop()
    return code


def run_job(job: SweepJob) -> None:
    """What the process of a job does. Ends it with the exit code of `segue run`."""
    _stand_alone()
    os.chdir(job.cwd)
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import torch

    from segue.plan.reading import load_plan
    from segue.run.runner import run_plan

    torch.set_num_threads(job.threads)
    try:
        run_plan(load_plan(job.plan, (f"device={job.device}",) if job.device else ()))
    except SegueError as error:
        sys.stderr.write(f"segue: error: {error.message}\n")
        sys.exit(error.exit_code)
    except Interrupted as stop:
        sys.stderr.write(f"segue: {stop}\n")
        sys.exit(stop.exit_code)


def _stand_alone() -> None:
    """Be out of reach of Ctrl-C, which who started us passes on once; but save and stop when they
    are gone.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_stop_with_parent, daemon=True).start()


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
