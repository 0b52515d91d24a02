"""Detectron2's model zoo files: pickles of numpy arrays, read without numpy's own unpickling.

`foreign` is the door for all other files.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from typing_extensions import override

from segue.errors import CheckpointError
from segue.models.weights.foreign import DAMAGED, first_line


class _Type:
    """What stands for numpy's own type of an array or of its values; nothing can call it."""

    def __init__(self, code: object = "", *_rest: object) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])


class _Array:
    """What stands for a numpy array: its bytes are looked at as numbers, and are as many as they
    say, or refused.
    """

    values: np.ndarray

    def __init__(self, *_arguments: object) -> None:
        """Pickles make an array empty and fill it later, whatever they say here."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_columns, content = state
        if (
            not isinstance(kind, _Type)
            or not re.fullmatch(r"[fiub][1248]", kind.code)
            or kind.order not in "<>=|"
        ):
            raise pickle.UnpicklingError("an array of something else than numbers")
        dtype = np.dtype(kind.order.replace("|", "=") + kind.code)
        flat = np.frombuffer(
            content.encode("latin1") if isinstance(content, str) else content, dtype
        )
        self.values = flat.reshape(shape, order="F" if by_columns else "C").astype(
            dtype.newbyteorder("=")
        )


def _encoded(text: str, encoding: str) -> bytes:
    """How the oldest protocols write bytes.

    Other encodings would be looked up among Python's modules.
    """
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


class _Arrays(pickle._Unpickler):
    """Reads numpy arrays of numbers and plain values; any other name in the file is an error and
    never looked up.

    What stands for the five names is written here, so that no code of numpy's sees what a file
    says. The unpickler is Python's own in Python: the one in C makes room for as many objects as a
    file of ten bytes may claim.
    """

    INERT: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encoded,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    }

    @override
    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.INERT[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"names {module}.{name}") from None


def read_arrays(path: Path) -> dict[str, Any]:
    """The dictionary of a detectron2 model zoo file (.pkl), its numpy arrays as tensors.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds anything but arrays of numbers
        and plain values.
    """
    try:
        with path.open("rb") as file:
            content = _Arrays(file, encoding="latin1").load()
        arrays = content["model"] if isinstance(content.get("model"), dict) else content
        known = {name: array.values for name, array in arrays.items() if isinstance(array, _Array)}
        return {"model": {name: torch.from_numpy(values) for name, values in known.items()}}
    except FileNotFoundError:
        raise CheckpointError(path, "no such file", "a checkpoint") from None
    except (pickle.UnpicklingError, EOFError, OSError, *DAMAGED) as error:
        raise CheckpointError(
            path, f"not readable ({first_line(error)})", "arrays and plain values only"
        ) from None
