"""Reading what a plan trains on: every stage's data, audited, before anything is trained."""

from __future__ import annotations

from segue.data.dataset import DataSet, read_dataset, require_masks
from segue.data.problems import SIDED
from segue.errors import DataError
from segue.evaluation.coco_metrics import COCO_COUNTED, detections_needed
from segue.plan.schema import Data, Plan
from segue.run import audit_cache
from segue.run.console import Console
from segue.training import processes


def read_all_data(plan: Plan, console: Console, only: str | None = None) -> dict[str, DataSet]:
    """Every stage's data by its name, read and audited (each image decoded, once for the same
    bytes).

    only: the last stage that will be trained. Data of later ones may still have to be made, with
    its help.

    Raises:
        DataError: naming the first thing that is wrong.
    """
    read: dict[str, DataSet] = {}
    audits: dict[str, dict[str, str]] = {}  # what each audit reported, by manifest
    for number, stage in enumerate(plan.stages):
        settings = plan.data_of(stage)
        same = [s.name for s in plan.stages if s.name in read and plan.data_of(s) == settings]
        try:
            data = read[same[0]] if same else _read(plan, settings, audits, console)
            if stage.with_masks:
                require_masks(data.splits)
        except DataError as error:
            if only in read:
                console.say(f"{stage.name}: its data are not ready ({error.where}: {error.found})")
                break
            before = plan.stages[number - 1].name if number else ""
            raise _with_way_out(error, before) from None
        read[stage.name] = data
    if processes.rank() == 0:
        audit_cache.keep(plan.runs, audits)
    return read


def _read(
    plan: Plan, settings: Data, audits: dict[str, dict[str, str]], console: Console
) -> DataSet:
    """One data set, audited; what the audit reports is said, and added to `audits`."""
    data = read_dataset(settings)
    with console.progress("looking at the data") as tick:
        check = f"segue check {settings.root or ''}".strip()
        lines = audit_cache.audited(data, settings.channels, plan.runs, tick, check)
    audits[data.manifest] = lines
    for note in data.notes:
        console.say(f"data: {note}")
    for kind, line in lines.items():
        if kind != SIDED or plan.flips(settings):
            console.say(f"data: {line}")
    counted = detections_needed(data.most_objects)
    if counted != COCO_COUNTED:
        console.say(
            f"data: the metrics count {counted} detections per image: "
            f"one image has {data.most_objects} objects"
        )
    return data


def _with_way_out(error: DataError, before: str) -> DataError:
    """The error with a hint that stages up to `before`, whose data are there, can be trained."""
    hint = f"segue run with --stage {before} trains what comes before it" if before else ""
    next_step = "; ".join(filter(None, [error.next_step, hint]))
    return DataError(error.where, error.found, error.expected, next_step)
