"""What the commands under scripts/, which keep the original projects' flags and files, have in
common.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from segue.errors import PlanError, printable
from segue.plan.reading import apply_override, read_yaml, validated

Kind = TypeVar("Kind", bound=BaseModel)
TakeDead = Callable[[dict[str, Any]], list[tuple[str, str]]]


def read_config(
    kind: type[Kind], path: Path, take_dead: TakeDead, overrides: Sequence[tuple[str, str]] = ()
) -> Kind:
    """A configuration file as settings, with a warning on the error stream for every key that has
    no effect.

    take_dead: removes such keys from a file's content and gives each, dotted, with the reason.
    overrides: dotted keys of the command line and their values, which win over the file's.

    Raises:
        PlanError: if the file is missing, is no YAML, or has an unknown key or a value that cannot
        be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(path, f"not readable ({error})", "a configuration file") from None
    content, places = read_yaml(text, str(path))
    if not isinstance(content, dict):
        raise PlanError(
            path, f"a {type(content).__name__}", "sections: " + ", ".join(kind.model_fields)
        )

    def at(key: str) -> str:
        line, column = places.get(tuple(key.split(".")), (1, 1))
        return f"{path}:{line}:{column}: {key}"

    _say_dead(take_dead, content, at)
    settings = validated(kind, content, str(path), places)
    if not overrides:
        return settings
    for key, value in overrides:
        apply_override(content, f"{key}={value}")
    _say_dead(take_dead, content, lambda key: f"command line: {key}")
    return validated(kind, content, "command line", {})


def _say_dead(take_dead: TakeDead, content: dict[str, Any], at: Callable[[str], str]) -> None:
    try:
        for key, reason in take_dead(content):
            warn(f"{at(key)} has no effect here: {reason}")
    except PlanError as error:
        raise PlanError(at(error.where), error.found, error.expected, error.next_step) from None


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type for whole numbers from `least` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return number


def warn(text: str) -> None:
    """A line on the error stream; of several processes, only the first says it."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"WARNING: {printable(text)}\n")
