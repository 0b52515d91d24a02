"""The only door for files of other programs. Nothing in them is ever executed.

`.pt`, `.pth`, `.ckpt` are pickles: they are read with torch's weights-only loader and two harmless types more,
never with full unpickling, whatever the file's name or origin.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import json
import os
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segue.errors import CheckpointError

INERT: list[Any] = [argparse.Namespace, types.SimpleNamespace]
# Before 2.10 the weights-only loader could be made to corrupt memory (CVE-2026-24747).
SAFE_TORCH = (2, 10)


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a `.pt`, `.pth` or `.ckpt` file; argument namespaces become plain dicts.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything but tensors and plain values.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < SAFE_TORCH:
        raise CheckpointError(path, f"torch {torch.__version__} reads such files unsafely", "torch 2.10 or newer")
    try:
        with torch.serialization.safe_globals(INERT):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(path, "no such file", "a checkpoint") from None
    except pickle.UnpicklingError as error:
        found = "damaged or not a checkpoint" if not _is_archive(path) else "holds code or unknown objects"
        raise CheckpointError(path, f"{found} ({_first_line(error)})", "tensors and plain values only") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(path, f"damaged or not a checkpoint ({_first_line(error)})") from None
    content = vars(content) if isinstance(content, tuple(INERT)) else content
    if not isinstance(content, dict):
        raise CheckpointError(path, f"holds a {type(content).__name__}", "a dictionary")
    return {key: vars(value) if isinstance(value, tuple(INERT)) else value for key, value in content.items()}


class _Arrays(pickle.Unpickler):
    """Reads numpy arrays of numbers and plain values; any other name in the file is an error before it is looked up."""

    INERT: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): codecs.encode,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): multiarray._reconstruct for core in ("core", "_core")},
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.INERT[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"names {module}.{name}") from None


def read_arrays(path: Path) -> dict[str, Any]:
    """The dictionary of a detectron2 model zoo file (.pkl), its numpy arrays as tensors.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything but arrays of numbers and plain values.
    """
    try:
        with path.open("rb") as file:
            content = _Arrays(file, encoding="latin1").load()
        arrays = content["model"] if isinstance(content.get("model"), dict) else content
        numbers = {k: v for k, v in arrays.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fiub"}
        return {"model": {name: torch.from_numpy(np.array(array)) for name, array in numbers.items()}}
    except FileNotFoundError:
        raise CheckpointError(path, "no such file", "a checkpoint") from None
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, f"not readable ({_first_line(error)})", "arrays and plain values only") from None


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values so that torch's weights-only loader reads them; complete or not there."""
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
        config = json.loads((folder / "config.json").read_text())
        shards = sorted(folder.glob("*.safetensors"))
        tensors: dict[str, Tensor] = {}
        for shard in shards:
            tensors |= load_file(shard)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(folder, f"not readable ({_first_line(error)})", "a transformers folder") from None
    if not shards and (folder / "pytorch_model.bin").is_file():
        tensors = state_dict(read_pickle(folder / "pytorch_model.bin"), folder)
    if not tensors:
        raise CheckpointError(folder, "no weights", "model.safetensors or pytorch_model.bin beside config.json")
    return tensors, config


def download(repo_id: str) -> Path:
    """The local folder of a model on the Hugging Face hub, fetched if it is not there yet.

    Raises:
        CheckpointError: if the hub cannot be reached or has no such model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=["config.json", "*.safetensors"]))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        found = f"neither a file or folder here nor a model that can be fetched ({_first_line(error)})"
        raise CheckpointError(repo_id, found, "a checkpoint folder, a .pth file or a hub id") from None


def state_dict(content: dict[str, Any], where: object) -> dict[str, Tensor]:
    """The tensors of a checkpoint dictionary: under "model" or "state_dict", or the dictionary itself.

    Prefixes that wrappers put before every name ("module.", "model.", "_orig_mod.") are removed.

    Raises:
        CheckpointError: if there are none.
    """
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(sorted(map(str, content))[:6])
        raise CheckpointError(where, f"no tensors under its keys {keys}", "a state dict, or one under 'model'")
    for prefix in ("module.", "model.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def category_ids(content: object) -> dict[str, Any]:
    """What a card says of the data, from the ids by class name that files of scripts/ have; empty if they have none."""
    ids = content.get("category_ids") if isinstance(content, dict) else None
    if not isinstance(ids, dict) or not all(isinstance(n, str) and type(i) is int and i >= 0 for n, i in ids.items()):
        return {}
    return {"classes": ids}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_archive(path: Path) -> bool:
    return zipfile.is_zipfile(path)


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0][:160]
    return text or type(error).__name__
