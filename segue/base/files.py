"""JSON files of segue's own: complete under their name, and of a type when they are read again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from segue.base.parsing import read_json
from segue.errors import CheckpointError

Kind = TypeVar("Kind", bound=BaseModel)


def write_json(path: Path, content: Any, indent: int | None = None) -> Path:
    """Replace a JSON file in one rename, flushed to disk; make its folder where it is missing.

    indent: spaces for each level, for files that people read; None writes one line.

    Raises:
        OSError: if it cannot be written; what was there before is then left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".writing")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent)
        file.write("\n" if indent else "")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def read_typed(path: Path, kind: type[Kind], expected: str) -> Kind:
    """The content of a JSON file as `kind`. expected: what the file should be, for the error.

    Raises:
        CheckpointError: if it cannot be read, or has another layout: in one line, with its place.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        problem: Any = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        complaint = f"{place}: {problem['msg']}" if place else str(problem["msg"])
        raise CheckpointError(path, complaint, expected) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"not readable ({error})", expected) from None
