"""The plans segue ships, by name."""

from __future__ import annotations

from importlib.resources import files

from segue.base.plugins import nearest
from segue.errors import PlanError


def names() -> list[str]:
    """All recipes, sorted."""
    entries = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml"))


def text(name: str) -> str:
    """The YAML of a recipe.

    Raises:
        PlanError: if there is no such recipe.
    """
    if name not in names():
        raise PlanError(f"recipe {name}", "unknown", nearest(name, names()))
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
