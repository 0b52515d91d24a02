from __future__ import annotations

import pytest
import torch

from segue import models
from segue.errors import PlanError
from segue.models import ModelSpec, rfdetr

CLASSES = ("cell", "rod", "tube")


def spec(size: str = "pico", **options) -> ModelSpec:
    settled, _ = rfdetr.resolve_options(
        rfdetr.Options(**{"groups": 2, **options}), rfdetr.SIZES[size], 5, "cpu"
    )
    return ModelSpec(family="rfdetr", size=size, classes=CLASSES, options=settled.model_dump())


def build(masks: bool = True, **options):
    torch.manual_seed(0)
    return rfdetr.build(spec(resolution=64, queries=20, **options), masks)


def images(count: int = 2, side: int = 64) -> dict[str, torch.Tensor]:
    return {"images": torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)}


def test_in_training_all_groups_and_proposals_are_predicted_and_in_eval_one_group():
    chain = build()
    training = rfdetr.predictions(chain, chain.train()(images()))
    assert (
        training.layers == ("enc", "0", "1")
        and training.groups == 2
        and training.logits.shape == (2, 3, 40, 3)
    )
    answer = rfdetr.predictions(chain, chain.eval()(images()))
    assert (
        answer.layers == ("0", "1") and answer.groups == 1 and answer.logits.shape == (2, 2, 20, 3)
    )


def test_every_parameter_belongs_to_one_part_and_gets_a_gradient():
    chain = build().train()
    assert chain.order == rfdetr.PARTS
    assert {name.split(".")[0] for name, _ in chain.named_parameters()} == set(rfdetr.PARTS)
    state = chain(images())
    found = rfdetr.predictions(chain, state)
    everything = found.logits.sum() + found.boxes_cxcywh.sum()
    index = torch.arange(2)
    everything += sum(
        state["masks"].at(index, torch.full((2,), layer), index).sum() for layer in range(3)
    )
    everything.backward()
    without = [name for name, p in chain.named_parameters() if p.grad is None]
    assert without == ["backbone.vit.embeddings.mask_token"]  # DINOv2's, never used in detection


@pytest.mark.parametrize("size", sorted(rfdetr.SIZES))
def test_every_size_can_be_described_and_its_resolution_fits_its_blocks(size):
    height, width = models.get("rfdetr").input_size(spec(size))
    entry = rfdetr.SIZES[size]
    assert height == width and height % (entry.patch * entry.windows) == 0
    assert rfdetr.config(spec(size)).decoder_layers == entry.layers


@pytest.mark.parametrize(("size", "millions"), [("nano", 30.467298), ("seg-nano", 33.58)])
def test_parameter_counts_are_those_of_the_published_models(size, millions):
    options, _ = rfdetr.resolve_options(rfdetr.Options(groups=13), rfdetr.SIZES[size], 5, "cpu")
    classes = tuple(map(str, range(91)))
    whole = ModelSpec(family="rfdetr", size=size, classes=classes, options=options.model_dump())
    count = sum(p.numel() for p in rfdetr.build(whole, masks=size.startswith("seg")).parameters())
    assert abs(count / 1e6 - millions) < 0.005


def test_multi_scale_sizes_are_those_of_the_published_training():
    assert rfdetr.multiscale_sides(spec("nano"), False) == tuple(range(288, 513, 32))
    assert rfdetr.multiscale_sides(spec("nano"), True) == tuple(range(224, 545, 32))
    assert rfdetr.multiscale_sides(spec("base"), False) == tuple(range(392, 785, 56))
    assert rfdetr.multiscale_sides(spec("large"), True) == tuple(range(280, 841, 56))


def test_a_smaller_image_has_fewer_cells_than_queries_and_still_works():
    chain = rfdetr.build(spec(resolution=64, queries=60), True).train()
    found = rfdetr.predictions(chain, chain(images(side=48)))
    assert found.groups == 2 and found.logits.shape[2] == 2 * 36  # 6 x 6 cells a group


def test_queries_follow_from_the_data_and_say_so():
    few, said = rfdetr.resolve_options(rfdetr.Options(), rfdetr.SIZES["nano"], 20, "cpu")
    assert few.queries == 300 and few.groups == 3 and len(said) == 1
    many, said = rfdetr.resolve_options(rfdetr.Options(), rfdetr.SIZES["nano"], 400, "cuda")
    assert many.queries == 500 and many.groups == 13 and "an image has 400 objects" in said[0]


@pytest.mark.parametrize(
    ("options", "most", "words"),
    [
        ({"resolution": 100}, 5, "a multiple of 32, such as 96"),
        ({"queries": 600}, 5, "at most 576"),
        ({"queries": 50}, 60, "50 for an image with 60 objects"),
        ({}, 700, "for an image with 700 objects"),
    ],
)
def test_options_that_cannot_work_are_refused(options, most, words):
    with pytest.raises(PlanError, match=words):
        rfdetr.resolve_options(rfdetr.Options(**options), rfdetr.SIZES["nano"], most, "cpu")


def test_detections_are_the_best_pairs_in_pixels_of_the_original_image():
    chain = build().eval()
    state = chain(images())
    sizes = [(100, 200), (50, 60)]
    found = rfdetr.postprocess(chain, state, sizes, 7)
    for i, (detections, (height, width)) in enumerate(zip(found, sizes, strict=True)):
        scores = state["logits"][i, -1].sigmoid().flatten().sort(descending=True).values[:7]
        torch.testing.assert_close(detections.scores, scores)
        assert (detections.boxes_xyxy >= 0).all()
        assert (detections.boxes_xyxy <= torch.tensor([width, height, width, height])).all()
        assert detections.masks.shape == (7, height, width)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())
