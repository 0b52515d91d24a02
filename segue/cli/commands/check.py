"""`segue check`: everything that can go wrong before training, without training."""

from __future__ import annotations

import json
import os
import platform
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from segue import __version__, models
from segue.cli.commands.costs import needed, taken
from segue.data import quarantine
from segue.data.audit import audit
from segue.data.dataset import Data, DataSet, read_dataset, read_splits, require_masks
from segue.data.formats import WHOLE, coco
from segue.data.problems import REFUSED, SIDED, Problem, by_kind, summary
from segue.data.records import Split
from segue.data.splitting import SplitShares
from segue.errors import DataError, SegueError, printable, show
from segue.evaluation.ceiling import advice
from segue.evaluation.coco_metrics import detections_needed
from segue.models.parts.chain import Chain
from segue.models.weights import ModelWeights
from segue.models.weights.card import Card
from segue.plan.reading import load_plan
from segue.plan.schema import SUFFIXES, Plan
from segue.run import build
from segue.run.console import Console
from segue.run.context import StageContext
from segue.run.opening import open_weights
from segue.training.devices import pick_device

FOLDER = "data"  # the section of a data set without a plan
LISTED = 20  # findings of a kind
CEILINGS, STRIDE = (384, 768), 4  # resolutions and mask stride in pixels, where no plan says any


@dataclass(slots=True)
class Findings:
    """What a check found, in the order it looked."""

    sections: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def say(self, section: str, line: str) -> None:
        self.sections.setdefault(section, []).append(printable(line))

    def fail(self, section: str, line: str) -> None:
        self.say(section, "ERROR " + line)
        self.errors.append(line)

    def text(self) -> str:
        lines = [
            f"{name}\n" + "\n".join(f"  {line}" for line in lines_of_section)
            for name, lines_of_section in self.sections.items()
        ]
        count = len(self.errors)
        verdict = f"{count} error{'' if count == 1 else 's'}" if count else "ready"
        return "\n".join([*lines, verdict])


def check_target(
    target: Path, overrides: tuple[str, ...], as_json: bool, timed: bool = False
) -> None:
    """Check a data set folder, or a plan with all it names; print what was found.

    timed: also say how long a plan's stages will take, from a few steps of each.

    Raises:
        DataError: if anything is wrong; the text is printed first.
    """
    findings = Findings()
    _environment(findings)
    if target.is_dir() or target.suffix not in SUFFIXES:
        data = _data(findings, FOLDER, Data(root=target))
        for side in CEILINGS:
            records, classes = (
                (data.splits["train"].records, data.classes) if data is not None else ([], ())
            )
            for line in advice(records, classes, (side, side), STRIDE, once=True):
                findings.say(FOLDER, line)
    else:
        _plan(findings, load_plan(target, overrides), timed)
    show(
        json.dumps({"sections": findings.sections, "errors": findings.errors})
        if as_json
        else findings.text()
    )
    if findings.errors:
        raise DataError(target, f"{len(findings.errors)} errors, listed above", "none")


def _environment(findings: Findings) -> None:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, training on the CPU"
    findings.say(
        "environment",
        f"segue {__version__}, Python {platform.python_version()}, torch {torch.__version__}",
    )
    findings.say(
        "environment",
        f"transformers {transformers.__version__}, {os.cpu_count()} CPU cores, GPU: {gpu}",
    )
    findings.say("environment", f"{shutil.disk_usage('.').free / 1e9:.0f} GB free here")


def _data(
    findings: Findings, section: str, settings: Data, flips: bool | None = None
) -> DataSet | None:
    """Read, decode and audit everything; all that is wrong is listed.

    flips: None for a folder without a plan.
    """
    files: dict[str, Split] = {}
    try:
        splits = quarantine.applied(read_splits(settings), settings.quarantine)
    except SegueError as error:
        files = (
            coco.read_files(settings.root)
            if section == FOLDER and settings.root is not None
            else {}
        )
        if not files:
            findings.fail(section, error.message)
            return None
        splits = files
    # a folder alone does not say which it is meant to have
    channels = None if flips is None else settings.channels
    with Console().progress("looking at the data") as tick:
        problems = audit(splits, channels, tick)
    for name, split in splits.items():
        counts = ", ".join(f"{count} {what}" for what, count in split.class_counts().most_common())
        findings.say(section, f"{name}: {len(split.records)} images, {counts or 'no objects'}")
        findings.say(
            section,
            f"{name}: {_masks(split.records)}; at most {split.most_objects()} objects in an image",
        )
    if flips is False:
        problems = [problem for problem in problems if problem.kind != SIDED]
    for same in by_kind(problems).values():
        _report(findings, section, same)
    if findings.errors:
        return None
    if files:
        findings.say(
            section,
            f"{len(files)} annotation files; a plan names those it means: train, valid and test",
        )
        return None
    if section == FOLDER and list(splits) == [WHOLE]:
        findings.say(
            section,
            "not divided: a plan does it with split: {valid: 0.15} under data:, "
            "or segue data split",
        )
        settings = settings.model_copy(update={"split": SplitShares()})
    try:
        data = read_dataset(settings)
    except SegueError as error:
        findings.fail(section, error.message)
        return None
    findings.say(section, "classes: " + ", ".join(data.classes))
    return data


