"""Files that are complete under their name, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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
