"""What a file of weights holds that says nothing of itself: its tensors, and the model of segue's
that they fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from segue import models
from segue.errors import SegueError, laid_out, printable
from segue.models import ModelSpec
from segue.models.weights import ModelWeights, arrays, foreign

KEYS = 8  # of a file's keys that are listed


@dataclass(frozen=True)
class Fit:
    """A family and size, and how many of the file's tensors its model has, by name and shape."""

    family: str
    size: str
    tensors: int
    of: int
    classes: tuple[str | None, ...]

    def __str__(self) -> str:
        return f"{self.family} {self.size}: {self.tensors} of {self.of} tensors by name and shape"


def describe_file(path: Path, as_json: bool) -> str:
    """The tensors of a file by the first word of their names, and what they fit; nothing in it is
    executed.

    Raises:
        CheckpointError: if it is damaged, or holds more than tensors and plain values.
    """
    content = arrays.read_arrays(path) if path.suffix == ".pkl" else foreign.read_pickle(path)
    tensors = foreign.state_dict(content, path)
    parts: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        parts.setdefault(name.split(".")[0], []).append(tensor)
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    fit = best_fit(path)
    if as_json:
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        return json.dumps(
            {"tensors": shapes, "fits": None if fit is None else asdict(fit)}, indent=2
        )
    keys = [str(key) for key in content]
    lines = [
        str(path),
        f"file       {_counted(tensors)} of {', '.join(kinds)}",
        f"keys       {', '.join(keys[:KEYS])}"
        + (f" and {len(keys) - KEYS} more" if len(keys) > KEYS else ""),
        f"fits       {fit or _nearly(parts.keys())}",
    ]
    if fit is not None:
        lines += [f"classes    {', '.join(map(str, fit.classes))}"] if any(fit.classes) else []
        lines += [f"use        model: {{family: {fit.family}, size: {fit.size}, weights: {path}}}"]
    lines += ["", f"{'part':24} {'tensors':>8} {'parameters':>14}"]
    for name, some in parts.items():
        lines.append(f"{name[:24]:24} {len(some):8} {sum(tensor.numel() for tensor in some):14,}")
    return "\n".join(printable(line) for line in lines)


def _nearly(parts: Set[str]) -> str:
    """What to say of a file that no reader knows: perhaps it is one of segue's without its card."""
    own = [name for name in models.names() if parts <= set(models.get(name).PARTS)]
    said = "no model of segue's"
    return (
        f"{said} as a file; named like the parts of {own[0]}: use its checkpoint's folder"
        if own
        else said
    )


def best_fit(path: Path) -> Fit | None:
    """The family and size that most of a file's tensors belong to, once its reader has renamed
    them; None if not even half do.
    """
    found = []
    for name in models.names():
        with suppress(SegueError), laid_out(path, "weights"):
            weights = models.get(name).import_weights(str(path))
            for size in models.get(name).SIZES:
                with suppress(SegueError), laid_out(path, "weights"):
                    found.append(_fit(name, size, weights))
    best = max(found, key=lambda fit: fit.tensors / max(fit.of, 1), default=None)
    return best if best is not None and 2 * best.tensors >= best.of else None


def _fit(name: str, size: str, weights: ModelWeights) -> Fit:
    family = models.get(name)
    known = weights.card.spec.options if weights.card is not None else {}
    options = known or family.options_from_weights(weights.tensors, size, "cpu")
    settled, _ = family.resolve_options(family.Options(**options), family.SIZES[size], 0, "cpu")
    classes = tuple(f"class {i}" for i in range(len(weights.classes) or 1))
    spec = ModelSpec(family=name, size=size, classes=classes, options=settled.model_dump())
    with torch.device("meta"):
        shapes = {
            key: tensor.shape for key, tensor in family.build(spec, masks=True).state_dict().items()
        }
    same = sum(shapes.get(key) == tensor.shape for key, tensor in weights.tensors.items())
    return Fit(name, size, same, len(weights.tensors), weights.classes)


def _counted(tensors: Mapping[str, Tensor]) -> str:
    return (
        f"{len(tensors)} tensors, {sum(tensor.numel() for tensor in tensors.values()):,} parameters"
    )
