"""Reading plans: YAML into a `Plan`, with the place of all that is wrong and the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from segue import models
from segue.base.plugins import may_be_named
from segue.errors import PlanError, SegueError
from segue.plan.schema import Plan
from segue.plan.yaml_text import Place, Places, apply_override, read_yaml

Kind = TypeVar("Kind", bound=BaseModel)
# What other programs call it, and where it is here.
ELSEWHERE = {
    **dict.fromkeys(("batch", "batch_size", "effective_batch", "ims_per_batch"), "images_per_step"),
    **dict.fromkeys(("lr", "lr0", "base_lr", "learning_rate"), "optimizer.lr"),
    **dict.fromkeys(("imgsz", "img_size", "image_size", "input_size"), "model.resolution"),
    **dict.fromkeys(("num_epochs", "max_epochs"), "epochs"),
    "weight_decay": "optimizer.weight_decay",
    "num_workers": "workers",
}


def load_plan(path: str | Path, overrides: tuple[str, ...] = ()) -> Plan:
    """Read a plan file; overrides are `key=value` with dotted keys, such as
    `stages.masks.epochs=5`.

    Raises:
        PlanError: listing everything that is wrong, each with file, line and column.
    """
    path = Path(path)
    return parse(_text(path), str(path), overrides)


def load_kept(path: Path) -> Plan:
    """The plan in a run's folder. Somebody else may have made the folder, so that it can name no
    module to import.

    Raises:
        PlanError: if it does, or is no plan.
    """
    text = _text(path)
    content, _ = read_yaml(text, str(path))
    for key, name in _modules(content):
        if not may_be_named(name):
            raise PlanError(
                f"{path}: {key}",
                f"names the module {name}",
                "one of segue's, or yours",
                models.how_to_allow(name),
            )
    return parse(text, str(path))


def _modules(content: Any) -> Iterator[tuple[str, Any]]:
    """What a plan says in the places where modules are named."""
    top = content if isinstance(content, dict) else {}
    stages = top.get("stages") if isinstance(top.get("stages"), list) else []
    for where, key in (
        (top.get("model"), "family"),
        *((place, "format") for place in _data(top, stages)),
    ):
        if isinstance(where, dict) and where.get(key) is not None:
            yield key, where[key]


def _data(top: dict[str, Any], stages: list[Any]) -> Iterator[Any]:
    yield from (place.get("data") for place in (top, *stages) if isinstance(place, dict))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        recipe = "segue init detector-then-masks > " + path.name
        raise PlanError(path, "no such file", "a plan", recipe) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(path, f"not readable ({error})", "a text file") from None


def parse(text: str, where: str, overrides: tuple[str, ...] = ()) -> Plan:
    """A plan from YAML text.

    Raises:
        PlanError: with one line for everything that is wrong.
    """
    content, places = read_yaml(text, where)
    if not isinstance(content, dict):
        raise PlanError(where, f"a {type(content).__name__}", "keys: data, model, stages")
    for override in overrides:
        apply_override(content, override)
    return from_values(content, where, places)


def from_values(content: dict[str, Any], where: str, places: Places | None = None) -> Plan:
    """A plan from plain values; `places` are those of `read_yaml`, if they came from a file.

    Raises:
        PlanError: with one line for everything that is wrong.
    """
    return validated(Plan, content, where, places or {})


def validated(kind: type[Kind], content: Any, where: str, places: Places) -> Kind:
    """Plain values as settings of any kind.

    Raises:
        PlanError: with one line for everything that is wrong, its place, and the nearest name there
        is.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise plan_error(error, kind, where, places) from None
    except SegueError as error:
        place = ("model",) if "model" in content else ()
        raise PlanError(
            f"{_at(where, places, place)}: {error.where}",
            error.found,
            error.expected,
            error.next_step,
        ) from None


def plan_error(
    error: ValidationError,
    kind: type[BaseModel],
    where: str,
    places: Places,
    inside: Place = (),
) -> PlanError:
    """What pydantic refuses in settings of a kind, as one line for everything that is wrong.

    inside: the place, in these settings, of what was refused; () if it is all of them.
    """
    complaints = [
        _complaint(where, places, {**problem, "loc": (*inside, *problem["loc"])}, kind)
        for problem in error.errors()
    ]
    if len(complaints) == 1:
        return PlanError(*complaints[0])
    lines = [f"{at}: {text}" for at, text in complaints]
    return PlanError(where, "\n  ".join([f"{len(lines)} problems", *lines]))


def _at(where: str, places: Places, place: Place) -> str:
    """file:line:column of a place, or of what it lies in if it is not in the file itself."""
    while place and place not in places:
        place = place[:-1]
    return f"{where}:{places[place][0]}:{places[place][1]}" if place in places else where


def _complaint(where: str, places: Places, problem: Any, kind: type) -> tuple[str, str]:
    """Where pydantic found a problem, and which, with the nearest name there is."""
    place: Place = tuple(problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        text = f"unknown key '{place[-1]}'"
        known = _keys_at(kind, place[:-1])
        meant = ELSEWHERE.get(str(place[-1]))
        near = [meant] if meant else difflib.get_close_matches(str(place[-1]), known, n=1)
        text += (
            f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(sorted(known))}"
        )
    elif problem["type"] == "missing":
        text = "missing"
    elif problem["type"] != "value_error":
        text += f" (found {str(problem['input'])[:40]!r})"
    name = ".".join(map(str, place))
    return _at(where, places, place), f"{name}: {text}" if name else text


def _keys_at(kind: type, place: Place) -> list[str]:
    """The keys that settings of a kind may have at a place."""
    here: Any = kind
    for step in place:
        if isinstance(step, int):
            continue
        annotation = here.model_fields[step].annotation if step in here.model_fields else None
        inner = [c for c in _classes_in(annotation) if issubclass(c, BaseModel)]
        if not inner:
            return []
        here = inner[0]
    keys = list(here.model_fields)
    if here.__name__ == "Model":
        keys += [key for name in models.names() for key in models.get(name).Options.model_fields]
    return keys


def _classes_in(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in _classes_in(argument)]
