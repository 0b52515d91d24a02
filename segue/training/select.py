"""Which weights a stage keeps: those with the best validation figure so far, and a few runners-up if asked for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from segue.errors import TrainingError
from segue.training import checkpoint
from segue.training.checkpoint import Card

KEPT = "best"


def save_selected(folder: Path, weights: Mapping[str, Tensor], card: Card) -> None:
    """Write `selected`.

    Raises:
        TrainingError: if the disk is full; the one before it is kept.
    """
    try:
        checkpoint.write(folder / "selected", weights, card)
    except OSError as error:
        found = f"could not save the best weights ({error})"
        raise TrainingError(folder / "selected", found, "free disk space", "the same command again") from None


def keep_best(folder: Path, weights: Mapping[str, Tensor], card: Card, most: int) -> None:
    """Write `best/epoch-N-step-M`, and remove all but the `most` with the best figures, the earlier of two equals.

    Raises:
        TrainingError: if the disk is full.
    """
    for path in (folder / KEPT).glob("*.*"):  # half written or half removed by a run that was killed
        shutil.rmtree(path)
    others = kept(folder)
    worth = _worth(card)
    if len(others) >= most and min(_worth(other) for _, other in others) >= worth:
        return
    try:
        checkpoint.write(folder / KEPT / f"epoch-{card.epoch}-step-{card.step}", weights, card)
    except OSError as error:
        found = f"could not save ({error})"
        raise TrainingError(folder / KEPT, found, "free disk space, or keep: 1", "the same command again") from None
    for path, _ in kept(folder)[most:]:
        checkpoint.discard(path)


def kept(folder: Path) -> list[tuple[Path, Card]]:
    """The evaluated weights kept in a stage's folder, best first."""
    paths = [path for path in (folder / KEPT).glob("epoch-*") if path.suffix == ""]
    found = [(path, checkpoint.read_card(path)) for path in paths if (path / checkpoint.CARD).is_file()]
    return sorted(found, key=lambda entry: _worth(entry[1]), reverse=True)


def _worth(card: Card) -> tuple[float, int]:
    return card.metrics[card.selected_by], -card.step
