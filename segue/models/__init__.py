"""Model families: one module each, found by its file name. They share `parts`; `weights` reads
foreign files.

What a family module has to have is the Protocol `segue.models.family.Family`.
"""

from __future__ import annotations

import difflib
from functools import cache
from types import ModuleType
from typing import Any, cast

from pydantic import Field, field_validator

from segue.base.plugins import ALLOWED, check_contract, find_module, may_be_named, modules_in
from segue.base.settings import Settings
from segue.errors import PlanError
from segue.models.family import DEFAULTS, Family
from segue.structures.channels import RGB, Channel


class ModelSpec(Settings):
    """All that is needed to build a model again; stored in every checkpoint's card.

    options: the family's own settings, complete. Labels are positions in `classes`.
    """

    family: str
    size: str
    classes: tuple[str, ...]
    channels: tuple[Channel, ...] = RGB
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("family")
    @classmethod
    def _imports_nothing(cls, name: str) -> str:
        """A plan imports its family before it becomes a model; of a checkpoint's card nobody knows
        who wrote it.
        """
        if not may_be_named(name):
            raise PlanError(
                f"family {name}",
                "a module that a file names",
                "one of segue's, or yours",
                how_to_allow(name),
            )
        return name

    @property
    def channel_names(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.channels)


def names() -> list[str]:
    """All families that come with segue, sorted."""
    return [name for name in modules_in(__path__) if name != "family"]


def get(name: str) -> Family:
    """The family module called `name`: one of ours, or a dotted path of yours.

    Raises:
        PlanError: if there is no such family, or it does not keep the contract.
    """
    return _complete(find_module(__name__, names(), name, f"family {name}"), f"family {name}")


@cache
def _complete(module: ModuleType, where: str) -> Family:
    """Checked once: the engine asks for its family at every step."""
    check_contract(module, Family, where, DEFAULTS)
    return cast(Family, module)


def how_to_allow(name: str) -> str:
    """How to allow a module that data name."""
    return f"{ALLOWED}={name} in the environment, if you trust that code"


def size_of(family: Family, name: str) -> Any:
    """The family's entry for size `name`.

    Raises:
        PlanError: if the family has no such size.
    """
    if name not in family.SIZES:
        near = difflib.get_close_matches(name, family.SIZES, n=1)
        raise PlanError(
            f"size {name}", "unknown", (f"{near[0]}? or " if near else "") + ", ".join(family.SIZES)
        )
    return family.SIZES[name]