def _masks(records: list[Any]) -> str:
    objects = [a for record in records for a in record.annotations if not a.crowd]
    crowds = sum(a.crowd for record in records for a in record.annotations)
    with_masks = sum(a.mask is not None for a in objects)
    return f"{with_masks} of {len(objects)} objects have masks" + (
        f", {crowds} crowd regions" if crowds else ""
    )


def _report(findings: Findings, section: str, same: list[Problem]) -> None:
    """One kind of problem: what is refused in full (or nearly), the rest as a line with its
    count.
    """
    if same[0].action not in REFUSED:
        findings.say(section, summary(same))
        return
    for problem in same[:LISTED]:
        findings.fail(section, f"{problem.where}: {problem.kind}: {problem.message}")
    if len(same) > LISTED:
        findings.fail(
            section,
            f"and {len(same) - LISTED} more of {same[0].kind}: "
            "segue data audit FOLDER --out FOLDER",
        )


def _plan(findings: Findings, plan: Plan, timed: bool) -> None:
    """Data of every stage, then every model and hand-over in turn, with the weights of none but the
    first.
    """
    seen: dict[str, DataSet | None] = {}
    before: dict[str, ModelWeights] = {}
    device = pick_device(plan.device)
    names = {stage.name for stage in plan.stages}
    for stage in plan.stages:
        settings = plan.data_of(stage)
        key = settings.model_dump_json()
        if key not in seen:
            seen[key] = _data(findings, f"data of {stage.name}", settings, plan.flips(settings))
        data = seen[key]
        if data is None:
            if before:
                findings.say(
                    f"data of {stage.name}",
                    f"until they are there: segue run --stage {list(before)[-1]}",
                )
            continue
        if (start := plan.start_of(stage)) in names - before.keys():
            findings.say(
                f"stage {stage.name}",
                f"not looked at: it starts from {start}, which has no model yet",
            )
            continue
        try:
            say = partial(findings.say, f"stage {stage.name}")
            context = StageContext(plan, stage, data, device, plan.runs, say)
            chain = _model(context, before)
            for line in needed(context, chain) + (taken(context, chain) if timed else []):
                say(line)
        except SegueError as error:
            findings.fail(f"stage {stage.name}", error.message)
            continue
        before[stage.name] = ModelWeights(
            tensors=chain.state_dict(),
            classes=chain.spec.classes,
            channels=tuple(channel.name for channel in chain.spec.channels),
            source=f"stage {stage.name}",
            card=Card(spec=chain.spec),
        )


def _model(context: StageContext, before: dict[str, ModelWeights]) -> Chain:
    """A stage's model, handed over to and frozen as the stage begins; what it is, is said.

    before: the models of earlier stages, by their names.
    """
    plan, stage, data, say = context.plan, context.stage, context.data, context.say
    if stage.with_masks:
        require_masks(data.splits)
    start = plan.start_of(stage)
    weights = before.get(start or "") or (open_weights(start, plan.model) if start else None)
    chain = build.build_model(context, weights)
    build.refuse_late_thaws(stage, data)
    build.monitored(data, stage)
    report = build.hand_over(context, chain, weights)
    if weights is not None:
        say(f"from {weights.source}: {report}")
    else:
        say("from new, random weights: give model.weights if you have pretrained ones")
    _say_what_learns(context, chain)
    if stage.with_masks:
        stride = getattr(chain.part(chain.order[-1]), "mask_stride", STRIDE)
        size = models.get(chain.spec.family).input_size(chain.spec)
        for line in advice(data.splits["train"].records, data.classes, size, stride):
            say(line)
    if (queries := chain.spec.options.get("queries")) is not None:
        say(
            f"{queries} queries, {detections_needed(data.most_objects)} detections of an image "
            f"counted; the fullest image has {data.most_objects} objects"
        )
    steps = stage.steps or (stage.epochs or 0) * context.steps_per_epoch
    height, width = models.get(chain.spec.family).input_size(chain.spec)
    say(f"{steps} steps of {stage.images_per_step} images at {width} x {height}")
    return chain


def _say_what_learns(context: StageContext, chain: Chain) -> None:
    """A line for each part of the chain, and for each thaw."""
    for name in chain.order:
        parameters = list(chain.part(name).parameters())
        count = sum(p.numel() for p in parameters)
        learns = sum(p.numel() for p in parameters if p.requires_grad)
        what = "learns" if learns == count else f"{learns:,} of them learn" if learns else "frozen"
        context.say(f"{name}: {count:,} parameters, {what}")
    for epoch, thaw in sorted(context.stage.thaw.items()):
        context.say(f"after {epoch} epochs {thaw.part} thaws")
