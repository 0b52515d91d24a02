"""Modules found by their file name: what a package offers is what lies in it, and what you wrote
works by its path.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType

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
        PlanError: at `where`, with the nearest name, if there is none.
    """
    if name in known:
        return importlib.import_module(f"{package}.{name}")
    if "." in name:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise PlanError(where, f"cannot be imported ({error})") from None
    raise PlanError(where, "unknown", nearest(name, known))


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
