"""Which weights a stage keeps: those with the best validation figure so far, and a few runners-up if asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from segue.training import checkpoint
from segue.training.checkpoint import Card

KEPT = "best"


def keep_evaluated(folder: Path, card: Card, better: bool, most: int, weights: Mapping[str, Tensor]) -> None:
    """Write `selected` if the weights are `better` than all before them, and keep the `most` best if more than one.

    Raises:
        OSError: if the disk is full; what was there before is kept.
    """
    if better:
        checkpoint.write(folder / "selected", weights, card)
    if most > 1:
        keep_best(folder, weights, card, most)


def keep_best(folder: Path, weights: Mapping[str, Tensor], card: Card, most: int) -> None:
    """Write `best/epoch-N-step-M`, and remove all but the `most` with the best figures, the earlier of two equals.

    Raises:
        OSError: if the disk is full; nothing is removed then.
    """
    others = kept(folder)
    worth = _worth(card)
    if len(others) >= most and min(_worth(other) for _, other in others) >= worth:
        return
    checkpoint.write(folder / KEPT / f"epoch-{card.epoch}-step-{card.step}", weights, card)
    for path, _ in kept(folder)[most:]:
        checkpoint.discard(path)


def kept(folder: Path) -> list[tuple[Path, Card]]:
    """The evaluated weights kept in a stage's folder, best first."""
    paths = [path for path in (folder / KEPT).glob("epoch-*") if path.suffix == ""]
    found = [(path, checkpoint.read_card(path)) for path in paths if (path / checkpoint.CARD).is_file()]
    return sorted(found, key=lambda entry: _worth(entry[1]), reverse=True)


def _worth(card: Card) -> tuple[float, int]:
    return card.metrics[card.selected_by], -card.step
