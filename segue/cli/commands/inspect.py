"""`segue inspect` and `segue report`: what a checkpoint is, and what came of a run."""

from __future__ import annotations

from pathlib import Path

from segue import models
from segue.cli.commands.bad_step import describe_bad_step
from segue.cli.commands.inspect_file import describe_file
from segue.data.dataset import read_dataset
from segue.errors import laid_out
from segue.inference.loading import find_checkpoint
from segue.plan.reading import load_kept
from segue.run.folder import PLAN, RunFolder
from segue.run.results import write_report
from segue.structures.channels import Channel
from segue.training import bad_step, checkpoint, single_file


def describe_checkpoint(path: Path, as_json: bool) -> str:
    """A checkpoint's card in a readable form, or as JSON; every file of a folder is compared with
    its checksum first.

    A file of weights without a card is identified by its tensors, and by the model they fit. A step
    that was kept because it was not finite is run again.

    Raises:
        CheckpointError: if there is none, it is damaged, or holds more than tensors and plain
        values.
    """
    if bad_step.is_one(path):
        return describe_bad_step(path, as_json)
    if path.is_file() and not single_file.has_card(path):
        return describe_file(path, as_json)
    folder = path if path.is_file() else find_checkpoint(path)
    card = single_file.read(path)[0] if path.is_file() else checkpoint.verify(folder)
    if as_json:
        return card.model_dump_json(indent=2)
    total = sum(part.parameters for part in card.parts.values())
    with laid_out(folder, "a card of a model"):
        height, width = models.get(card.spec.family).input_size(card.spec)
    lines = [
        f"{folder}",
        f"model      {card.spec.family} {card.spec.size}, {width} x {height} px, {total:,} "
        "parameters",
        f"classes    {', '.join(card.spec.classes)}",
        *(
            f"{'' if i else 'channels':11}{_channel(channel)}"
            for i, channel in enumerate(card.spec.channels)
        ),
        f"options    {', '.join(f'{name} {value}' for name, value in card.spec.options.items())}",
        f"stage      {card.stage} ({card.task}) of {card.plan}, epoch {card.epoch}, step "
        f"{card.step}" + ("" if card.complete else ", not finished"),
        "",
        f"{'part':12} {'tensors':>8} {'parameters':>14}",
    ]
    lines += [
        f"{name:12} {part.tensors:8} {part.parameters:14,}  "
        f"{'frozen' if part.frozen else 'learned'}"
        for name, part in card.parts.items()
    ]
    shown = {name: value for name, value in card.metrics.items() if name.endswith(("_ap", "_ap50"))}
    if shown:
        lines += [
            "",
            "  ".join(f"{name} {value:.3f}" for name, value in shown.items()) + " (valid)",
        ]
    lineage = [f"  {name}  sha256 {sha256[:12]}" for name, sha256 in card.lineage()]
    lines += ["", "came from", *(lineage or ["  new weights"])]
    return "\n".join(lines)


def _channel(channel: Channel) -> str:
    """What becomes of its values, in the order in which it happens."""
    if channel.scale == "percentile":
        scale = "percentiles {:g} and {:g} of each image to 0 and 1".format(*channel.percentiles)
    else:
        scale = f"/ {channel.scale:g}" if channel.scale else "/ the largest value of the type"
    of = "largest value of all planes" if channel.plane == "max" else f"plane {channel.plane}"
    place = "" if channel.at is None else f" (number {channel.at} of its file)"
    name = channel.name + ("" if channel.folder is None else f" (of {channel.folder}/)") + place
    return f"{name}: {of}, {scale}, - {channel.mean:g}, / {channel.std:g}"


def rewrite_report(path: Path) -> Path:
    """Write report.html of a run again, from what its finished stages left.

    Raises:
        PlanError, CheckpointError, DataError: if the run's plan, notes or data are not readable.
    """
    plan = load_kept(path / PLAN)
    run = RunFolder.read(path, plan)
    with laid_out(path, "what a run leaves"):
        return write_report(
            run, {stage.name: read_dataset(plan.data_of(stage)) for stage in plan.stages}
        )
