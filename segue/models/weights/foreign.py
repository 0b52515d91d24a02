"""The door for files of other programs. Nothing in them is ever executed.

`.pt`, `.pth`, `.ckpt` are pickles: they are read with torch's weights-only loader and two harmless
types more, never with full unpickling, whatever the file's name or origin. Detectron2's `.pkl`,
which hold numpy arrays, go through `arrays`.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import pickle
import re
import struct
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segue.base.parsing import read_json
from segue.errors import MISFITS, CheckpointError, laid_out
from segue.models.weights import ModelWeights

INERT: list[Any] = [argparse.Namespace, types.SimpleNamespace]
# Before 2.10 the weights-only loader could be made to corrupt memory (CVE-2026-24747).
SAFE_TORCH = (2, 10)
# torch keeps tensors as they are, so that an archive unpacks to its own size.
MOST_UNPACKED = 2.0
# What a loader makes of bytes that are not what it expects.
DAMAGED = (*MISFITS, struct.error)


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a `.pt`, `.pth` or `.ckpt` file; argument namespaces become plain dicts.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything but tensors and plain
        values.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < SAFE_TORCH:
        raise CheckpointError(
            path, f"torch {torch.__version__} reads such files unsafely", "torch 2.10 or newer"
        )
    try:
        _refuse_bombs(path)
        with torch.serialization.safe_globals(INERT):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(path, "no such file", "a checkpoint") from None
    except pickle.UnpicklingError as error:
        message = (
            "damaged or not a checkpoint"
            if not _is_archive(path)
            else "holds code or unknown objects"
        )
        # the rest of torch's text is advice to load it all the same
        named = re.search(r"GLOBAL (\S+)", str(error))
        message += f" ({named[1]})" if named else ""
        raise CheckpointError(path, message, "tensors and plain values only") from None
    except (EOFError, OSError, SafetensorError, zipfile.BadZipFile, *DAMAGED) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(path, f"damaged or not a checkpoint ({first_line(error)})") from None
    content = vars(content) if isinstance(content, tuple(INERT)) else content
    if not isinstance(content, dict):
        raise CheckpointError(path, f"holds a {type(content).__name__}", "a dictionary")
    return {
        key: vars(value) if isinstance(value, tuple(INERT)) else value
        for key, value in content.items()
    }


def _refuse_bombs(path: Path) -> None:
    """Refuse, from its table of contents, an archive that unpacks to much more than it is."""
    if not _is_archive(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MOST_UNPACKED * path.stat().st_size:
        raise CheckpointError(
            path,
            f"an archive that unpacks to {unpacked:,} bytes",
            "tensors that are not compressed",
        )


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values so that torch's weights-only loader reads them; complete or
    not there.
    """
    staging = path.with_name(path.name + ".writing")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, staging)
    with staging.open("rb") as file:
        os.fsync(file.fileno())
    staging.replace(path)


def read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and config of a folder written by transformers' `save_pretrained`.

    Raises:
        CheckpointError: if its files are missing or damaged.
    """
    try:
        config = read_json(folder / "config.json")
        shards = sorted(folder.glob("*.safetensors"))
        tensors: dict[str, Tensor] = {}
        for shard in shards:
            tensors |= load_file(shard)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            folder, f"not readable ({first_line(error)})", "a transformers folder"
        ) from None
    if not shards and (folder / "pytorch_model.bin").is_file():
        tensors = state_dict(read_pickle(folder / "pytorch_model.bin"), folder)
    if not isinstance(config, dict):
        raise CheckpointError(
            folder / "config.json", f"a {type(config).__name__}", "a model's configuration"
        )
    if not tensors:
        raise CheckpointError(
            folder, "no weights", "model.safetensors or pytorch_model.bin next to config.json"
        )
    return tensors, config


def state_dict(content: dict[str, Any], where: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint dictionary: under "model" or "state_dict", or the dictionary
    itself.

    Prefixes that wrappers put before every name ("module.", "model.", "_orig_mod.") are removed.

    Raises:
        CheckpointError: if there are none.
    """
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise CheckpointError(
                where, f"{name} is sparse, quantized or without values", "plain tensors"
            )
    if not tensors:
        keys = ", ".join(sorted(map(str, content))[:6])
        raise CheckpointError(
            where, f"no tensors under its keys {keys}", "a state dict, or one under 'model'"
        )
    for prefix in ("module.", "model.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def category_ids(content: object) -> dict[str, Any]:
    """What a card says of the data, from the ids by class name that files of scripts/ have; empty
    if they have none.
    """
    ids = content.get("category_ids") if isinstance(content, dict) else None
    if not isinstance(ids, dict) or not all(
        isinstance(n, str) and type(i) is int and i >= 0 for n, i in ids.items()
    ):
        return {}
    return {"classes": ids}


def reader(read: Callable[[Path], ModelWeights]) -> Callable[[Path], ModelWeights]:
    """Around a family's reader of files: what it cannot make sense of is an error of the file's."""

    @functools.wraps(read)
    def careful(path: Path) -> ModelWeights:
        with laid_out(path, "weights and names as they were published"):
            return read(path)

    return careful


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_archive(path: Path) -> bool:
    return zipfile.is_zipfile(path)


def first_line(error: Exception) -> str:
    """An error's text for a message of ours: its first line, shortened; its type if it has none."""
    text = str(error).strip().split("\n")[0][:160]
    return text or type(error).__name__
