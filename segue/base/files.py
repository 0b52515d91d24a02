"""Files that are complete under their name, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any, indent: int | None = None) -> Path:
    """Replace a JSON file in one rename, flushed to disk; its folder is made where it is missing.

    indent: spaces a level, for files that people read; None writes one line.
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
