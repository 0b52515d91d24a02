"""The contract of a model family, and what most families share.

A family is a module. It writes the names of `Family` that are not in `DEFAULTS`; the others it may
write. `segue.models.get` checks this once, when the family is loaded. docs/extending.md builds a
whole family, step by step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from segue import models
from segue.base.settings import Settings
from segue.errors import CheckpointError
from segue.losses.criterion import TERMS, Criterion
from segue.losses.rcnn import RegionCriterion
from segue.models.parts.layers import sides_around
from segue.structures.channels import Channel
from segue.structures.detections import Detections
from segue.structures.predictions import Predictions

if TYPE_CHECKING:  # these need ModelSpec, and `segue.models` imports this file before it defines it
    from segue.models import ModelSpec
    from segue.models.parts.chain import Chain
    from segue.models.parts.regions import Regions
    from segue.models.parts.state import State
    from segue.models.weights import ModelWeights

STEP, LEAST_SIDE = 32, 64  # pixels: of multi-scale training's sides, and the smallest of them


class Family(Protocol):
    """What the engine reads of a family and calls.

    SIZES: the published sizes by name, and `pico`, a small one for CPUs. PARTS: names of the
    chain's parts, input to output; the mask head is the last, unless TASKS is "boxes" alone. TASKS:
    what stages can train: "boxes", "masks" (on a frozen detector), "joint". TERMS: names of the
    loss's terms. Options: what a plan may choose, None where it leaves something open.
    ResolvedOptions: the same keys with nothing left open; they are stored in every checkpoint's
    card.
    """

    __name__: str
    SIZES: Mapping[str, Any]
    PARTS: tuple[str, ...]
    TASKS: tuple[str, ...]
    TERMS: tuple[str, ...]
    Options: type[Settings]
    ResolvedOptions: type[Settings]

    def resolve_options(
        self, options: Any, size: Any, most_objects: int, device: str
    ) -> tuple[Any, list[str]]:
        """ResolvedOptions, and a sentence for each value that was chosen here.

        options: an Options. size: a value of SIZES. most_objects: the largest number of objects in
        one image of the data. device: "cpu", "cuda", "cuda:1", ...

        Raises:
            PlanError: if an option does not fit the size or the data.
        """
        ...

    def build(self, spec: ModelSpec, masks: bool) -> Chain:
        """A model with fresh weights, drawn from torch's global generator; with a mask head if
        `masks`.

        Raises:
            PlanError: if the options do not fit the channels.
        """
        ...

    def criterion(
        self, chain: Chain, task: str, weights: dict[str, float]
    ) -> Criterion | RegionCriterion:
        """The loss of a stage.

        task: of TASKS. weights: of terms, where the plan says other ones than the family's.

        Raises:
            PlanError: if the plan weighs a term that this family cannot compute.
        """
        ...

    def predictions(self, chain: Chain, state: State) -> Predictions | Regions:
        """What the criterion reads, from the state after a forward pass."""
        ...

    def postprocess(
        self, chain: Chain, state: State, sizes: list[tuple[int, int]], most: int
    ) -> list[Detections]:
        """At most `most` detections of each image, in pixels of the original images.

        sizes: height and width of each original image. The chain is in eval mode.
        """
        ...

    def input_size(self, spec: ModelSpec) -> tuple[int, int]:
        """Height and width, in pixels, that images are resized to."""
        ...

    def multiscale_sides(self, spec: ModelSpec, expanded: bool) -> tuple[int, ...]:
        """The sides, in pixels, that multi-scale training draws from, ascending.

        expanded: whether to draw from a wider range.
        """
        ...

    def with_pretraining_stats(
        self, options: Any, channels: tuple[Channel, ...]
    ) -> tuple[Channel, ...]:
        """The channels with the mean and deviation that the backbone was pretrained with.

        options: ResolvedOptions. Channels whose statistics the data set says itself stay as they
        are.
        """
        ...

    def class_heads(self, chain: Chain) -> list[str]:
        """Names of all tensors with one row per class; "no object" is not a class."""
        ...

    def input_convs(
        self, spec: ModelSpec, tensors: Mapping[str, Tensor]
    ) -> dict[str, tuple[str, ...]]:
        """Names of tensors whose second dimension is input channels, and the names of these
        channels.

        tensors: of a model with this spec, or of weights for it.
        """
        ...

    def import_weights(self, source: str) -> ModelWeights:
        """Weights from a file, a folder or a hub id, under our names.

        Raises:
            CheckpointError: if it cannot be read safely, or is of another network.
        """
        ...

    def options_from_weights(
        self, tensors: dict[str, Tensor], size: str, device: str
    ) -> dict[str, Any]:
        """What weights without a card say about the model's Options."""
        ...

    def adapt_weights(
        self, weights: dict[str, Tensor], spec: ModelSpec, fresh: Sequence[str]
    ) -> list[str]:
        """Change, in place, what a hand-over may change without asking; returns a note for each.

        fresh: parts that the stage starts afresh, whose tensors are not in `weights`.

        Raises:
            HandoverError: if the weights cannot fit the model.
        """
        ...


def square_input(spec: ModelSpec) -> tuple[int, int]:
    """`input_size` of families whose options have a `resolution`."""
    return spec.options["resolution"], spec.options["resolution"]


def sides_by_32(spec: ModelSpec, expanded: bool) -> tuple[int, ...]:
    """`multiscale_sides` for networks whose coarsest cells are 32 pixels wide."""
    height, _ = models.get(spec.family).input_size(spec)
    return sides_around(height, STEP, LEAST_SIDE, expanded)


def imagenet_stats(options: Any, channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
    """`with_pretraining_stats` of backbones trained with ImageNet's, which r, g and b have by
    default.
    """
    return channels


def decoder_class_head(chain: Chain) -> list[str]:
    """`class_heads` of chains whose decoder has one linear layer `class_head`."""
    return ["decoder.class_head.weight", "decoder.class_head.bias"]


def first_conv(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """`input_convs` of chains whose first convolution is the first part's."""
    first, *_ = models.get(spec.family).PARTS
    for name, tensor in tensors.items():
        if name.startswith(f"{first}.") and tensor.dim() == 4:
            return {name: spec.channel_names}
    return {}


def own_checkpoints_only(source: str) -> ModelWeights:
    """`import_weights` of families that nobody else publishes weights for.

    Raises:
        CheckpointError: always; folders of segue's never get here.
    """
    raise CheckpointError(source, "no checkpoint of segue's", "a folder with card.json")


def nothing_known(tensors: dict[str, Tensor], size: str, device: str) -> dict[str, Any]:
    """`options_from_weights` of families whose weights always come with a card."""
    return {}


def nothing_adapted(weights: dict[str, Tensor], spec: ModelSpec, fresh: Sequence[str]) -> list[str]:
    """`adapt_weights` of families whose weights either fit or do not."""
    return []


DEFAULTS: Mapping[str, Any] = {
    "TERMS": TERMS,
    "input_size": square_input,
    "multiscale_sides": sides_by_32,
    "with_pretraining_stats": imagenet_stats,
    "class_heads": decoder_class_head,
    "input_convs": first_conv,
    "import_weights": own_checkpoints_only,
    "options_from_weights": nothing_known,
    "adapt_weights": nothing_adapted,
}
