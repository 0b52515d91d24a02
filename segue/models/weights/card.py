"""What a file of weights says of itself: its model, where it came from, and what it was trained on.

The card of a checkpoint folder is its card.json; that of a single file lies in it.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import nn

from segue.base.settings import Settings
from segue.errors import CheckpointError
from segue.models import ModelSpec


class PartSummary(Settings):
    """Size of one part of the chain, and whether the stage trained it."""

    tensors: int
    parameters: int
    frozen: bool

    @classmethod
    def of(cls, part: nn.Module, frozen: bool) -> PartSummary:
        counts = [parameter.numel() for parameter in part.parameters()]
        return cls(tensors=len(counts), parameters=sum(counts), frozen=frozen)


class Card(Settings):
    """What a checkpoint is.

    epoch, step: of the stage, done when it was written. complete: whether the stage that wrote it
    has finished. selected_by: the metric that selects; metrics: of these weights on valid.
    came_from: the file and SHA-256 of the weights the stage started from, with what these came from
    in turn. data: the manifest ("sha256"), "classes" with their ids in the data's files, and counts
    by split. code: versions. created: UTC. files: SHA-256 of each file of a folder, by name.
    """

    spec: ModelSpec
    plan: str = ""
    stage: str = ""
    task: str = ""
    epoch: int = 0
    step: int = 0
    complete: bool = False
    selected_by: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    parts: dict[str, PartSummary] = Field(default_factory=dict)
    came_from: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    code: dict[str, str] = Field(default_factory=dict)
    created: str = ""
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def manifest(self) -> str:
        """SHA-256 of the data it was trained on; empty if the card does not say."""
        return str(self.data.get("sha256", ""))

    def lineage(self) -> list[tuple[str, str]]:
        """Name and SHA-256 of what it came from, nearest first."""
        chain: list[tuple[str, str]] = []
        source: Any = self.came_from
        while isinstance(source, dict) and source:
            name = source.get("checkpoint") or source.get("source", "?")
            chain.append((str(name), str(source.get("weights_sha256", ""))))
            source = source.get("came_from", {})
        return chain


def card_in(source: object, spec: object, **known: Any) -> Card:
    """The card of a foreign file that says which model of ours it holds.

    spec: as the file has it. known: what else it says.

    Raises:
        CheckpointError: at `source`, if that is no model.
    """
    try:
        return Card(spec=ModelSpec.model_validate(spec), **known)
    except ValueError as error:
        first = str(error).strip().split("\n")[0][:160]
        raise CheckpointError(source, f"describes no model that can be built ({first})") from None
