from __future__ import annotations

from dataclasses import replace

import hotcoco.mask as coco_mask
import pytest
import torch

from segue.data import formats
from segue.data.pipeline.samples import Samples, StepSampler, read_image
from segue.data.pipeline.transforms import Augment, View
from segue.data.records import Annotation, Record
from segue.errors import DataError
from segue.structures.channels import RGB
from segue.structures.masks import Rle, coco_rle


@pytest.fixture(scope="module")
def records(rendered):
    coco = formats.get("coco")
    return coco.read(coco.splits(rendered)["train"], "train").records


def samples(records, augment=None, side=96, **changes) -> Samples:
    return Samples(
        records,
        ("cell", "rod", "tube"),
        RGB,
        View(side, side, augment),
        5,
        with_masks=True,
        **changes,
    )


def test_masks_without_augmentation_are_the_annotated_ones(records):
    for index, record in enumerate(records):
        _, target = samples(records)[(0, index)]
        for i, annotation in enumerate(record.annotations):
            truth = coco_mask.decode(coco_rle(annotation.mask, 96, 96)).astype(bool)
            # drawn in a window of its own, a pixel on the edge may round the other way
            assert (target.masks.dense(i).numpy() != truth).sum() <= 2


def test_polygons_and_run_lengths_of_one_object_give_the_same_target(records):
    record = max(records, key=lambda r: len(r.annotations))
    as_runs = []
    for annotation in record.annotations:
        rle = coco_rle(annotation.mask, 96, 96)
        as_runs.append(
            Annotation(
                annotation.box_xyxy,
                annotation.class_name,
                Rle(96, 96, rle["counts"]),
                id=annotation.id,
            )
        )
    other = Record(record.image, 96, 96, record.id, tuple(as_runs))
    for seed in range(4):
        augment = Augment(vertical_flip=0.5)
        _, a = samples([record], augment, side=192)[(seed, 0)]
        _, b = samples([other], augment, side=192)[(seed, 0)]
        assert torch.equal(a.labels, b.labels)
        for i in range(len(a)):
            one, two = a.masks.dense(i), b.masks.dense(i)
            assert (one & two).sum() / (one | two).sum().clamp(min=1) > 0.85


def test_a_sample_follows_from_epoch_and_index_alone(records):
    dataset = samples(records, Augment())
    (a, first), (b, again) = dataset[(3, 2)], dataset[(3, 2)]
    assert torch.equal(a["images"], b["images"]) and torch.equal(first.masks.bits, again.masks.bits)
    c, other = dataset[(4, 2)]
    assert not torch.equal(a["images"], c["images"]) and first.key != other.key


def test_repeated_views_come_back_after_k_epochs(records):
    dataset = samples(records, Augment(), views=2)
    (a, first), (b, later), (c, _) = dataset[(0, 1)], dataset[(2, 1)], dataset[(1, 1)]
    assert torch.equal(a["images"], b["images"]) and not torch.equal(a["images"], c["images"])
    assert first.key != later.key  # the points of the mask losses are new all the same


def test_every_image_is_seen_once_an_epoch_and_a_start_skips_whole_steps():
    steps = list(StepSampler(17, 5, seed=3, epoch=1))
    assert [len(step) for step in steps] == [5, 5, 5, 2]
    assert sorted(index for step in steps for _, index in step) == list(range(17))
    assert list(StepSampler(17, 5, seed=3, epoch=1, start=2)) == steps[2:]
    assert len(StepSampler(17, 5, seed=3, epoch=1, start=2)) == 2


def test_processes_share_a_step_without_overlap():
    whole = list(StepSampler(17, 5, seed=3, epoch=1))
    shares = [list(StepSampler(17, 5, seed=3, epoch=1, rank=r, world=3)) for r in range(3)]
    for step, *parts in zip(whole, *shares, strict=True):
        assert sorted(step) == sorted(position for part in parts for position in part)


def test_crowds_and_other_classes_are_left_out(records):
    record = next(r for r in records if len(r.annotations) > 2)
    crowd = Annotation(record.annotations[0].box_xyxy, "cell", crowd=True)
    other = Annotation(record.annotations[0].box_xyxy, "unicorn")
    changed = Record(record.image, 96, 96, 1, (*record.annotations, crowd, other))
    _, target = samples([changed])[(0, 0)]
    assert len(target) == len(record.annotations)


def test_an_image_of_another_size_than_annotated_is_named(records):
    wrong = Record(records[0].image, 94, 96, 1, ())
    with pytest.raises(DataError, match="96 x 96 pixels .* expected 94 x 96"):
        samples([wrong])[(0, 0)]


def test_a_row_more_or_less_than_annotated_is_repeated_or_cut(records):
    whole = read_image(records[0], RGB)
    cut = read_image(Record(records[0].image, 95, 97, 1, ()), RGB)
    assert cut.shape == (3, 95, 97)
    assert (cut[:, :, :96] == whole[:, :95]).all() and (cut[:, :, 96] == whole[:, :95, 95]).all()


def test_objects_without_masks_are_marked(records):
    record = next(r for r in records if len(r.annotations) > 1)
    first, *rest = record.annotations
    changed = Record(record.image, 96, 96, 1, (Annotation(first.box_xyxy, first.class_name), *rest))
    _, target = samples([changed])[(0, 0)]
    assert target.has_mask.tolist() == [False] + [True] * len(rest)


def test_an_object_counts_as_much_as_its_label_is_good_unless_told_not_to(records):
    worse = [
        replace(r, annotations=tuple(replace(a, quality=0.25) for a in r.annotations))
        for r in records
    ]
    position = (0, next(i for i, r in enumerate(records) if r.annotations))
    for changes, weight in (({}, 0.25), ({"weight_by_quality": False}, 1.0)):
        target = samples(worse, **changes)[position][1]
        assert len(target) and (target.object_weights == weight).all()
