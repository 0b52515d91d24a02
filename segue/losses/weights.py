"""What the terms of a loss weigh, by the task of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from segue.base.settings import Settings


class TermWeights(Settings):
    """The weight of each term in the total loss; a term of weight 0 is not computed."""

    def active(self) -> dict[str, float]:
        """Term -> weight, of those that are computed."""
        return {name: weight for name, weight in self.model_dump().items() if weight}


W = TypeVar("W", bound=TermWeights)


def weights_for_task(
    kind: type[W],
    task: str,
    planned: Mapping[str, float],
    boxes: Mapping[str, float],
    masks: Mapping[str, float],
) -> W:
    """The weights of a stage's terms.

    task: boxes, masks (masks alone) or joint. planned: what the plan says, which comes before all
    else. boxes, masks: a family's weights of the terms of boxes (their classes included) and of
    masks; those of the other task are 0.
    """
    weights = dict.fromkeys(boxes, 0.0) if task == "masks" else dict(boxes)
    weights |= dict.fromkeys(masks, 0.0) if task == "boxes" else dict(masks)
    return kind(**{**weights, **planned})
