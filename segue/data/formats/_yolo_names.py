"""What the files of a YOLO data set call its classes and channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segue.base.parsing import parse_yaml
from segue.data.formats._shapes import BadAnnotation

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml")
CLASSES = "classes.txt"  # of labelImg and Label Studio: a name on each line


def described(root: Path) -> dict[str, Any]:
    """The content of a folder's data.yaml, all scalars as text (`no` is a name, too); empty if
    there is none.
    """
    try:
        path = next(root / name for name in DESCRIPTIONS if (root / name).is_file())
        content = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except (StopIteration, OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def named_in(path: Path) -> dict[int, str] | None:
    """The class names in a file, by id; None if it is a description without any.

    Raises:
        BadAnnotation: if they are not a name for each class, no two alike. OSError, ValueError: if
        the file cannot be read.
    """
    text = path.read_text(encoding="utf-8-sig")
    content = {"names": text.splitlines()} if path.name == CLASSES else parse_yaml(text)
    if isinstance(content, dict) and "names" not in content:
        return None
    listed = content["names"] if isinstance(content, dict) else content
    entries: Any = []
    if isinstance(listed, list):
        entries = enumerate(listed)
    elif isinstance(listed, dict):
        entries = listed.items()
    names: dict[int, str]
    try:
        names = {
            int(number): name.strip()
            for number, name in entries
            if name.strip() or path.name != CLASSES
        }
    except (AttributeError, ValueError):
        names = {}
    if (
        not names
        or min(names) < 0
        or not all(names.values())
        or len(set(names.values())) < len(names)
    ):
        raise BadAnnotation(
            "category without a name",
            f"names {str(listed)[:60]}",
            "a name for each class from 0, no two alike",
        )
    count = content.get("nc", len(names)) if isinstance(content, dict) else len(names)
    if str(count) != str(len(names)):
        raise BadAnnotation(
            "number of classes", f"nc: {str(count)[:40]}, but {len(names)} names", "as many"
        )
    return names


def channels(files: list[Path]) -> tuple[str, ...]:
    """What the files that name the classes call the channels; a number of them, as others write it,
    is no name.
    """
    listed = next((described(path.parent).get("channels") for path in files), None)
    named = isinstance(listed, list) and all(isinstance(name, str) for name in listed)
    return tuple(listed) if named else ()
