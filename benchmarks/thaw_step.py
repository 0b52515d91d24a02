"""What a step costs with a frozen backbone, against one in which everything learns.

    python benchmarks/thaw_step.py [--sizes resnet50 dinov2-small] [--decoder plain] [--rounds 5]
    [--device cpu]

Three ways to do a step of DETR on the same images, interleaved, medians of all rounds:

    thawed    everything learns
    frozen    the backbone frozen: eval, no recording
    cached    the frozen backbone's output read from memory

Activations are the bytes that backward keeps, counted; memory is the peak above what was there
before the step, each way in a process of its own. Time is this process's CPU seconds (wall seconds
on a GPU).
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

from segue.models import ModelSpec, detr
from segue.models.parts.chain import Chain
from segue.training import optim
from segue.training.freeze_benefit import counted

WAYS = ("thawed", "frozen", "cached")


@dataclass(frozen=True)
class Case:
    size: str
    decoder: str
    images: int
    objects: int
    device: str


def step_of(way: str, case: Case) -> tuple[Callable[[], None], Chain]:
    """A function that does one optimizer step in one of the ways, and the model it trains."""
    chosen = detr.Options.model_validate({"decoder": case.decoder})
    options, _ = detr.resolve_options(chosen, detr.SIZES[case.size], case.objects, case.device)
    spec = ModelSpec(
        family="detr", size=case.size, classes=("a", "b", "c"), options=options.model_dump()
    )
    torch.manual_seed(0)
    chain = detr.build(spec, masks=False).to(case.device)
    batch = batch_of(case.images, spec.options["resolution"], case.objects).to(case.device)
    chain.freeze_through(None if way == "thawed" else "backbone")
    criterion = detr.criterion(chain, "boxes", {})
    optimizer = optim.build(chain, optim.Optimizer())
    inputs = chain.eval().prefix(batch.inputs) if way == "cached" else batch.inputs
    start = chain.boundary if way == "cached" else 0
    chain.train()

    def step() -> None:
        sums = criterion(detr.predictions(chain, chain(inputs, start=start)), batch.targets)
        criterion.total(sums, batch.counts()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if case.device.startswith("cuda"):
            torch.cuda.synchronize()

    return step, chain


def in_process(case: Case, way: str) -> int:
    """Peak memory of one way, measured in a process of its own."""
    arguments = [f"--sizes={case.size}", f"--decoder={case.decoder}", f"--images={case.images}"]
    arguments += [f"--objects={case.objects}", f"--device={case.device}", f"--memory-of={way}"]
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds, bytes of activations and peak bytes of each way."""
    steps = {way: step_of(way, case) for way in WAYS}
    took = medians({way: step for way, (step, _) in steps.items()}, rounds, case.device)
    kept = {way: counted(chain, step) for way, (step, chain) in steps.items()}
    used = {way: in_process(case, way) for way in WAYS}
    return {
        way: {"seconds": took[way], "activations": kept[way], "peak": used[way]} for way in WAYS
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["resnet50", "dinov2-small"])
    parser.add_argument("--decoder", choices=("plain", "conditional"), default="plain")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    cases = [
        Case(size, args.decoder, args.images, args.objects, args.device) for size in args.sizes
    ]
    if args.memory_of:
        print(peak_bytes(step_of(args.memory_of, cases[0])[0], args.device))
        return
    results = {}
    for case in cases:
        results[case.size] = timing = measure(case, args.rounds)
        print(case)
        for way, numbers in timing.items():
            shares = "  ".join(
                f"{name} {value / timing['thawed'][name]:.3f} of thawed ({value:.4g})"
                for name, value in numbers.items()
            )
            print(f"  {way:8} {shares}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
