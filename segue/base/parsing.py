"""JSON and YAML that others wrote, read so that no text can do harm, however it is nested.

json gives up with a RecursionError, PyYAML's C parser ends the process (200,000 brackets, 200 kB),
and aliases of aliases are 10 values to read and a billion to walk. All of it is a ValueError here,
before any value is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

DEEPEST = 20
MOST_NODES = 100_000  # of a YAML text, those that aliases name counted as often as they are named


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: if it cannot be read. ValueError: if it is not JSON, or nested too deep.
    """
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: if it is not JSON, or nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def parse_yaml(text: str) -> Any:
    """The content of a YAML text; all scalars are text (`no` may be a name), all tags are ignored.

    Raises:
        ValueError: if it is not YAML, nested too deep, or too large.
    """
    check_yaml(text)
    loader = yaml.BaseLoader(text)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML ({str(error).splitlines()[0]})") from None
    finally:
        loader.dispose()


def check_yaml(text: str) -> None:
    """Check a YAML text event by event, which needs no recursion.

    Raises:
        ValueError: if it is nested deeper than DEEPEST, or has more than MOST_NODES values when
        aliases are followed.
    """
    depth, total = 0, 0
    opened: list[tuple[str | None, int]] = []  # anchor, and how many values there were before it
    sizes: dict[str, int] = {}
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                if any(anchor == event.anchor for anchor, _ in opened):
                    raise ValueError("a value that contains itself")
                total += sizes.get(event.anchor, 1)
            elif isinstance(event, yaml.NodeEvent):
                total += 1
                if isinstance(event, yaml.CollectionStartEvent):
                    depth += 1
                    opened.append((event.anchor, total - 1))
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                anchor, before = opened.pop()
                if anchor is not None:
                    sizes[anchor] = total - before
            if depth > DEEPEST:
                raise ValueError(f"nested deeper than {DEEPEST}")
            if total > MOST_NODES:
                raise ValueError(f"more than {MOST_NODES} values, aliases followed")
    except yaml.YAMLError:
        return  # whoever reads the text reports the place
