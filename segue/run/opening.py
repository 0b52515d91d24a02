"""Opening the weights a stage starts from, whatever kind of file or folder holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segue import models
from segue.errors import HandoverError
from segue.inference.loading import find_checkpoint
from segue.models.weights import ModelWeights
from segue.plan.schema import Model, StagePlan
from segue.run.folder import RunFolder
from segue.training import checkpoint, single_file


def start_weights(run: RunFolder, stage: StagePlan) -> ModelWeights | None:
    """What a stage starts from: an earlier stage's selected checkpoint, weights of the user's, or
    None for new weights.

    Raises:
        HandoverError: if the earlier stage is not complete.
        CheckpointError: if the weights cannot be used.
    """
    start = run.plan.start_of(stage)
    if start is None:
        return None
    earlier = run.plan.stage(start)
    if earlier is not None:
        return checkpoint.as_weights(run.complete_parent(earlier))
    return open_weights(start, run.plan.model)


def open_weights(source: str, model: Model) -> ModelWeights:
    """Weights from a segue checkpoint, of a stage or of a run, or from any format the family reads.

    source: a path, or a name on the hub. model: as the plan has it.

    Raises:
        HandoverError: if the stage that wrote them did not finish, or nothing says which class a
        row is.
        CheckpointError: if they cannot be used.
    """
    path = Path(source)
    # a folder with config.json is one of transformers' or timm's
    if path.is_dir() and not (path / "config.json").is_file():
        weights = checkpoint.as_weights(find_checkpoint(path))
        if weights.card is not None and not weights.card.complete:
            message = f"stage {weights.card.stage} was not finished when it was written"
            raise HandoverError(
                source,
                message,
                "the selected checkpoint of a finished stage",
                "its plan to the end",
            )
    else:
        weights = single_file.as_weights(path) or models.get(model.family).import_weights(source)
    return _with_class_names(weights, model.weights_classes)


def _with_class_names(weights: ModelWeights, names: tuple[str, ...]) -> ModelWeights:
    """Class rows by the names the plan gives them, which win over COCO's but not over those in a
    card.
    """
    rows, named = len(weights.classes), any(weights.classes)
    if rows and len(names) != rows and (names or not named):
        message = f"{rows} class rows" + ("" if named else " without names")
        message += f", {len(names)} in the plan" if names else ""
        raise HandoverError(
            weights.source,
            message,
            f"model.weights_classes: {rows} names, in the order of the rows",
        )
    if names and weights.card is not None and tuple(weights.classes) != names:
        message = "other class names: " + ", ".join(map(str, weights.classes))
        raise HandoverError(weights.source, message, "no model.weights_classes with them")
    return replace(weights, classes=names) if names and rows else weights
