"""YAML as people mean it: the scalars of YAML 1.2's core schema, the place of every value, and
dotted keys that change one.

`1e-4` is a number, `no` is a word, a key given twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import copy
from typing import Any

import yaml

from segue.base.parsing import check_yaml
from segue.errors import PlanError

Place = tuple[str | int, ...]  # keys and positions from the top
Places = dict[Place, tuple[int, int]]  # line and column of each, from 1


class _Loader(yaml.CSafeLoader):
    """CSafeLoader with YAML 1.2 core scalars."""


_Loader.yaml_implicit_resolvers = dict[str, list[Any]]()
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(
        loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan")
    )


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)


def read_yaml(text: str, where: str) -> tuple[Any, Places]:
    """Values, and where each stands. where: the file, or what else to call it in an error.

    Raises:
        PlanError: if it is not YAML, or a key stands twice.
    """
    places: Places = {}
    try:
        check_yaml(text)
    except ValueError as error:
        raise PlanError(where, str(error), "a plan that people can read") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, places
        for place, at, twice in _walk(node, ()):
            if twice:
                raise PlanError(
                    f"{where}:{at[0]}:{at[1]}", f"the key {place[-1]!r} stands here a second time"
                )
            places[place] = at
        return loader.construct_document(node), places
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise PlanError(at, f"not YAML ({getattr(error, 'problem', error)})") from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, place: Place) -> Iterator[tuple[Place, tuple[int, int], bool]]:
    """Every value's place, where it (or its key) stands, and whether its key stood there before."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(getattr(key, "value", ""))
            yield (*place, name), (key.start_mark.line + 1, key.start_mark.column + 1), name in seen
            seen.add(name)
            yield from _walk(value, (*place, name))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*place, number), (value.start_mark.line + 1, value.start_mark.column + 1), False
            yield from _walk(value, (*place, number))


def apply_override(content: dict[str, Any], override: str) -> None:
    """Set one dotted key; stages are addressed by name or number.

    Raises:
        PlanError: if it is not key=value, or an index does not exist.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise PlanError(
            f"override {override!r}", "no '='", "key=value, such as stages.masks.epochs=5"
        )
    value, _ = read_yaml(text, f"override {key}")
    *parents, last = key.split(".")
    here: Any = content
    for step in parents:
        index = _index(here, step, override)
        if isinstance(here, dict) and not isinstance(here.get(index), (dict, list)):
            here[index] = {}
        # what YAML's aliases name stands in several places, and is set in one
        here[index] = copy(here[index])
        here = here[index]
    here[_index(here, last, override)] = value if text else None


def _index(here: Any, step: str, override: str) -> Any:
    """Where a step of a dotted key leads: a key of a mapping; of a list, the entry of that name or
    number.

    Raises:
        PlanError: if a list has no such entry.
    """
    if not isinstance(here, list):
        return step
    for number, entry in enumerate(here):
        if isinstance(entry, dict) and entry.get("name") == step:
            return number
    if step.isdigit() and int(step) < len(here):
        return int(step)
    names = [str(e.get("name", i)) for i, e in enumerate(here) if isinstance(e, dict)]
    raise PlanError(f"override {override!r}", f"no stage {step!r}", f"one of {', '.join(names)}")
