"""Checkpoints: folders a person can read, complete or not there, with every byte accounted for.

    weights.safetensors   the weights
    card.json             what they are, where they came from, SHA-256 of each file; written last
    state.pt              only in `last`: what an exact resume needs besides the weights

A checkpoint is written next to its final place, flushed to disk, and renamed. Killed at any moment,
at least one of the folder, the one being put in its place, and the one before it is complete;
`recover` finds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from segue.base.parsing import read_json
from segue.errors import CheckpointError, NonFiniteError
from segue.models.weights import ModelWeights, foreign
from segue.models.weights.card import Card
from segue.training import disk

CARD, WEIGHTS, STATE = "card.json", "weights.safetensors", "state.pt"


def write(
    folder: Path,
    tensors: Mapping[str, Tensor],
    card: Card,
    state: Mapping[str, Any] | None = None,
    keep_previous: bool = False,
) -> Card:
    """Put a complete checkpoint at `folder`; the one that was there becomes `<folder>.previous` or
    goes.

    Raises:
        NonFiniteError: if a weight or a value of the state is NaN or infinite; nothing is written
        then.
        OSError: if the disk is full or fails; what was there before is untouched.
    """
    for name, tensor in (*tensors.items(), *_within(state or {})):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(
                folder,
                f"{name} holds NaN or infinity",
                "finite values",
                "a lower optimizer.lr, or optimizer.clip: 1",
            )
    staging, previous = _sibling(folder, "writing"), _sibling(folder, "previous")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        try:
            save_file(on_cpu(tensors), staging / WEIGHTS)
            if state is not None:
                torch.save(dict(state), staging / STATE)
        except (SafetensorError, RuntimeError) as error:  # what these writers make of a full disk
            raise OSError(str(error)) from error
        files = {path.name: disk.flushed_sha256(path) for path in sorted(staging.iterdir())}
        card = card.model_copy(update={"files": files})
        _write_card(staging / CARD, card)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    disk.flush_folder(staging)
    discard(previous)
    if folder.exists():
        folder.rename(previous)
    staging.rename(folder)
    disk.flush_folder(folder.parent)
    if not keep_previous:
        discard(previous)
    return card


def mark_complete(folder: Path) -> None:
    """Say in a checkpoint's card that the stage it came from was finished; only the card is
    written again.

    Raises:
        CheckpointError: if anything of the checkpoint is missing or damaged.
        OSError: if the disk is full or fails; the card is as before.
    """
    card = verify(folder).model_copy(update={"complete": True})
    staging = folder / (CARD + ".writing")
    _write_card(staging, card)
    staging.replace(folder / CARD)
    disk.flush_folder(folder)


def read_card(folder: Path) -> Card:
    """The card of a checkpoint; the files it names are not looked at.

    Raises:
        CheckpointError: if there is none or it is damaged.
    """
    path = folder / CARD
    try:
        content = read_json(path)
        stored = content.pop("card_sha256")
        if stored != _card_sha256(content):
            raise CheckpointError(
                path, "damaged: its checksum does not fit its text", "an unchanged card"
            )
        return Card.model_validate(content)
    except FileNotFoundError:
        raise CheckpointError(folder, "no card.json", "a segue checkpoint folder") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        what = (
            f"written by another version{_own_complaint(error)}"
            if isinstance(error, ValidationError)
            else "damaged"
        )
        raise CheckpointError(path, f"{what} ({type(error).__name__})", "a segue card") from None


def _own_complaint(error: ValidationError) -> str:
    """What a check of ours, rather than pydantic's, has to say of a card; empty if nothing."""
    for problem in error.errors():
        if "error" in problem.get("ctx", {}):
            return f": {problem['ctx']['error']}"
    return ""


def verify(folder: Path) -> Card:
    """The card, after every file was compared with its checksum.

    Raises:
        CheckpointError: naming the first file that is missing or damaged.
    """
    card = read_card(folder)
    if WEIGHTS not in card.files:
        raise CheckpointError(
            folder / CARD, f"a card that does not name {WEIGHTS}", "every file with its SHA-256"
        )
    for name, expected in card.files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(path, "missing", "every file of the card")
        if foreign.sha256(path) != expected:
            raise CheckpointError(
                path, "damaged: its SHA-256 is not the card's", expected[:12] + "..."
            )
    return card


