"""Measure what was trained of each backbone on the test split: accuracy, speed and size, and who
leads in which.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

from segue.compat.rgbx_sweep.attempts import Result, attempted, ranked
from segue.compat.rgbx_sweep.plan import ALL, BACKBONES, add_backbones, add_data
from segue.compat.rgbx_sweep.scores import (
    data_for,
    draw_results,
    open_model,
    scores,
    size_mb,
    speed,
)
from segue.errors import CheckpointError, show

# What the training commands leave, of train_all_backbones.py and of the comprehensive one.
PATTERNS = ("crossattentiondet_{backbone}.pth", "{backbone}/checkpoints/best_model.pth")
COLUMNS = ("Backbone", "Params", "Size(MB)", "Time(ms)", "FPS", "mAP@50", "mAP@75", "mAP")
# Title, key of the results that ranks, whether the most is best, and what a line says.
RANKINGS = (
    (
        "Speed Ranking (fastest to slowest):",
        "ms",
        False,
        "{ms:.2f} ms/image ({fps:.2f} FPS)",
    ),
    (
        "Accuracy Ranking (mAP, best to worst):",
        "map",
        True,
        "mAP: {map:.4f}, mAP@50: {map_50:.4f}",
    ),
    (
        "Model Size Ranking (smallest to largest):",
        "params",
        False,
        "{params:,} params, {size:.2f} MB",
    ),
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data(parser, required=True)
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        help="checkpoints, or the newest run in training_logs, if left out",
    )
    parser.add_argument(
        "--checkpoint-pattern", help="where, with {backbone}; " + " or ".join(PATTERNS)
    )
    add_backbones(parser, default=None)
    parser.add_argument(
        "--results-dir", type=Path, default=Path("test_results"), help="for drawings"
    )
    return parser.parse_args()


def command() -> int:
    args = parse()
    patterns = (args.checkpoint_pattern,) if args.checkpoint_pattern else PATTERNS
    folder = folder_of(args.checkpoint_dir, patterns)
    backbones = (
        args.backbones or [b for b in BACKBONES if checkpoint_of(folder, patterns, b)] or list(ALL)
    )
    began = time.monotonic()

    def test(backbone: str) -> Result:
        path = checkpoint_of(folder, patterns, backbone)
        if path is None:
            listed = " or ".join(
                str(folder / pattern.format(backbone=backbone)) for pattern in patterns
            )
            raise CheckpointError(backbone, "no checkpoint", listed)
        return tested(args, backbone, path)

    results = [attempted(backbone, partial(test, backbone)) for backbone in backbones]
    failed = sum(not result["success"] for result in results)
    counts = f"Successful: {len(results) - failed}/{len(results)}\nFailed: {failed}/{len(results)}"
    head = [
        f"Date: {datetime.now():%Y-%m-%d %H:%M:%S}",
        f"Data directory: {args.data}",
        f"Batch size: {args.batch_size}",
    ]
    took = f"Total evaluation time: {time.monotonic() - began:.2f} seconds"
    lines = ["EVALUATION SUMMARY", *head, took, "", *tables(results), "", counts]
    show("\n".join(lines))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"evaluation_summary_{datetime.now():%Y%m%d_%H%M%S}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    show(f"Summary saved to: {path}")
    return 1 if failed else 0


def folder_of(given: Path | None, patterns: tuple[str, ...]) -> Path:
    """Where to look: the folder given or the newest run in it; by default checkpoints, then
    training_logs.
    """
    for root in (given,) if given is not None else (Path("checkpoints"), Path("training_logs")):
        for folder in (root, *sorted(root.glob("run_*"), reverse=True)):
            if any(checkpoint_of(folder, patterns, backbone) for backbone in BACKBONES):
                return folder
    return given or Path("checkpoints")


def checkpoint_of(folder: Path, patterns: tuple[str, ...], backbone: str) -> Path | None:
    """The first of the patterns that is a file."""
    paths = (folder / pattern.format(backbone=backbone) for pattern in patterns)
    return next((path for path in paths if path.is_file()), None)


def tested(args: argparse.Namespace, backbone: str, path: Path) -> Result:
    """Accuracy, speed and size of one checkpoint; its drawings go to a folder of its name."""
    predictor = open_model(path, backbone, args.device)
    data = data_for(predictor, args)
    records = data.splits["test"].records
    metrics = scores(predictor, data, args.batch_size)
    figures, time_of_one = metrics.figures(), speed(predictor, records, args.batch_size)
    draw_results(predictor, records, args.results_dir / backbone, args.batch_size)
    show(
        f"{backbone}: {path}, {len(records)} test images, mAP {figures['box_ap']:.4f}, "
        f"{time_of_one.ms:.2f} ms/image"
    )
    return {
        "params": sum(p.numel() for p in predictor.chain.parameters()),
        "size": size_mb(predictor),
        "ms": time_of_one.ms,
        "fps": time_of_one.fps,
        "map_50": figures["box_ap50"],
        "map_75": figures["box_ap75"],
        "map": figures["box_ap"],
    }


def tables(results: list[Result]) -> list[str]:
    """The comparison, and who leads in speed, accuracy and size; then what failed."""
    lines = ["Model Comparison:", _row(COLUMNS)]
    lines += [_row(cells_of(result)) for result in results if result["success"]]
    for title, key, most_first, text in RANKINGS:

        def worth(result: Result, key: str = key, most_first: bool = most_first) -> float:
            return -result[key] if most_first else result[key]

        def line(result: Result, text: str = text) -> str:
            return f"{result['backbone']} - {text.format(**result)}"

        lines += ["", title, *ranked(results, worth, line)]
    failures = [f"  {r['backbone']}: {r['error']}" for r in results if not r["success"]]
    return lines + (["", "Failed Evaluations:", *failures] if failures else [])


def cells_of(result: Result) -> list[str]:
    """A row of the comparison, under COLUMNS."""
    return [
        result["backbone"],
        f"{result['params'] / 1e6:.1f}M",
        f"{result['size']:.2f}",
        f"{result['ms']:.2f}",
        f"{result['fps']:.2f}",
        *(f"{result[name]:.4f}" for name in ("map_50", "map_75", "map")),
    ]


def _row(cells: Iterable[str]) -> str:
    return "".join(f"{cell:>12}" for cell in cells)
