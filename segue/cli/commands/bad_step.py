"""`segue inspect RUN/1-STAGE/bad-step`: run a step that was not finite again, and say where that
begins.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segue.errors import CheckpointError, PlanError, laid_out
from segue.inference.loading import model_of
from segue.models.weights.card import Card
from segue.plan.reading import load_kept
from segue.run import build
from segue.run.folder import PLAN
from segue.training import bad_step, checkpoint
from segue.training.bad_step import Again
from segue.training.devices import pick_device
from segue.training.learner import Learner

MOST_NAMES = 5


def describe_bad_step(folder: Path, as_json: bool) -> str:
    """What the step was, and what it gives when it is run again: for all its images together and
    for each alone.

    Raises:
        CheckpointError: if it is damaged, or no longer in the folder of its run.
    """
    card, tensors = checkpoint.read(folder)
    state = checkpoint.read_state(folder)
    with laid_out(folder, "a step that this version kept"):
        learner, snapshot = _learner(folder, card, tensors, state), bad_step.snapshot_from(state)
    again = bad_step.run_again(learner, snapshot)
    if as_json:
        return json.dumps(_plain(card, state, again), indent=2)
    precision = str(learner.precision).removeprefix("torch.")
    lines = [
        f"{folder}",
        f"step       {card.stage} of {card.plan}, epoch {state['epoch'] + 1}, step "
        f"{state['step'] + 1}",
        f"then       {state['found']} ({state['device']})",
        f"again      {again.found or 'everything is finite'} ({learner.device}, {precision})",
    ]
    if again.first:
        lines.append(
            f"begins in  {again.first}, whose output is not finite though all it was given is"
        )
    elif again.found:
        lines.append("begins in  the loss or its gradient: all that the model puts out is finite")
    if again.gradients:
        more = len(again.gradients) - MOST_NAMES
        names = ", ".join(again.gradients[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"gradient   not finite in {names}")
    shown = ("loss", *learner.loss.names)
    rows = [
        ("all images", again.terms),
        *zip((Path(name).name for name in state["images"]), again.of_images, strict=True),
    ]
    wide = max(len(name) for name, _ in rows)
    lines += ["", " ".join([" " * wide, *(f"{name:>10}" for name in shown)])]
    for name, terms in rows:
        values = [f"{terms[term]:10.4g}" if terms else f"{'-':>10}" for term in shown]
        lines.append(" ".join([f"{name:{wide}}", *values]).rstrip())
    return "\n".join(lines)


def _learner(folder: Path, card: Card, tensors: dict[str, Any], state: dict[str, Any]) -> Learner:
    """The learner as it was when the step began; on the CPU where its device is not here."""
    home = folder.absolute().parent.parent
    try:
        plan = load_kept(home / PLAN)
    except PlanError as error:
        raise CheckpointError(
            folder, f"no plan next to it ({error.message})", "the step in its run's folder"
        ) from None
    stage = plan.stage(card.stage)
    if stage is None:
        raise CheckpointError(
            folder, f"of a stage {card.stage!r} that {home / PLAN} has not", "its run's folder"
        )
    try:
        device = pick_device(state["device"])
    except PlanError:
        device = "cpu"
    chain = model_of(card.spec, tensors, folder)
    chain.freeze_to(state["frozen_to"])
    learner = build.new_learner(plan, stage, chain.to(device), device)
    learner.progress.images_per_forward = state["images_per_forward"]
    if state["scaler"]:  # of a device without half precision it is empty
        learner.scaler.load_state_dict(state["scaler"])
    return learner


def _plain(card: Card, state: dict[str, Any], again: Again) -> dict[str, Any]:
    """The same as plain values; numbers that JSON has no word for are texts."""

    def texts(terms: dict[str, float]) -> dict[str, Any]:
        strange = bad_step.not_finite(terms)
        return {name: str(value) if name in strange else value for name, value in terms.items()}

    return {
        "stage": card.stage,
        "epoch": state["epoch"] + 1,
        "step": state["step"] + 1,
        "found": state["found"],
        "again": again.found,
        "first": again.first,
        "gradients": again.gradients,
        "terms": texts(again.terms),
        "images": [
            {"file": n, "terms": texts(t)}
            for n, t in zip(state["images"], again.of_images, strict=True)
        ],
    }
