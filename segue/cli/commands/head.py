"""`segue head keep` and `segue head strip`: checkpoints with other class heads, for people who want
the file.

A plan never needs them: a hand-over matches classes by name. Both take a segue checkpoint folder or
a rfdetr file, and write the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from segue import models
from segue.errors import PlanError, laid_out
from segue.inference.loading import find_checkpoint
from segue.models.weights import foreign
from segue.models.weights import rfdetr as rfdetr_files
from segue.training import checkpoint
from segue.training.handover import rows_for

CLASS_HEAD = "class_embed"


def keep_classes(source: Path, target: Path, classes: Sequence[str]) -> str:
    """Write `target` with the rows of `classes` only, in this order, in every head.

    Raises:
        PlanError: if a class is not in the checkpoint, or none is named.
    """
    if not classes:
        raise PlanError(
            "head keep", "no class named", "at least one", "segue head keep SOURCE TARGET NAME ..."
        )
    return (
        _keep_in_file(source, target, classes)
        if source.is_file()
        else _keep_in_folder(source, target, classes)
    )


def strip_heads(source: Path, target: Path) -> str:
    """Write `target` without class rows; every class of whatever starts from it is a new one."""
    if source.is_dir():
        return _keep_in_folder(source, target, ())
    _refuse_to_replace(target)
    content = foreign.read_pickle(source)
    tensors = foreign.state_dict(content, source)
    kept = {name: tensor for name, tensor in tensors.items() if CLASS_HEAD not in name}
    foreign.write_pickle(target, {**content, "model": kept})
    return f"{target}: {len(tensors) - len(kept)} tensors of class heads removed, {len(kept)} kept"


def _refuse_to_replace(target: Path) -> None:
    """Writing a checkpoint removes what is in its place, which must never be somebody's data."""
    if target.exists():
        raise PlanError(target, "exists", "a name that is free")


def _keep_in_folder(source: Path, target: Path, classes: Sequence[str]) -> str:
    _refuse_to_replace(target)
    folder = find_checkpoint(source)
    card, tensors = checkpoint.read(folder)
    rows = torch.tensor(_rows(source, classes, card.spec.classes), dtype=torch.int64)
    family = models.get(card.spec.family)
    with laid_out(folder, "a card of a model"), torch.device("meta"):
        heads = [
            name
            for name in family.class_heads(family.build(card.spec, masks=False))
            if name in tensors
        ]
    with laid_out(folder, "a row for each class of its card"):
        for name in heads:
            tensors[name] = tensors[name][rows].contiguous()
    spec = card.spec.model_copy(update={"classes": tuple(classes)})
    lineage = {"checkpoint": folder.as_posix(), "weights_sha256": card.files[checkpoint.WEIGHTS]}
    lineage |= {"came_from": card.came_from} if card.came_from else {}
    checkpoint.write(target, tensors, card.model_copy(update={"spec": spec, "came_from": lineage}))
    return f"{target}: {len(card.spec.classes)} -> {len(classes)} classes in {len(heads)} tensors"


def _keep_in_file(source: Path, target: Path, classes: Sequence[str]) -> str:
    _refuse_to_replace(target)
    with laid_out(source, "a file of the rfdetr package"):
        return _with_rows(source, target, classes)


def _with_rows(source: Path, target: Path, classes: Sequence[str]) -> str:
    content = foreign.read_pickle(source)
    tensors = foreign.state_dict(content, source)
    heads = [name for name in tensors if CLASS_HEAD in name]
    have = rfdetr_files.read(source).classes
    unused = next((row for row in reversed(range(len(have))) if have[row] is None), None)
    rows = _rows(source, classes, have) + ([unused] if unused is not None else [])
    for name in heads:
        tensors[name] = tensors[name][torch.tensor(rows)].clone()
    named = {"num_classes": len(classes), "class_names": list(classes)}
    kept = {key: value for key, value in content.items() if key != "class_names"}
    kept |= {
        key: {**(content.get(key) or {}), **named}
        for key in ("args", "model_config")
        if key in content
    }
    foreign.write_pickle(target, {"args": named, **kept, "model": tensors})
    return f"{target}: {len(have)} -> {len(rows)} rows in {len(heads)} tensors"


def _rows(source: Path, classes: Sequence[str], have: Sequence[str | None]) -> list[int]:
    rows = rows_for(classes, have)
    missing = [name for name, row in zip(classes, rows, strict=True) if row is None]
    if missing:
        known = ", ".join(name for name in have if name is not None)
        raise PlanError(source, f"no class {', '.join(missing)}", known)
    return [row for row in rows if row is not None]
