"""From files to a model that is ready to predict: checkpoints of ours, and weights of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue import models
from segue.errors import CheckpointError, laid_out
from segue.inference.predict import Predictor
from segue.models.parts.chain import Chain
from segue.models.weights import ModelWeights, foreign
from segue.models.weights.card import Card
from segue.structures.channels import RGB, Channel
from segue.training import checkpoint, single_file
from segue.training.handover import adopt

# A model may have this many times the values its file holds, because some parts, such as a mask
# head, may be fresh. A card that claims more describes another model, or one made to fill memory.
MOST_FRESH = 4


def load(source: str | Path, device: str = "auto") -> Predictor:
    """A model from a checkpoint folder, a stage's or a run's folder (its last finished stage), or a
    file of scripts/.

    device: "auto" takes a GPU if there is one. Files must say what model they hold, as .pth and
    .ckpt files of the scripts do. Others need what a card would say: see `segue.rfdetr` and
    `from_weights`.

    Raises:
        CheckpointError: if there is no checkpoint, it is damaged, or it is a file that does not say
            enough.
    """
    path = Path(source)
    if path.is_file() and not single_file.has_card(path):
        return from_card(_weights_of_file(path), device=device)
    card, tensors = (
        single_file.read(path) if path.is_file() else checkpoint.read(find_checkpoint(path))
    )
    with laid_out(path, "a model's card with its weights"):
        chain = model_of(card.spec, tensors, path)
    return Predictor(chain.to(_device(device)).eval(), card)


def model_of(spec: models.ModelSpec, tensors: Mapping[str, Tensor], where: Path) -> Chain:
    """The model of a card with its weights.

    where: the file or folder, for messages.

    Raises:
        CheckpointError: if the tensors are of another model than the card.
    """
    family = models.get(spec.family)
    masks = any(name.startswith(family.PARTS[-1] + ".") for name in tensors)
    # A card may claim a model that fits into no machine, so it is compared on the meta device,
    # which takes no memory, before it is built.
    with torch.device("meta"):
        described = family.build(spec, masks=masks).state_dict()
    for name in sorted(described.keys() | tensors.keys()):
        expected = tuple(described[name].shape) if name in described else "none"
        shape = tuple(tensors[name].shape) if name in tensors else "none"
        if shape != expected:
            raise CheckpointError(where, f"{name} of {shape}", f"{expected}, as its card says")
    chain = family.build(spec, masks=masks)
    chain.load_state_dict(tensors)
    return chain


def _weights_of_file(path: Path) -> ModelWeights:
    """The weights in a file that has a card; only families that come with segue are tried, because
    a name in a foreign file must not import a module.

    Raises:
        CheckpointError: if it has no card, with the folder that may be meant.
    """
    content = foreign.read_pickle(path)
    settings = content.get("hyper_parameters")
    known = content.get("segue") or (settings.get("model") if isinstance(settings, dict) else None)
    name = known.get("family") if isinstance(known, dict) else None
    weights = models.get(name).import_weights(str(path)) if name in models.names() else None
    if weights is None or weights.card is None or weights.card.spec.family != name:
        try:
            expected = f"the folder {find_checkpoint(path.parent)}"
        except CheckpointError:
            expected = "a folder with card.json, such as runs/NAME-1/2-masks/selected"
        raise CheckpointError(
            path, "a file of weights alone, without the model they are of", expected
        )
    return weights


def from_card(weights: ModelWeights, masks: bool = True, device: str = "auto") -> Predictor:
    """A predictor from weights whose card describes their model.

    masks: whether to keep a mask head that the weights have.

    Raises:
        CheckpointError: if the card is of no model that can be built.
        HandoverError: if the weights are of another model than the card.
    """
    if weights.card is None:
        raise CheckpointError(weights.source, "no card", "weights that say which model they are of")
    spec = weights.card.spec
    try:
        family = models.get(spec.family)
        models.size_of(family, spec.size)
        family.ResolvedOptions(**spec.options)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            weights.source, f"describes no model that can be built ({_first(error)})"
        ) from None
    return _adopted(spec, weights, masks, device)


def from_weights(
    weights: ModelWeights,
    name: str,
    size: str,
    masks: bool,
    device: str,
    channels: tuple[Channel, ...] = RGB,
    **options: Any,
) -> Predictor:
    """A predictor from a foreign file's weights of family `name`; options that are not given follow
    from the weights.

    size: of the model. masks: whether to keep a mask head that the weights have. channels: how
    input values become those the model was trained on. options: of the family.

    Raises:
        PlanError: if the family has no such size.
        HandoverError: if the weights are of another model.
    """
    family, where = models.get(name), _device(device)
    chosen = {**family.options_from_weights(weights.tensors, size, where), **options}
    settled, _ = family.resolve_options(
        family.Options(**chosen), models.size_of(family, size), 0, where
    )
    classes = tuple(name for name in weights.classes if name is not None)
    channels = family.with_pretraining_stats(settled, channels)
    spec = models.ModelSpec(
        family=name, size=size, classes=classes, channels=channels, options=settled.model_dump()
    )
    return _adopted(spec, weights, masks, where)


def _adopted(spec: models.ModelSpec, weights: ModelWeights, masks: bool, device: str) -> Predictor:
    """A predictor of a described model that the weights were handed over to."""
    family = models.get(spec.family)
    head = family.PARTS[-1]
    keep = masks and any(name.startswith(head + ".") for name in weights.tensors)
    with laid_out(weights.source, "weights of a model that its card describes"):
        _refuse_larger(spec, keep, weights)
        chain = family.build(spec, masks=keep)
        adopt(chain, weights, drop=() if keep else (head,))
    data = weights.card.data if weights.card is not None else {}
    card = Card(spec=spec, came_from=weights.came_from, data=data)
    return Predictor(chain.to(_device(device)).eval(), card)


def _refuse_larger(spec: models.ModelSpec, masks: bool, weights: ModelWeights) -> None:
    """Raises CheckpointError for a model of more than MOST_FRESH times the values its file holds,
    before it takes memory; the hand-over compares the rest.
    """
    with torch.device("meta"):
        claimed = sum(
            value.numel()
            for value in models.get(spec.family).build(spec, masks=masks).state_dict().values()
        )
    held = sum(value.numel() for value in weights.tensors.values())
    if claimed > MOST_FRESH * held:
        raise CheckpointError(
            weights.source, f"{held:,} values for a model of {claimed:,}", "weights of that model"
        )


def _device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _first(error: Exception) -> str:
    """The first line of an error, cut: pydantic's have several, and may repeat a file's content."""
    return str(error).strip().split("\n")[0][:160]


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder meant by a path: itself, a stage's `selected`, or that of a run's last
    stage.

    Raises:
        CheckpointError: if there is no checkpoint.
    """
    if (path / checkpoint.CARD).is_file():
        return path
    if (path / "selected" / checkpoint.CARD).is_file():
        return path / "selected"
    stages = sorted(path.glob("*/selected/" + checkpoint.CARD), key=_stage_number)
    finished = [
        card.parent
        for card in stages
        if _stage_number(card) and checkpoint.read_card(card.parent).complete
    ]
    if finished:
        return finished[-1]
    trouble = f"no {'finished stage' if stages else 'checkpoint'} in it"
    if not path.exists():
        trouble = "no such folder"
    example = stages[-1].parent if stages else "runs/NAME-1/2-masks/selected"
    raise CheckpointError(path, trouble, f"a folder with card.json, such as {example}")


def _stage_number(card: Path) -> int:
    """2 for 2-masks/selected/card.json; 0 for what is not a stage of this run, such as
    2-masks.old-1.
    """
    number, _, name = card.parent.parent.name.partition("-")
    return int(number) if number.isdigit() and ".old-" not in name else 0
