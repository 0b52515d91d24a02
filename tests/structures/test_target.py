"""Targets and batches: objects kept together, and counts that do not depend on how a step is
split.
"""

from __future__ import annotations

import torch

from segue.structures.target import Batch, Target, collate


def target(objects: int, key: int = 0) -> Target:
    return Target(
        labels=torch.arange(objects),
        boxes_cxcywh=torch.arange(objects * 4.0).reshape(objects, 4),
        has_mask=torch.arange(objects) % 2 == 0,
        object_weights=torch.full((objects,), 0.5),
        key=key,
    )


def batch() -> Batch:
    return collate([({"images": torch.full((3, 2, 2), float(n))}, target(n, n)) for n in range(5)])


def test_what_is_kept_of_an_object_is_kept_in_every_field():
    kept = target(3).keep(torch.tensor([True, False, True]))
    assert (
        len(kept) == 2 and kept.labels.tolist() == [0, 2] and kept.has_mask.tolist() == [True, True]
    )
    assert torch.equal(kept.boxes_cxcywh, target(3).boxes_cxcywh[[0, 2]])


def test_micro_batches_are_the_batch_in_order():
    parts = batch().split(2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(
        torch.cat([part.inputs["images"] for part in parts]), batch().inputs["images"]
    )
    assert [t.key for part in parts for t in part.targets] == [0, 1, 2, 3, 4]


def test_counts_of_micro_batches_add_up_to_those_of_the_step():
    whole = batch().counts()
    assert whole == {"images": 5, "objects": 10, "object_weights": 5, "masked_object_weights": 3}
    parts = [part.counts() for part in batch().split(2)]
    assert {name: sum(part[name] for part in parts) for name in whole} == whole


def test_no_samples_are_an_empty_batch():
    assert len(collate([])) == 0 and collate([]).inputs == {}
