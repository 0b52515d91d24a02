"""`segue report`: a run's page written again, or several runs (or a sweep) in one table, from what
they left on disk.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from segue.base.files import write_json
from segue.cli.commands.inspect import rewrite_report
from segue.data.dataset import DataSet, manifest, read_dataset
from segue.errors import CheckpointError, DataError, PlanError, laid_out, show
from segue.evaluation.bootstrap import compare
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.comparison import COMPLETE, Comparison, Row, sorted_rows
from segue.evaluation.outcome import read_outcome
from segue.inference.loading import load
from segue.inference.speed import MOST_IMAGES, milliseconds
from segue.plan.reading import load_kept
from segue.run.build import pick_device
from segue.run.console import Console
from segue.run.folder import PLAN, SWEEP, RunFolder
from segue.run.notes import NOTE
from segue.run.results import read_predictions
from segue.sweep.runner import SweepFolder
from segue.training import checkpoint
from segue.training.journal import read_rows

STEM = "report"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run that is to be compared, and its row as far as it is known before its predictions are
    read.
    """

    row: Row
    run: RunFolder

    @property
    def folder(self) -> Path:
        """Of its last stage, which is the one compared."""
        return self.run.stage_folder(self.run.plan.stages[-1])


def report(targets: Sequence[Path], against: str | None, out: Path | None, as_json: bool) -> None:
    """Write one run's page again, or compare several (or a sweep's members), and print what came out.

    Raises:
        SegueError: if something is not there, or the runs do not answer the same question.
    """
    if not targets:
        raise PlanError(
            "segue report",
            "no run named",
            "folders of runs, or of a sweep",
            "segue report runs/NAME-1",
        )
    if len(targets) == 1 and (targets[0] / NOTE).is_file() and not (against or out or as_json):
        show(rewrite_report(targets[0]))
        return
    where = out or (
        targets[0] if len(targets) == 1 and (targets[0] / SWEEP).is_file() else Path("comparison")
    )
    page = compare_runs(targets, against, Console())
    path = write_page(page, where)
    show(json.dumps(page.as_json()) if as_json else f"{page.as_text()}\n\n{path}")


