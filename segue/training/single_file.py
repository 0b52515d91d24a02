"""A checkpoint as one .pth file, as other programs keep theirs: tensors and plain values, nothing
that is executed.

{"model_state_dict": weights, "card": what they are, ...}     one file that says all
weights alone, and their card next to them in a .json of the same name
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from segue.base.parsing import read_json
from segue.errors import CheckpointError
from segue.models.weights import ModelWeights, foreign
from segue.models.weights.card import Card
from segue.training import checkpoint
from segue.training.checkpoint import on_cpu

WEIGHTS, CARD = "model_state_dict", "card"
SUFFIX = ".pth"


def write(path: Path, card: Card, tensors: Mapping[str, Tensor], **further: Any) -> None:
    """One file with weights, card and whatever else is said of them (tensors and plain values
    only).

    Raises:
        OSError: if the disk is full or fails; what was there before is untouched.
    """
    entries = {WEIGHTS: on_cpu(tensors), **further, CARD: card.model_dump(mode="json")}
    foreign.write_pickle(path, entries)


def write_weights(path: Path, card: Card, tensors: Mapping[str, Tensor]) -> None:
    """The weights alone, which `load_state_dict` takes as they are, and the card in a .json next
    to them.
    """
    path.with_suffix(".json").write_text(
        json.dumps(card.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8"
    )
    foreign.write_pickle(path, on_cpu(tensors))


def read(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """Card and weights of either kind, on the CPU.

    Raises:
        CheckpointError: if the file cannot be read, or has no card.
    """
    content = foreign.read_pickle(path)
    card_file = path.with_suffix(".json")
    try:
        card = content[CARD] if CARD in content else read_json(card_file)
        return Card.model_validate(card), foreign.state_dict(
            {"model": content.get(WEIGHTS, content)}, path
        )
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        message = (
            "a card of another version"
            if isinstance(error, ValidationError)
            else f"no card in it, nor {card_file.name}"
        )
        raise CheckpointError(
            path, message, "a checkpoint of segue's: its folder, or a .pth with its card"
        ) from None


def has_card(path: Path) -> bool:
    """Whether a file is of this kind.

    Raises:
        CheckpointError: if a .pth cannot be read.
    """
    if path.suffix != SUFFIX or not path.is_file():
        return False
    return path.with_suffix(".json").is_file() or CARD in foreign.read_pickle(path)


def as_weights(path: Path) -> ModelWeights | None:
    """A file of this kind as what a hand-over takes; None for any other file.

    Raises:
        CheckpointError: if a .pth cannot be read.
    """
    if not has_card(path):
        return None
    card, tensors = read(path)
    lineage = {
        "checkpoint": path.as_posix(),
        "stage": card.stage,
        "weights_sha256": foreign.sha256(path),
    }
    return checkpoint.weights_of(card, tensors, str(path), lineage)
