"""A hand-over is a diff that must be empty.

Names and shapes of model and weights are compared in both directions. What the stage declared
`fresh` or `drop` explains a difference; anything else raises, and lists it. Class rows travel by
class name and input channels by channel name, in every head; so a head never has to be shrunk by
hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from segue import models
from segue.errors import HandoverError
from segue.models.family import Family
from segue.models.parts.chain import Chain
from segue.models.weights import ModelWeights
from segue.structures.channels import Channel

LISTED = 12  # differences shown in full


@dataclass(slots=True)
class Report:
    """What a hand-over did: tensors and parameters taken over, left fresh, dropped; and sentences
    on the rest.
    """

    tensors: int = 0
    parameters: int = 0
    fresh: int = 0
    dropped: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = (
            f"{self.tensors} tensors, {self.parameters:,} parameters handed over; "
            f"{self.fresh} tensors fresh"
        )
        if self.dropped:
            text += f"; {self.dropped} tensors dropped"
        return "; ".join([text, *self.notes])


def rows_for(names: Sequence[str], have: Sequence[str | None]) -> list[int | None]:
    """The row in `have` of each of `names`; None where the name is new."""
    return [have.index(name) if name in have else None for name in names]


def adopt(
    chain: Chain, weights: ModelWeights, fresh: Sequence[str] = (), drop: Sequence[str] = ()
) -> Report:
    """Load `weights` into `chain` exactly, or raise and change nothing.

    fresh: parts that keep their new weights, whether or not the file has them. drop: parts of the
    file that the model need not have. New classes and channels keep their fresh rows; all others
    are copied bit for bit.

    Raises:
        HandoverError: if anything else differs, with the differences.
    """
    family = models.get(chain.spec.family)
    report = Report()
    given = {n: t for n, t in weights.tensors.items() if _part(n) not in (*fresh, *drop)}
    report.dropped = len(weights.tensors) - len(given)
    report.notes += family.adapt_weights(given, chain.spec, fresh)
    expected = {n: t for n, t in chain.state_dict().items() if _part(n) not in fresh}
    report.fresh = len(chain.state_dict()) - len(expected)
    report.notes += move_class_rows(family, chain, weights, given, expected)
    report.notes += _move_channels(family, chain, weights, given, expected)
    _refuse_differences(expected, given, weights.source)
    # complete by the check above; fresh parts are what is missing
    chain.load_state_dict(given, strict=False)
    report.tensors, report.parameters = len(given), sum(t.numel() for t in given.values())
    return report


def _part(name: str) -> str:
    return name.split(".", 1)[0]


def move_class_rows(
    family: Family,
    chain: Chain,
    weights: ModelWeights,
    given: dict[str, Tensor],
    expected: dict[str, Tensor],
) -> list[str]:
    """Reorder the class rows of every head to the model's classes, in `given`."""
    classes = chain.spec.classes
    if tuple(weights.classes) == tuple(classes):
        return []
    rows, heads = rows_for(classes, weights.classes), family.class_heads(chain)
    if not any(name in given for name in heads):
        return []  # all fresh, or left behind
    for name in heads:
        if name in given and name in expected and len(given[name]) >= len(weights.classes):
            given[name] = _take(given[name], rows, expected[name], 0)
    kept = [name for name, row in zip(classes, rows, strict=True) if row is not None]
    new = [name for name, row in zip(classes, rows, strict=True) if row is None]
    gone = [name for name in weights.classes if name is not None and name not in classes]
    notes = [f"classes kept by name: {', '.join(kept) or 'none'}"]
    if new:
        notes.append(f"new with fresh rows: {', '.join(new)}")
    if gone:
        shown = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
        notes.append(f"not in this model: {shown}")
    return notes


def _move_channels(
    family: Family,
    chain: Chain,
    weights: ModelWeights,
    given: dict[str, Tensor],
    expected: dict[str, Tensor],
) -> list[str]:
    """Reorder the input channels of first layers to the model's, in `given`; a new one is the mean
    of the old.
    """
    if chain.spec.channel_names == weights.channels:
        return []
    named = {"channels": tuple(Channel(name=name) for name in weights.channels)}
    theirs = weights.card.spec if weights.card is not None else chain.spec.model_copy(update=named)
    have = family.input_convs(theirs, given)
    notes: list[str] = []
    for name, channels in family.input_convs(chain.spec, expected).items():
        if name not in given or name not in expected or have.get(name, channels) == channels:
            continue
        columns = rows_for(channels, have[name])
        mean = given[name].mean(1, keepdim=True).expand_as(expected[name])
        given[name] = _take(given[name], columns, mean, 1)
        new = [channel for channel, column in zip(channels, columns, strict=True) if column is None]
        notes += [
            f"channels {', '.join(channels)} by name"
            + (f"; {', '.join(new)} from the mean" if new else "")
        ]
    return notes


def _take(have: Tensor, rows: list[int | None], otherwise: Tensor, dim: int) -> Tensor:
    """Slices of `have` along `dim` in the order of rows; from `otherwise` where a row is None."""
    parts = [
        otherwise.select(dim, i) if row is None else have.select(dim, row).to(otherwise.dtype)
        for i, row in enumerate(rows)
    ]
    return torch.stack(parts, dim) if parts else otherwise.narrow(dim, 0, 0)


def _refuse_differences(expected: dict[str, Tensor], given: dict[str, Tensor], source: str) -> None:
    lines = [
        f"- {name} {tuple(expected[name].shape)} only in the model"
        for name in expected
        if name not in given
    ]
    lines += [
        f"+ {name} {tuple(given[name].shape)} only in the weights"
        for name in given
        if name not in expected
    ]
    lines += [
        f"~ {name} model {tuple(expected[name].shape)}, weights {tuple(given[name].shape)}"
        for name in expected
        if name in given and given[name].shape != expected[name].shape
    ]
    if not lines:
        return
    parts = sorted({_part(line.split(" ", 2)[1]) for line in lines})
    shown = lines[:LISTED] + (
        [f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    )
    raise HandoverError(
        source,
        f"{len(lines)} tensors differ from the model, in {', '.join(parts)}\n  "
        + "\n  ".join(shown)
        + "\n",
        "none",
        "name these parts under fresh: (start with new weights) or drop: (leave behind) if that is "
        "meant",
    )
