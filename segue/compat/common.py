"""What the commands under scripts/, which keep the original projects' flags and files, have in
common.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from segue.base.settings import Settings
from segue.cli.app import guarded
from segue.errors import PlanError, printable
from segue.plan.reading import plan_error, validated
from segue.plan.schema import Plan
from segue.plan.yaml_text import Place, apply_override, read_yaml

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


@contextmanager
def plan_errors(where: str, kind: type[BaseModel] = Plan) -> Iterator[None]:
    """Says what settings refuse while a plan of one stage is put together, with the plan's keys.

    kind: what is put together, if it is not a whole plan.

    Raises:
        PlanError: in place of pydantic's ValidationError, as for a plan that is read from a file.
    """
    try:
        yield
    except ValidationError as error:
        # a family's options stand among the model's own keys
        place = ("model",) if error.title == "Options" else _place_of(error.title, kind)
        raise plan_error(error, kind, where, {}, place or ()) from None


def _place_of(name: str, kind: type[BaseModel]) -> Place | None:
    """Where settings of this class name first stand in those of `kind`; None if they do not."""
    if kind.__name__ == name:
        return ()
    for key, field in kind.model_fields.items():
        number = (0,) if get_origin(field.annotation) is tuple else ()
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                place = _place_of(name, inner)
                if place is not None:
                    return (key, *number, *place)
    return None


def chosen(options: Settings) -> dict[str, Any]:
    """A family's options that were given, as further keys of a plan's model; None is left open."""
    given = options.model_dump(include=options.model_fields_set)
    return {key: value for key, value in given.items() if value is not None}


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Flags as JSON has them: paths are text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def main(command: Callable[[], int | None]) -> NoReturn:
    """Run a command; errors are one line and an exit code, as `segue` has them."""
    sys.exit(guarded(command, Path(sys.argv[0]).name))


def warn(text: str) -> None:
    """A line on the error stream; of several processes, only the first says it."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"WARNING: {printable(text)}\n")
