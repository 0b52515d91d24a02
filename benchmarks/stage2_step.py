"""What a step of the masks stage costs, against training detector and masks together.

    python benchmarks/stage2_step.py [--sizes pico nano] [--groups 13] [--rounds 5] [--device cpu]

Four ways to do a step on the same images, interleaved, medians of all rounds:

    joint     everything learns, in as many query groups as rfdetr trains with (13)
    naive     the detector's gradients switched off and nothing else: train mode, all groups, masks
              in the matching
    frozen    the detector frozen as segue freezes it: eval, no recording, one group, matched by
              class and box
    cached    the frozen detector's outputs read from memory

Time is this process's CPU seconds (wall seconds on a GPU); memory is the peak above what was there
before the step, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from steps import batch_of, medians, peak_bytes

from segue.models import ModelSpec, rfdetr
from segue.training import optim

WAYS = ("joint", "naive", "frozen", "cached")
CLASSES = ("a", "b", "c")


@dataclass(frozen=True)
class Case:
    """What is measured: random images with so many objects each, on a model with so many query
    groups.
    """

    size: str
    images: int
    objects: int
    groups: int
    device: str


def step_of(way: str, case: Case) -> Callable[[], None]:
    """A function that does one optimizer step in one of the ways."""
    options, _ = rfdetr.resolve_options(
        rfdetr.Options(groups=case.groups), rfdetr.SIZES[case.size], case.objects, case.device
    )
    spec = ModelSpec(family="rfdetr", size=case.size, classes=CLASSES, options=options.model_dump())
    torch.manual_seed(0)
    chain = rfdetr.build(spec, masks=True).to(case.device)
    batch = batch_of(case.images, spec.options["resolution"], case.objects).to(case.device)
    task = "joint" if way in ("joint", "naive") else "masks"
    if task == "masks":
        chain.freeze_through("decoder")
    elif way == "naive":
        for part in ("backbone", "projector", "decoder"):
            chain.part(part).requires_grad_(False)
    criterion = rfdetr.criterion(chain, task, {})
    optimizer = optim.build(chain, optim.Optimizer())
    inputs = chain.eval().prefix(batch.inputs) if way == "cached" else batch.inputs
    start = chain.boundary if way == "cached" else 0
    chain.train()

    def step() -> None:
        state = chain(inputs, start=start)
        sums = criterion(rfdetr.predictions(chain, state), batch.targets)
        criterion.total(sums, batch.counts()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if case.device.startswith("cuda"):
            torch.cuda.synchronize()

    return step


def seconds(case: Case, rounds: int) -> dict[str, float]:
    """Median seconds of a step of each way."""
    return medians({way: step_of(way, case) for way in WAYS}, rounds, case.device)


def in_process(arguments: list[str]) -> int:
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["pico", "nano"])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--groups", type=int, default=13)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    cases = [Case(size, args.images, args.objects, args.groups, args.device) for size in args.sizes]
    if args.memory_of:
        print(peak_bytes(step_of(args.memory_of, cases[0]), args.device))
        return
    shared = [
        f"--{name}={getattr(args, name)}" for name in ("images", "objects", "groups", "device")
    ]
    results = {}
    for case in cases:
        took = seconds(case, args.rounds)
        used = {
            way: in_process([*shared, f"--sizes={case.size}", f"--memory-of={way}"]) for way in WAYS
        }
        print(case)
        for way in WAYS:
            print(
                f"  {way:8} {took[way]:8.3f} s  {took[way] / took['joint']:.3f} of joint   "
                f"{used[way] / 1e6:8.0f} MB  {used[way] / used['joint']:.3f} of joint"
            )
        results[case.size] = {way: {"seconds": took[way], "bytes": used[way]} for way in WAYS}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
