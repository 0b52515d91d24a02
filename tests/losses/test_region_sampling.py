"""Places that take part in the loss: few with an object, the rest without, and the same ones
again.
"""

from __future__ import annotations

import torch
from torchvision.models.detection._utils import BoxCoder, Matcher

from segue.losses.region_sampling import Draw, draw, luck_of
from segue.structures.target import Target

RULE = Draw(8, 0.25, Matcher(0.7, 0.3), BoxCoder((1.0, 1.0, 1.0, 1.0)))
OBJECT = torch.tensor([[0.0, 0.0, 10.0, 10.0]])


def target(weight: float = 0.5, key: int = 7) -> Target:
    one = torch.ones(1)
    return Target(torch.zeros(1, dtype=torch.int64), one[:, None], one > 0, one * weight, key=key)


def places(on: int, off: int, between: int = 0) -> torch.Tensor:
    kinds = [[0, 0, 10, 10]] * on + [[50, 50, 60, 60]] * off + [[0, 0, 10, 5]] * between
    return torch.tensor(kinds, dtype=torch.float32)


def test_at_most_the_share_has_an_object_and_the_rest_fills_the_count():
    boxes = places(on=6, off=20)
    drawn = draw(RULE, boxes, target(), OBJECT, torch.linspace(1, 0, 26))
    assert drawn.positive.tolist() == [True] * 2 + [False] * 6
    assert drawn.which[:2].tolist() == [5, 4]  # those with the smallest luck
    assert torch.equal(drawn.true_xyxy[:2], OBJECT.expand(2, 4))
    assert torch.equal(drawn.true_xyxy[2:], drawn.boxes_xyxy[2:])
    assert drawn.object_weights.tolist() == [0.5] * 2 + [1.0] * 6


def test_places_between_the_thresholds_take_no_part():
    drawn = draw(RULE, places(on=1, off=2, between=5), target(), OBJECT, torch.zeros(8))
    assert sorted(drawn.which.tolist()) == [0, 1, 2]


def test_an_image_without_objects_gives_places_without_objects():
    empty = Target(*(torch.zeros(0) for _ in range(4)))
    drawn = draw(RULE, places(on=3, off=2), empty, torch.zeros(0, 4), torch.zeros(5))
    assert len(drawn.which) == 5 and not drawn.positive.any()


def test_luck_follows_from_the_key_and_differs_by_purpose():
    like = torch.zeros(1)
    first, again = (luck_of(target(), 0, 50, like) for _ in range(2))
    assert torch.equal(first, again) and 0 <= float(first.min()) <= float(first.max()) < 1
    for other in (luck_of(target(), 1, 50, like), luck_of(target(key=99), 0, 50, like)):
        assert (first != other).sum() > 45
