"""Quarantine lists of version 1, which segue 0.1.0 wrote: they name a problem by place and wording.

Their `kind` was guessed from the wording, and a file's name could mislead the guess. The words of a
problem may change with a release. So an entry counts if its place and one of the two are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segue.data.problems import Place, Problem, plain
from segue.errors import printable


def matcher(content: dict[str, list[dict[str, Any]]]) -> Callable[[Problem], bool]:
    """Whether a problem of reading is in a list. content: the list's images and objects."""
    entries = [entry for group in content.values() for entry in group]
    words = {(_absolute(entry["where"]), entry["found"]) for entry in entries}
    kinds = {(_absolute(entry["where"]), entry["kind"]) for entry in entries}

    def is_listed(problem: Problem) -> bool:
        return any(
            (where, plain(problem.found)) in words or (where, problem.kind) in kinds
            for where in _places(problem.place)
        )

    return is_listed


def _places(place: Place) -> tuple[str, ...]:
    """How version 1 may have written a place: without ids that no item of it spells out."""
    if place.item or place.line is not None:
        return (_absolute(str(place)),)
    return (_absolute(place.file),)


def _absolute(where: str) -> str:
    return str(Path(printable(where)).absolute())
