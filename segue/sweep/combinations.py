"""The members of a sweep: a plan for each combination of values, all of them valid before the first
is trained.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from segue.data.dataset import DataSet
from segue.errors import PlanError, SegueError
from segue.plan.reading import load_plan
from segue.plan.schema import Plan
from segue.run import build
from segue.run.console import Console
from segue.run.context import StageContext
from segue.run.data import read_all_data
from segue.run.folder import digest_of, key_of

LONGEST_NAME = 100
NOT_SWEPT = {
    "name": "it follows from the values",
    "runs": "it follows from the plan",
    "device": "use --devices",
}
OPENING, CLOSING = "[{(", "]})"


@dataclass(frozen=True, slots=True)
class Member:
    """One combination.

    values: by swept key, as typed. digest: of all that decides what comes out of it.
    """

    name: str
    values: dict[str, str]
    plan: Plan
    digest: str


def values_in(text: str) -> list[str]:
    """Values between commas; those within brackets or quotes divide nothing."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if letter == "," and not depth and not quote:
            parts.append("")
            continue
        if letter in "\"'" and quote in ("", letter):
            quote = "" if quote else letter
        elif not quote:
            depth += (letter in OPENING) - (letter in CLOSING)
        parts[-1] += letter
    return parts


def swept_keys(arguments: Sequence[str]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The keys with several values, and the arguments with one, which change the plan of all
    members.

    Raises:
        PlanError: if a key cannot be swept, a value is missing, or there is nothing to sweep.
    """
    keys: dict[str, list[str]] = {}
    fixed: list[str] = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        values = [value.strip() for value in values_in(text)]
        if not equals or len(values) == 1:
            fixed.append(argument)
        elif key in NOT_SWEPT:
            raise PlanError(f"sweep {key}", "cannot have several values", f"one: {NOT_SWEPT[key]}")
        elif key in keys or "" in values:
            found = (
                "stands here a second time"
                if key in keys
                else f"no value between two commas in {text!r}"
            )
            raise PlanError(
                f"sweep {key}", found, "every key once, as key=a,b,c; null for no value"
            )
        else:
            keys[key] = values
    if not keys:
        raise PlanError(
            "sweep", "no key has several values", "model.size=a,b", "segue run, for one run"
        )
    return keys, tuple(fixed)


def names_of(combinations: Sequence[dict[str, str]]) -> list[str]:
    """A name for each combination that says what differs, and is safe in any file system."""
    short = _short_ends(list(combinations[0]))
    names = []
    for values in combinations:
        name = ",".join(
            f"{short[key]}={re.sub(r'[^A-Za-z0-9_.+-]+', '-', v)}"
            for key, v in sorted(values.items())
        )
        names.append(name.rstrip("."))
    taken = [name.lower() for name in names]
    return [
        name
        if len(name) <= LONGEST_NAME and taken.count(name.lower()) == 1
        else _with_hash(name, values)
        for name, values in zip(names, combinations, strict=True)
    ]


def _with_hash(name: str, values: dict[str, str]) -> str:
    return f"{name[: LONGEST_NAME - 9]}-{key_of(values)[:8]}"


def _short_ends(keys: list[str]) -> dict[str, str]:
    """The shortest end of each dotted key that no other one has."""
    short = {}
    for key in keys:
        steps = key.split(".")
        ends = [".".join(steps[-count:]) for count in range(1, len(steps) + 1)]
        alone = [end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1]
        short[key] = (alone or [key])[0]
    return short


def members_of(path: Path, arguments: Sequence[str], console: Console) -> list[Member]:
    """All members, each a valid plan whose data are there and whose models can be built. Nothing is
    trained.

    Raises:
        PlanError: listing everything that is wrong, each with the members it is wrong with.
    """
    keys, fixed = swept_keys(arguments)
    if not path.is_file():
        load_plan(path)  # says so, once
    combinations = [
        dict(zip(keys, values, strict=True)) for values in itertools.product(*keys.values())
    ]
    names = names_of(combinations)
    wrong: dict[str, list[str]] = {}
    plans: dict[str, Plan] = {}
    for name, values in zip(names, combinations, strict=True):
        with _noted(wrong, name):
            plans[name] = load_plan(
                path, (*fixed, *(f"{key}={value}" for key, value in values.items()))
            )
    _refuse(path, wrong, names)
    read: dict[str, dict[str, DataSet]] = {}
    members = []
    for name, values in zip(names, combinations, strict=True):
        with _noted(wrong, name):
            data = _data_of(plans[name], read, console)
            _build(plans[name], data)
            manifests = [data[stage.name].manifest for stage in plans[name].stages]
            members.append(Member(name, values, plans[name], digest_of(plans[name], manifests)))
    for first, second in itertools.combinations(members, 2):
        if first.digest == second.digest:
            wrong.setdefault(
                f"the same as {first.name} in all that decides what comes out", []
            ).append(second.name)
    _refuse(path, wrong, names)
    return members


class _noted:
    """Notes what is wrong with a member instead of raising it."""

    def __init__(self, wrong: dict[str, list[str]], name: str) -> None:
        self.wrong, self.name = wrong, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, SegueError):
            self.wrong.setdefault(error.message, []).append(self.name)
        return isinstance(error, SegueError)


def _refuse(path: Path, wrong: dict[str, list[str]], names: list[str]) -> None:
    if wrong:
        lines = [
            f"{'all members' if len(those) == len(names) else ' and '.join(those)}: {message}"
            for message, those in wrong.items()
        ]
        bad = {name for those in wrong.values() for name in those}
        found = "\n  ".join(
            [f"{len(bad)} of {len(names)} members cannot be trained, so none is", *lines]
        )
        raise PlanError(path, found)


def _data_of(
    plan: Plan, read: dict[str, dict[str, DataSet]], console: Console
) -> dict[str, DataSet]:
    """Every stage's data, checked once for all members that have the same."""
    key = key_of(
        [[s.name, s.with_masks, plan.data_of(s).model_dump(mode="json")] for s in plan.stages]
    )
    if key not in read:
        read[key] = read_all_data(plan, console)
    return read[key]


def _build(plan: Plan, data: dict[str, DataSet]) -> None:
    """Every stage's model, without values."""
    device = build.pick_device(plan.device)
    for stage in plan.stages:
        context = StageContext(
            plan, stage, data[stage.name], device, plan.runs, say=lambda line: None
        )
        build.refuse_late_thaws(stage, context.data)
        build.monitored(context.data, stage)
        with torch.device("meta"):
            build.build_model(context, weights=None)
