"""The criterion by itself: sums that add up over any split, matches that are optimal, masks only
where matched.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from segue.errors import NonFiniteError
from segue.losses.criterion import Criterion, LossWeights
from segue.losses.matcher import Costs, match
from segue.structures.masks import PackedMasks
from segue.structures.predictions import Predictions
from segue.structures.target import Batch, Target

B, L, Q, K = 3, 2, 8, 4


def target(objects: int, key: int, masks: bool = False) -> Target:
    generator = torch.Generator().manual_seed(key)
    sizes = 0.1 + 0.3 * torch.rand(objects, 2, generator=generator)
    centres = 0.3 + 0.4 * torch.rand(objects, 2, generator=generator)
    packed = None
    if masks:
        windows = [(4, 4, 12, 10)] * objects
        packed = PackedMasks.pack([torch.ones(6, 8).numpy()] * objects, windows, 32, 32)
    return Target(
        labels=torch.randint(0, K, (objects,), generator=generator),
        boxes_cxcywh=torch.cat([centres, sizes], 1),
        has_mask=torch.full((objects,), masks),
        object_weights=torch.ones(objects),
        masks=packed,
        key=key,
    )


class Recorded:
    """Masks that note which were asked for."""

    size = (16, 16)
    trained_from = 0

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.asked = values, 0

    def at(self, image, layer, query):
        self.asked += len(image)
        return self.values[image, layer, query]


def predictions(
    images: int = B, groups: int = 1, seed: int = 0, extra: int = 0, masks: bool = False
) -> Predictions:
    torch.manual_seed(seed)
    logits = torch.randn(images, L, Q * groups, K + extra, requires_grad=True)
    boxes = (0.2 + 0.4 * torch.rand(images, L, Q * groups, 4)).requires_grad_()
    source = (
        Recorded(torch.randn(images, L, Q * groups, 16, 16, requires_grad=True)) if masks else None
    )
    return Predictions(logits, boxes, tuple(map(str, range(L))), groups, source)


def part(p: Predictions, images: slice) -> Predictions:
    return Predictions(p.logits[images], p.boxes_cxcywh[images], p.layers, p.groups, None)


@pytest.mark.parametrize("class_term", ["iou_aware_bce", "focal", "softmax_ce"])
@pytest.mark.parametrize("groups", [1, 3])
def test_sums_of_parts_are_the_sum_of_the_whole(class_term, groups):
    targets = [target(n, key) for key, n in enumerate((3, 0, 5))]
    criterion = Criterion(LossWeights(), Costs(), Q, class_term)
    p = predictions(groups=groups, extra=class_term == "softmax_ce")
    whole = criterion(p, targets)
    parts = [criterion(part(p, slice(i, i + 1)), targets[i : i + 1]) for i in range(B)]
    for name, value in whole.items():
        torch.testing.assert_close(sum(one[name] for one in parts), value)


def test_the_total_divides_by_what_each_term_counts():
    targets = [target(3, 1), target(1, 2)]
    counts = Batch({"images": torch.zeros(2, 1)}, targets).counts()
    assert (counts["objects"], counts["images"]) == (4, 2)
    sums = {"classes": torch.tensor([8.0]), "l1": torch.tensor([4.0, 4.0])}
    assert float(Criterion(LossWeights(), Costs(), Q).total(sums, counts)) == 8 / 4 + 5 * 8 / 4
    softmax = Criterion(LossWeights(), Costs(), Q, "softmax_ce", no_object=0.1)
    assert float(softmax.total({"classes": torch.tensor([8.0])}, counts)) == pytest.approx(
        8 / (4 + 0.1 * 12)
    )


def test_labels_of_which_none_is_trusted_more_than_another_teach_as_much_as_trusted_ones():
    p, targets = predictions(), [target(2, i) for i in range(B)]
    criterion = Criterion(LossWeights(classes=0), Costs(), Q)
    half = [replace(one, object_weights=one.object_weights / 2) for one in targets]
    full, halved = (
        criterion.total(criterion(p, wanted), Batch({"images": torch.zeros(B, 1)}, wanted).counts())
        for wanted in (targets, half)
    )
    torch.testing.assert_close(halved, full)


def test_masks_are_asked_for_matched_queries_only():
    p, targets = (
        predictions(masks=True),
        [target(n, key, masks=True) for key, n in enumerate((3, 0, 2))],
    )
    sums = Criterion(LossWeights(mask_bce=5, dice=5), Costs(), Q)(p, targets)
    assert p.masks.asked == L * 5 < B * L * Q
    assert set(sums) == {"classes", "l1", "giou", "mask_bce", "dice"}


def test_objects_without_a_mask_take_part_in_box_terms_only():
    p, targets = predictions(1, masks=True), [target(4, 1, masks=True)]
    targets[0].has_mask[:3] = False
    Criterion(LossWeights(mask_bce=5, dice=5), Costs(), Q)(p, targets)
    assert p.masks.asked == L
    assert Batch({"images": torch.zeros(1, 1)}, targets).counts()["masked_object_weights"] == 1


def test_no_objects_at_all_gives_a_gradient_and_no_nan():
    p, targets = predictions(masks=True), [target(0, key, masks=True) for key in range(B)]
    criterion = Criterion(LossWeights(mask_bce=5, dice=5), Costs(), Q)
    sums = criterion(p, targets)
    loss = criterion.total(sums, Batch({"images": torch.zeros(B, 1)}, targets).counts())
    loss.backward()
    assert (
        torch.isfinite(loss)
        and torch.isfinite(p.logits.grad).all()
        and p.logits.grad.abs().sum() > 0
    )


def test_a_weight_of_zero_is_not_computed():
    assert Criterion(LossWeights(classes=0, l1=0, giou=0, dice=1), Costs(), Q).names == ("dice",)


def test_an_objects_weight_scales_its_terms():
    p, wanted = predictions(1), target(1, 3)
    whole = Criterion(LossWeights(), Costs(), Q)(p, [wanted])
    wanted.object_weights[:] = 0.25
    less = Criterion(LossWeights(), Costs(), Q)(p, [wanted])
    torch.testing.assert_close(less["l1"], whole["l1"] / 4)
    torch.testing.assert_close(less["giou"], whole["giou"] / 4)


def test_logits_that_are_not_finite_are_named_with_their_layer():
    p = predictions(1)
    with torch.no_grad():
        p.logits[0, 1, 2] = float("nan")
    with pytest.raises(NonFiniteError, match="boxes or masks of layer 1 became NaN"):
        match(p, [target(2, 1)], Costs())
