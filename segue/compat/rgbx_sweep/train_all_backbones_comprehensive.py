"""Train backbones one after another, and write down every epoch and batch.

One that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from segue.base.files import write_json
from segue.compat.common import plain
from segue.compat.rgbx_sweep.attempts import Result, attempted, ranked, refuse_bad_data
from segue.compat.rgbx_sweep.files import Followed, discard_last, leave_final
from segue.compat.rgbx_sweep.member import Member
from segue.compat.rgbx_sweep.plan import (
    add_backbones,
    add_data,
    add_schedule,
    add_training,
    plan_of,
)
from segue.compat.rgbx_sweep.tables import now, read_table
from segue.errors import Interrupted, PlanError, show
from segue.run.runner import run_plan

CONFIG, SUMMARY = "run_config.json", "final_summary.json"


def parse() -> argparse.Namespace:
    """The flags; with --resume, those that the run was begun with."""
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--resume", type=Path)
    resumed, others = early.parse_known_args()
    parser = argparse.ArgumentParser(description=__doc__)
    add_data(parser, required=True)
    add_training(parser, epochs=30)
    add_schedule(parser)
    add_backbones(parser)
    parser.add_argument("--log-dir", type=Path, default=Path("training_logs"))
    parser.add_argument(
        "--keep-all-epochs", action="store_true", help="not only the best and the newest checkpoint"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="RUN_DIR",
        help="resume an unfinished run with its own settings",
    )
    if resumed.resume is None or {"-h", "--help"} & set(others):
        return parser.parse_args()
    if others:
        parser.error(f"--resume uses the settings of that run; leave out {' '.join(others)}")
    return argparse.Namespace(**{**read_config(resumed.resume), "resume": resumed.resume})


def read_config(run: Path) -> dict[str, Any]:
    """The flags a run was begun with.

    Raises:
        PlanError: if there is no such run.
    """
    try:
        content = json.loads((run / CONFIG).read_text(encoding="utf-8"))
        return content | {key: Path(content[key]) for key in ("data", "log_dir")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(
            f"--resume {run}", f"no {CONFIG} to read ({error})", "a folder training_logs/run_..."
        ) from None


def command() -> int:
    args = parse()
    refuse_bad_data(args, args.backbones[0])
    folder = args.resume or new_folder(args.log_dir)
    config = plain(vars(args))
    config.pop("resume")
    if args.resume is None:
        write_json(folder / CONFIG, config, indent=2)
    show(f"run {folder}: {', '.join(args.backbones)}, {args.epochs} epochs each")
    began = time.monotonic()
    results: list[Result] = []
    for backbone in args.backbones:
        try:
            results.append(train(args, backbone, folder))
        except Interrupted as stop:
            sys.stderr.write(f"{stop}, --resume {folder} resumes it\n")
            return stop.exit_code
    failed = sum(not result["success"] for result in results)
    seconds = time.monotonic() - began
    summary = {
        "run_config": config,
        "total_time_sec": seconds,
        "total_time_hours": seconds / 3600,
        "results": results,
    }
    counts = {"successful": len(results) - failed, "failed": failed, "timestamp": now()}
    write_json(folder / SUMMARY, {**summary, **counts}, indent=2)
    show("\n".join(summary_lines(results)))
    show(f"{counts['successful']} of {len(results)} trained; {folder / SUMMARY}")
    return 1 if failed else 0


def new_folder(logs: Path) -> Path:
    """run_<date>_<time>, which nobody else has."""
    while True:
        folder = logs / f"run_{datetime.now():%Y%m%d_%H%M%S}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            time.sleep(0.1)


def train(args: argparse.Namespace, backbone: str, folder: Path) -> Result:
    """One backbone, from its beginning or from where it stopped; nothing if it is complete."""
    member = Member(backbone, folder / backbone, args.keep_all_epochs)
    member.restore()
    if member.status == "completed":
        show(f"{backbone}: complete, kept")
        return {"success": True, "backbone": backbone, **outcome(member)}

    def work() -> Result:
        plan = plan_of(args, backbone, member.folder / "runs", backbone)
        member.write_info("initialized")
        run = run_plan(plan, Followed(member))
        member.rows = read_table(member.logs / "epoch_metrics.csv")
        leave_final(member, run, plan.stages[0].schedule)
        seconds = outcome(member)["total_time_sec"]
        times = {"sec": seconds, "min": seconds / 60, "hours": seconds / 3600}
        paths = {"final_model_path": str(member.final), "best_model_path": str(member.best_model)}
        member.write_info(
            "completed", **{f"total_training_time_{unit}": t for unit, t in times.items()}, **paths
        )
        discard_last(run)
        return outcome(member)

    result = attempted(backbone, work, member.logs)
    if not result["success"]:
        member.write_info(
            "failed", error=result["error"], time_elapsed_sec=result["total_time_sec"]
        )
    return result


def outcome(member: Member) -> Result:
    """What final_summary.json says of a backbone that is trained.

    Its time is that of its steps, over all attempts.
    """
    return {
        "total_time_sec": sum(float(row["epoch_time_sec"]) for row in member.rows),
        **member.best_so_far,
        "final_loss": member.losses[-1],
        "final_model_path": str(member.final),
        "best_model_path": str(member.best_model),
        "log_dir": str(member.logs),
    }


def summary_lines(results: list[Result]) -> list[str]:
    """The backbones, the one with the best validation AP first; a training loss says nothing of new
    images.
    """

    def line(result: Result) -> str:
        best = (
            f"val AP {result['best_val_ap']:.4f} (epoch {result['best_epoch']}, loss "
            f"{result['best_loss']:.4f})"
        )
        return (
            f"{result['backbone']}: {best}, final loss {result['final_loss']:.4f}, "
            f"{result['total_time_sec']:.0f} s"
        )

    lines = [
        "Best by validation AP:",
        *ranked(results, lambda result: -result["best_val_ap"], line),
    ]
    return lines + [f"  FAILED {r['backbone']}: {r['error']}" for r in results if not r["success"]]