def read(folder: Path) -> tuple[Card, dict[str, Tensor]]:
    """Card and weights of a verified checkpoint, on the CPU.

    Raises:
        CheckpointError: if anything is missing or damaged.
    """
    card = verify(folder)
    try:
        return card, load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(folder / WEIGHTS, f"not readable ({error})") from None


def read_state(folder: Path) -> dict[str, Any]:
    """What `last` holds besides the weights, on the CPU.

    Raises:
        CheckpointError: if it is missing, damaged, or holds more than tensors and plain values.
    """
    return foreign.read_pickle(folder / STATE)


def recover(folder: Path) -> tuple[Card | None, list[str]]:
    """Make `folder` the newest complete version of itself there is, and say what was wrong with
    newer ones.

    The card is None if there is no complete version, which is said if there should be one. A
    damaged folder is set aside as `<folder>.damaged`.
    """
    whole: list[tuple[int, Path, Card]] = []
    messages: list[str] = []
    writing, previous = _sibling(folder, "writing"), _sibling(folder, "previous")
    for path in (folder, writing, previous):
        try:
            card = verify(path) if path.is_dir() else None
        except CheckpointError as error:
            if path != writing:  # one that was being written is unfinished, not damaged
                messages.append(error.message)
            continue
        if card is not None:
            whole.append((card.step, path, card))
    if not whole:
        if messages:
            messages.append(f"{folder}: no checkpoint is whole: starting from the beginning")
        return None, messages
    step, best, card = max(whole, key=lambda candidate: candidate[0])
    if messages:
        messages.append(f"{folder}: going back to step {step}, the newest checkpoint that is whole")
    if best != folder:
        if folder.exists():
            damaged = _sibling(folder, "damaged")
            discard(damaged)
            folder.rename(damaged)
        best.rename(folder)
        disk.flush_folder(folder.parent)
    return card, messages


def as_weights(folder: Path) -> ModelWeights:
    """A segue checkpoint as what a hand-over takes.

    Raises:
        CheckpointError: if it is damaged.
    """
    card, tensors = read(folder)
    lineage = {
        "checkpoint": folder.as_posix(),
        "stage": card.stage,
        "weights_sha256": card.files[WEIGHTS],
    }
    return weights_of(card, tensors, str(folder), lineage)


def weights_of(
    card: Card, tensors: dict[str, Tensor], source: str, lineage: dict[str, Any]
) -> ModelWeights:
    """Card and weights of a checkpoint as what a hand-over takes.

    lineage: which file, stage and bytes they are.
    """
    if card.came_from:
        lineage = {**lineage, "came_from": card.came_from}
    return ModelWeights(
        tensors=tensors,
        classes=card.spec.classes,
        channels=tuple(channel.name for channel in card.spec.channels),
        source=source,
        came_from=lineage,
        card=card,
    )


def _within(values: Any, name: str = "state") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested dictionaries and lists, each with its place."""
    if isinstance(values, Tensor):
        yield name, values
    for key, value in values.items() if isinstance(values, Mapping) else ():
        yield from _within(value, f"{name}.{key}")
    for number, value in enumerate(values) if isinstance(values, (list, tuple)) else ():
        yield from _within(value, f"{name}.{number}")


def _sibling(folder: Path, what: str) -> Path:
    return folder.with_name(f"{folder.name}.{what}")


def discard(folder: Path) -> None:
    """Remove a checkpoint; renamed first, so that a kill half-way leaves no damaged one under its
    name.
    """
    discarded = _sibling(folder, "discarded")
    shutil.rmtree(discarded, ignore_errors=True)
    if folder.exists():
        folder.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)


def _write_card(path: Path, card: Card) -> None:
    content = card.model_dump(mode="json")
    content["card_sha256"] = _card_sha256(content)
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _card_sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a file of weights holds: plain values, whole, on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
