"""What segue does on a GPU, compared with what its users would take instead on the same card.

    python benchmarks/gpu.py [--out gpu.json] [--device cuda] [--only steps resume] [--minutes 6]
    [--quick]

One JSON file, written again after each row, and one table. Every section has a time of its own and
may fail without the others; its traceback is then in the file. Weights are random and images noise,
so nothing is read from the network.

    machine     what there is, and the two ceilings: operations a second of a product, bytes a
                second of a copy
    steps       training steps of each family, and of rfdetr, transformers and torchvision; memory,
                waits and launches
    precision   the first losses in fp32, bf16 and fp16, and those of the CPU in fp32
    resume      SIGKILL in the middle of a run, and the same command again, compared with
                undisturbed runs
    predict     1, 8 and 32 images from pixels in memory to detections, and rfdetr's own predict
    evaluate    reading, predicting and measuring a data set, of boxes and of masks
    processes   two processes compared with one, where there are two cards

MFU: operations that products and convolutions ask for (as `segue check` counts them), over the
step's time, over what the data sheet says of the card's bf16. `--quick --device cpu` runs all of it
on models of a few pixels.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import gpu_cases
import torch
import torchvision
import transformers
from gpu_bench import Bench, table
from gpu_cases import DTYPES
from gpu_inference import evaluated, losses_by_precision, predicted, two_processes
from gpu_measure import ceilings, datasheet_flops, launches, timed, waits
from gpu_resume import resumed
from gpu_sizes import FULL, QUICK, Case

from segue import __version__
from segue.training.estimate import needs


def machine(bench: Bench) -> None:
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "segue": __version__,
    }
    versions |= {"torchvision": torchvision.__version__, "transformers": transformers.__version__}
    bench.put("machine", "versions", versions)
    bench.put("machine", "threads", torch.get_num_threads())
    if bench.cuda:
        bench.put("machine", "card", torch.cuda.get_device_name(bench.device))
        bench.put(
            "machine",
            "memory_gb",
            torch.cuda.get_device_properties(bench.device).total_memory / 1e9,
        )
        bench.attempt(
            "machine",
            "ceilings",
            20,
            lambda: bench.put("machine", "ceilings", ceilings(bench.device)),
        )


def steps(bench: Bench) -> None:
    for case in QUICK if bench.quick else FULL:
        usual = "bf16" if bench.cuda else "fp32"  # few CPUs compute in half precision
        for precision in (
            usual,
            *(name for name in DTYPES if name != usual and case.name == "nano"),
        ):
            bench.attempt(
                "steps", f"{case.name} {precision}", 60, partial(our_step, bench, case, precision)
            )
        if case.peer:
            bench.attempt(
                "steps",
                f"{case.name} {usual}, {case.peer}",
                60,
                partial(their_step, bench, case, usual),
            )


def our_step(bench: Bench, case: Case, precision: str) -> None:
    step, learner, _ = gpu_cases.ours(case, bench.device, precision)
    row = timed(step, bench.device, bench.step_seconds)
    row |= {"images": case.images, "at_once": learner.progress.images_per_forward}
    row |= {
        "split": row["at_once"] < case.images,
        "parameters": sum(p.numel() for p in learner.chain.parameters()),
    }
    if not case.cached:
        needed = needs(learner.chain, case.objects)
        row["flops"] = needed.step * case.images
        row["flops_per_s"] = row["flops"] / row["ms"] * 1000
        row["foretold_mb"] = needed.bytes_of(case.images, learner.precision, averaged=False) / 1e6
        peak = datasheet_flops(bench.device)
        row |= {"mfu": row["flops_per_s"] / peak} if peak and precision != "fp32" else {}
    looked_into(bench, f"{case.name} {precision}", row, step)


def their_step(bench: Bench, case: Case, precision: str) -> None:
    step = gpu_cases.theirs(case, bench.device, precision)
    row = timed(step, bench.device, bench.step_seconds)
    looked_into(bench, f"{case.name} {precision}, {case.peer}", row, step)


def looked_into(bench: Bench, name: str, row: dict[str, Any], step: Callable[[], None]) -> None:
    """Put down a step's row, and on a GPU again with what one more step waits for and launches."""
    bench.put("steps", name, row)
    if bench.cuda:
        bench.put("steps", name, row := row | waits(step))
        bench.put("steps", name, row | launches(step))


def precision(bench: Bench) -> None:
    for family in ("rfdetr",) if bench.quick else ("rfdetr", "detr", "mask2former", "rgbx_rcnn"):
        bench.attempt("precision", family, 20, partial(losses, bench, family))


def losses(bench: Bench, family: str) -> None:
    bench.put(
        "precision", family, losses_by_precision(family, bench.device, 2 if bench.quick else 10)
    )


def resume(bench: Bench) -> None:
    rows_in_folder(
        bench, "resume", 120, lambda folder: resumed(folder, bench.device, bench.quick).items()
    )


def predict(bench: Bench) -> None:
    rows_in_folder(
        bench, "predict", 60, lambda folder: predicted(folder, bench.device, bench.quick)
    )


def evaluate(bench: Bench) -> None:
    rows_in_folder(
        bench, "evaluate", 60, lambda folder: evaluated(folder, bench.device, bench.quick)
    )


def processes(bench: Bench) -> None:
    if torch.cuda.device_count() < 2:
        bench.put("processes", "nccl", "not run: fewer than two GPUs")
        return
    rows_in_folder(bench, "processes", 90, lambda folder: [("nccl", two_processes(folder))])


def rows_in_folder(
    bench: Bench, section: str, seconds: float, rows: Callable[[Path], Iterable[tuple[str, Any]]]
) -> None:
    """Put down each row as soon as it is there, with a folder to work in."""
    with tempfile.TemporaryDirectory() as folder:

        def work() -> None:
            for name, row in rows(Path(folder)):
                bench.put(section, name, row)

        bench.attempt(section, "all", seconds, work)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "machine": machine,
    "steps": steps,
    "precision": precision,
    "resume": resume,
    "predict": predict,
    "evaluate": evaluate,
    "processes": processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--minutes", type=float, help="altogether; 6, and 20 on a CPU")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("gpu.py: no GPU here; --device cpu --quick shows that it runs")
    args.minutes = args.minutes or (6.0 if args.device.startswith("cuda") else 20.0)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    bench = Bench(args.device, args.quick, args.out, time.monotonic() + 60 * args.minutes)
    for name in args.only:
        try:
            SECTIONS[name](bench)
        except Exception as error:  # noqa: BLE001  # not attempted, such as a full disk
            bench.put(
                "failed",
                name,
                {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()},
            )
    bench.put("machine", "total_s", round(60 * args.minutes - (bench.ends - time.monotonic()), 1))
    print(table(bench.found), flush=True)


if __name__ == "__main__":
    main()
