"""Model families: one module each, found by its file name. They share `parts`; `weights` reads
foreign files.

A family module has

    SIZES: Mapping[str, ...]                   the published sizes (and a small one for CPUs), by name
    PARTS: tuple[str, ...]                     the chain, input to output; every parameter belongs to one part
    TASKS: tuple[str, ...]                     what its stages can train: boxes, masks on frozen boxes, or both jointly
    TERMS: tuple[str, ...]                     the loss's terms, if they are not those of `segue.losses.criterion`
    Options                                    a Settings class: what a plan may choose beside size and classes
    resolve_options(options, size, most, device)       options with nothing left open, and what was chosen and why
    with_pretraining_stats(options, channels) -> channels  with the mean and deviation that the model was pretrained with
    build(spec, masks) -> Chain                a model with fresh weights, with a mask head if asked for
    criterion(chain, task, weights)            the loss of a stage: sums for a part of a step, and their total
    predictions(chain, state) -> Predictions   what the criterion reads
    postprocess(chain, state, sizes, most) -> list[Detections]
    input_size(spec), multiscale_sides(spec, expanded)   height and width of the frame; sides for multi-scale training
    class_heads(chain)                         names of tensors with one row per class
    input_convs(spec, tensors)                names of tensors with one column per channel, and these channels
    import_weights(source) -> ModelWeights from the file formats people really have
    options_from_weights(tensors, size, device) -> dict  what weights without a card say about the model's options
    adapt_weights(weights, spec, fresh) -> notes       changes of layout a hand-over may make without asking; not of parts
                                               that the stage starts afresh
"""

from __future__ import annotations

import difflib
from types import ModuleType
from typing import Any

from pydantic import Field, field_validator

from segue.base.plugins import ALLOWED, find_module, may_be_named, modules_in
from segue.base.settings import Settings
from segue.errors import PlanError
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
    return modules_in(__path__)


def get(name: str) -> ModuleType:
    """The family module called `name`: one of ours, or a dotted path of yours.

    Raises:
        PlanError: if there is no such family.
    """
    family = find_module(__name__, names(), name, f"family {name}")
    if not all(hasattr(family, part) for part in ("PARTS", "build")):
        raise PlanError(
            f"family {name}",
            "a module that is no model family",
            "PARTS, build, ... as in segue.models",
        )
    return family


def how_to_allow(name: str) -> str:
    """How to allow a module that data name."""
    return f"{ALLOWED}={name} in the environment, if you trust that code"


def size_of(family: ModuleType, name: str) -> Any:
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
