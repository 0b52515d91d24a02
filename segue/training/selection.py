"""Which weights a stage keeps: those with the best validation figure so far, and a few runners-up
if asked for.

Of two with equal figures the earlier ones stay, as elsewhere: more training has shown nothing for
itself. Not so while the figure is still 0 (or -1, COCO's word for nothing to measure): such weights
found nothing, and of these the last have learned the longest, so that the next stage starts from
them and not from the first epoch's.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from segue.models.weights.card import Card
from segue.training import checkpoint

KEPT = "best"


def better(value: float, best: float | None) -> bool:
    """Whether weights with this figure take the place of those kept, whose figure is `best`."""
    return best is None or value > best or value == best <= 0


def keep_evaluated(
    folder: Path, card: Card, best: bool, most: int, weights: Mapping[str, Tensor]
) -> None:
    """Write `selected` if the weights are the `best` so far, and keep the `most` best if more than
    one.

    Raises:
        OSError: if the disk is full; what was there before is kept.
    """
    if best:
        checkpoint.write(folder / "selected", weights, card)
    if most > 1:
        keep_best(folder, weights, card, most)


def keep_best(folder: Path, weights: Mapping[str, Tensor], card: Card, most: int) -> None:
    """Write `best/epoch-N-step-M`, and remove all but the `most` with the best figures; of equals
    as said above.

    Raises:
        OSError: if the disk is full; nothing is removed then.
    """
    # half written or half removed by a run that was killed
    for path in (folder / KEPT).glob("epoch-*.*"):
        shutil.rmtree(path)
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
    found = [
        (path, checkpoint.read_card(path)) for path in paths if (path / checkpoint.CARD).is_file()
    ]
    return sorted(found, key=lambda entry: _worth(entry[1]), reverse=True)


def _worth(card: Card) -> tuple[float, int]:
    value = card.metrics[card.selected_by]
    return value, -card.step if value > 0 else card.step
