"""Which model a stage trains: what its plan leaves open is taken from the weights it starts from,
or else from its data and its device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segue import models
from segue.errors import HandoverError
from segue.models import ModelSpec
from segue.models.weights import ModelWeights
from segue.run.context import StageContext
from segue.structures.channels import Channel

MEANING = ("scale", "plane", "mean", "std")  # of a channel: what decides what its values mean


def spec_of(
    context: StageContext,
    weights: ModelWeights | None,
    resumed_options: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """All that is needed to build the stage's model, with no option left open.

    An option is the plan's; or else that of the weights, so that they fit; or else what the size,
    the data and the device suggest. resumed_options: of this stage's own checkpoint, if it goes on
    from one; they win, because another device could suggest others.

    Raises:
        PlanError: if the plan's choices do not fit the size or the data.
        HandoverError: if the weights are of another family or size.
    """
    model, plan, data = context.plan.model, context.plan, context.data
    family = models.get(model.family)
    size = models.size_of(family, model.size)
    parent = _parent_of(weights)
    if weights is not None and parent is not None:
        _refuse_other_model(weights, parent, model.family, model.size)
    known: Mapping[str, Any] = {}
    if parent is not None:
        known = parent.options
    elif weights is not None:
        known = family.options_from_weights(weights.tensors, model.size, context.device)
    chosen = {name: value for name, value in model.options.items() if value is not None}
    options, notes = family.resolve_options(
        family.Options(**(resumed_options or {**known, **chosen})),
        size,
        data.most_objects,
        context.device,
    )
    planned = plan.data_of(context.stage).channels
    channels = family.with_pretraining_stats(options, planned)
    if channels != planned:
        statistics = ", ".join(f"{c.name} {c.mean} / {c.std}" for c in channels)
        notes = [*notes, f"mean / deviation {statistics}"]
    for line in (*notes, *_changed_channels(parent.channels if parent else (), channels)):
        context.report(line)
    return ModelSpec(
        family=model.family,
        size=model.size,
        classes=data.classes,
        channels=channels,
        options=options.model_dump(),
    )


def _parent_of(weights: ModelWeights | None) -> ModelSpec | None:
    """The model that weights with a card are of; None for a foreign file, which says less."""
    if weights is None or weights.card is None:
        return None
    return weights.card.spec


def _refuse_other_model(weights: ModelWeights, parent: ModelSpec, family: str, size: str) -> None:
    if (parent.family, parent.size) != (family, size):
        raise HandoverError(
            weights.source,
            f"a {parent.family} {parent.size} model",
            f"{family} {size}, as the plan's model says",
        )


def _changed_channels(before: Sequence[Channel], channels: Sequence[Channel]) -> list[str]:
    """A warning for each channel whose values will mean something else than in the checkpoint a
    stage starts from.
    """
    known = {channel.name: channel for channel in before}
    lines = []
    for channel in channels:
        then, now = known.get(channel.name, channel).model_dump(), channel.model_dump()
        changes = [f"{key} {then[key]} -> {now[key]}" for key in MEANING if then[key] != now[key]]
        if changes:
            lines.append(
                f"warning: channel {channel.name} meant something else before: {', '.join(changes)}"
            )
    return lines
