"""Modules found by their file name: what a package offers is what lies in it, and what you wrote
works by its path.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Generic, Protocol

from segue.errors import PlanError

# of the environment: modules that checkpoints and runs may name, separated by commas
ALLOWED = "SEGUE_MODULES"


def modules_in(path: Iterable[str]) -> list[str]:
    """The modules directly in a package with this `__path__`, sorted; neither packages nor names
    with an underscore.
    """
    return sorted(
        m.name for m in pkgutil.iter_modules(path) if not m.ispkg and not m.name.startswith("_")
    )


def find_module(package: str, known: list[str], name: str, where: str) -> ModuleType:
    """The package's module called `name`, or the module at a dotted path.

    Raises:
        PlanError: at `where`, with the nearest name if there is no such module, or with what its
            import failed at.
    """
    if name in known:
        return importlib.import_module(f"{package}.{name}")
    if "." not in name:
        raise PlanError(where, "unknown", nearest(name, known))
    try:
        return importlib.import_module(name)
    # the module is its user's: anything can go wrong while it is imported
    except Exception as error:  # noqa: BLE001
        message = f"cannot be imported ({type(error).__name__}: {error}{_line_of(error)})"
        raise PlanError(where, message, "a module that Python can import") from None


def _line_of(error: Exception) -> str:
    """Where in a user's module its import failed; empty if no line of it was reached."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    reached = frame.filename != __file__ and "importlib" not in frame.filename
    return f", {frame.filename}:{frame.lineno}" if reached else ""


def check_contract(
    module: ModuleType, contract: type, where: str, defaults: Mapping[str, Any] | None = None
) -> None:
    """Make sure that a module has what its users call, before any of them does.

    contract: a Protocol; a module keeps it if it has every constant under its name, and every
    method as a function that takes the method's arguments. defaults: functions for names that a
    module may leave out. They are set on it, so that the module is complete however it is imported.

    Raises:
        PlanError: at `where`, with everything that is missing or of another kind, in one error.
    """
    for name, default in (defaults or {}).items():
        if not hasattr(module, name):
            setattr(module, name, default)
    constants, methods = _members(contract)
    faults = [f"{name} is missing" for name in (*constants, *methods) if not hasattr(module, name)]
    for name, method in methods.items():
        function = getattr(module, name, None)
        if function is not None and not callable(function):
            faults.append(f"{name} is no function")
        elif function is not None and not _takes(function, method):
            faults.append(f"{name} takes {_arguments(function)}, not {_arguments(method)}")
    if faults:
        place = f"{contract.__module__}.{contract.__qualname__}"
        raise PlanError(where, "; ".join(faults), f"all that {place} lists", "docs/extending.md")


def _members(contract: type) -> tuple[list[str], dict[str, Any]]:
    """The names of a Protocol's constants, and its methods by name."""
    constants: list[str] = []
    methods: dict[str, Any] = {}
    for base in reversed(contract.__mro__):
        if base in (object, Protocol, Generic):
            continue
        constants += [name for name in inspect.get_annotations(base) if not name.startswith("_")]
        functions = {name: value for name, value in vars(base).items() if inspect.isfunction(value)}
        methods |= {name: f for name, f in functions.items() if not name.startswith("_")}
    return constants, methods


def _takes(function: Any, method: Any) -> bool:
    """Whether a function can be called with a method's arguments, in their order."""
    try:
        inspect.signature(function).bind(*range(len(_parameters(method))))
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return True
    return True


def _parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def _arguments(function: Any) -> str:
    return f"({', '.join(_parameters(function))})"


def may_be_named(name: object) -> bool:
    """Whether data may name this module, so that using them imports nothing its user did not ask
    for.

    Data are checkpoints and the plan in a run's folder: somebody else may have written them. They
    can name what comes with segue, what is imported already, and what the environment's
    SEGUE_MODULES lists.
    """
    known = "." not in str(name) or name in sys.modules
    return known or name in os.environ.get(ALLOWED, "").split(",")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not known: the nearest one, or all."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"{near[0]}?" if near else "one of " + ", ".join(known)