def write_page(page: Comparison, folder: Path) -> Path:
    """report.html, report.csv and report.json; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{STEM}.json", page.as_json(), indent=2)
    (folder / f"{STEM}.csv").write_text(page.as_csv(), encoding="utf-8")
    (folder / f"{STEM}.html").write_text(page.as_html(), encoding="utf-8")
    return folder / f"{STEM}.html"


def compare_runs(targets: Sequence[Path], against: str | None, console: Console) -> Comparison:
    """All runs side by side, from the predictions they left; only how long they take for an image
    is measured now.

    Raises:
        CheckpointError: if a target is neither a run nor a sweep, or a checkpoint is damaged.
        DataError: if the runs were not measured on the same images, labels and classes as they are
        now.
        PlanError: if there is no run called `against`, or it is not complete.
    """
    left = partial(laid_out, targets[0] if len(targets) == 1 else "these runs", "what runs leave")
    with left():
        runs, rest = _runs(targets)
    names = [run.row.name for run in runs]
    if against is not None and against not in names:
        raise PlanError(
            "--against", f"no complete run called {against}", "one of " + ", ".join(names)
        )
    title = ", ".join(target.resolve().name for target in targets)
    if not runs:
        return Comparison(title, "box", "", tuple(rest), {})
    with left():
        measured, facts = _measured(runs)
        kinds = (
            ("mask", "box") if all("mask" in metrics.kinds for metrics in measured) else ("box",)
        )
        rows = [_with_figures(run, kinds[0]) for run in runs]
    best = against or sorted_rows(rows)[0].name
    first = measured[names.index(best)]
    rows = [
        row if row.name == best else replace(row, difference=compare(first, metrics, kinds[0]))
        for row, metrics in zip(rows, measured, strict=True)
    ]
    speeds, how = _speeds(runs, first, console)
    rows = [replace(row, ms_per_image=speeds[row.name]) for row in rows]
    return Comparison(title, kinds[0], best, sorted_rows([*rows, *rest]), {**facts, **how})


def _runs(targets: Sequence[Path]) -> tuple[list[RunRow], list[Row]]:
    """Complete runs, and rows for those that are not."""
    entries: list[tuple[Row, RunFolder | None]] = []
    for target in targets:
        if (target / SWEEP).is_file():
            entries += _members(target)
        elif (target / NOTE).is_file():
            entries.append(_run(target))
        else:
            raise CheckpointError(
                target, "neither a run nor a sweep", f"a folder with {NOTE} or {SWEEP}"
            )
    names = [row.name for row, _ in entries]
    entries = [
        (row if names.count(row.name) == 1 else replace(row, name=row.path or row.name), run)
        for row, run in entries
    ]
    complete = [
        RunRow(row, run) for row, run in entries if run is not None and row.state == COMPLETE
    ]
    return complete, [row for row, run in entries if row.state != COMPLETE]


def _run(path: Path) -> tuple[Row, RunFolder]:
    run = RunFolder.read(path, load_kept(path / PLAN))
    states = [
        f"stage {name} is {note.state}"
        for name, note in run.stages.items()
        if note.state != COMPLETE
    ]
    missing = ", ".join(states) or "not every stage has begun"
    state, reason = (COMPLETE, "") if run.complete else ("not complete", missing)
    return Row(path.name, state, reason, path=str(path)), run


def _members(path: Path) -> list[tuple[Row, RunFolder | None]]:
    """A row for every member of a sweep; with its run, if that is complete."""
    entries: list[tuple[Row, RunFolder | None]] = []
    for name, note in SweepFolder.read(path).notes.items():
        row = Row(
            name,
            note.state,
            note.reason,
            tuple(note.values.items()),
            str(path / name),
        )
        plan = load_kept(path / name / PLAN)
        run = RunFolder.find(plan.model_copy(update={"runs": path / name}), note.digest)
        if run is None or not run.complete:
            state = "running or killed" if row.state in ("running", COMPLETE) else row.state
            entries.append((replace(row, state=state), None))
        else:
            entries.append((replace(row, state=COMPLETE, reason="", path=str(run.path)), run))
    return entries


def _measured(runs: Sequence[RunRow]) -> tuple[list[CocoMetrics], dict[str, str]]:
    """What each run detected in the validation images, all of the same ones, and what they are.

    Raises:
        DataError: if they are not the same, or not as they were.
        CheckpointError: if what a run left is damaged.
    """
    read: dict[str, DataSet] = {}
    manifests: dict[str, str] = {}  # of the validation images, by run
    measured: list[CocoMetrics] = []
    for run in runs:
        name, settings = run.row.name, run.run.plan.data_of(run.run.plan.stages[-1])
        key = settings.model_dump_json()
        if key not in read:
            read[key] = read_dataset(settings)
        data = read[key]
        if data.manifest != checkpoint.read_card(run.folder / "selected").manifest:
            message = "its images or labels are not those it was trained on"
            raise DataError(name, message, "unchanged data")
        manifests[name] = manifest({"valid": data.splits["valid"]}, data.classes, ())
        first = runs[0].row.name
        if manifests[name] != manifests[first]:
            message = f"measured on other validation images, labels or classes than {first}"
            raise DataError(name, message, "runs on the same data")
        measured.append(read_predictions(run.folder, data, read_outcome(run.folder).valid))
        # the same, though perhaps read from another folder
        measured[-1].records = measured[0].records
    sizes = next(iter(read.values())).counts().items()
    counts = ", ".join(
        f"{name} {count['images']} images, {count['objects']} objects" for name, count in sizes
    )
    return measured, {"data": f"{runs[0].run.plan.data.root or 'several files'}: {counts}"}


def _with_figures(run: RunRow, kind: str) -> Row:
    """A run's row, with what it wrote down itself."""
    outcome = read_outcome(run.folder)
    stages = [run.run.stage_folder(stage) for stage in run.run.plan.stages]
    peaks = [note.peak_bytes for note in run.run.stages.values() if note.peak_bytes is not None]
    valid = outcome.valid.figures
    test = outcome.test.figures if outcome.test is not None else {}
    return replace(
        run.row,
        ap=_known(valid[f"{kind}_ap"]),
        ap50=_known(valid[f"{kind}_ap50"]),
        test_ap=_known(test.get(f"{kind}_ap", -1)),
        parameters=sum(part.parameters for part in outcome.parts.values()),
        peak_bytes=max(peaks, default=None),
        seconds=sum(row["seconds"] for stage in stages for row in read_rows(stage / "steps.csv")),
    )


def _known(figure: float) -> float | None:
    """COCO's word for "no such objects" is -1."""
    return figure if figure >= 0 else None


def _speeds(
    runs: Sequence[RunRow], first: CocoMetrics, console: Console
) -> tuple[dict[str, float], dict[str, str]]:
    """Milliseconds for an image of every run, all measured now, and how."""
    device = pick_device("auto" if torch.cuda.is_available() else "cpu")
    step = max(1, len(first.records) // MOST_IMAGES)
    images = [record.image for record in first.records[::step]]
    predictors = {run.row.name: load(run.folder / "selected", "cpu") for run in runs}
    with console.progress("ms/image") as tick:
        speeds = milliseconds(predictors, dict.fromkeys(predictors, images), device, tick)
    kind = (
        torch.cuda.get_device_name()
        if device != "cpu"
        else f"the CPU (threads: {torch.get_num_threads()})"
    )
    return speeds, {
        "ms/image": "median, one image at a time, from pixels in memory to objects, all runs in "
        f"turns, on {kind} "
        f"of {platform.node()}",
        "peak MB": "of the GPU the run was trained on, or else of its process, libraries and all",
        "training s": "seconds of all optimizer steps, on whatever machine that was",
        "intervals": "95 %, paired bootstrap over the validation images",
    }
