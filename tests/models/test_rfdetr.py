from __future__ import annotations

import pytest
import torch

from segue import models
from segue.errors import PlanError
from segue.models import ModelSpec, rfdetr
from segue.models.parts import mask_heads

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


@pytest.mark.parametrize(("width", "stride"), [(256, 16), (256, 12), (256, 14), (96, 8), (384, 7)])
def test_the_nano_attention_head_has_at_least_seventy_percent_fewer_parameters(width, stride):
    full, small = (
        mask_heads.build(kind, width, 2, stride) for kind in ("attention", "attention-nano")
    )
    assert count(small) <= 0.3 * count(full)


@pytest.mark.parametrize("kind", ["dot", "attention", "attention-nano"])
@pytest.mark.parametrize(("cells", "stride"), [(8, 8), (6, 16), (10, 14), (8, 12)])
def test_masks_have_a_quarter_of_the_input_and_the_same_whatever_else_is_asked_for(
    kind, cells, stride
):
    torch.manual_seed(0)
    head = mask_heads.build(kind, 32, 2, stride).eval()
    masks = head(random_state(cells))["masks"]
    image, layer, query = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1]), torch.tensor([4, 0, 3])
    several = masks.at(image, layer, query)
    assert (
        several.shape == (3, cells * stride // 4, cells * stride // 4)
        and masks.size == several.shape[1:]
    )
    for i in range(3):
        torch.testing.assert_close(
            masks.at(*(t[i : i + 1] for t in (image, layer, query)))[0], several[i]
        )
    none = masks.at(*(t[:0] for t in (image, layer, query)))
    assert none.shape == (0, *masks.size)
    none.sum().backward()  # nothing asked for is still part of the graph


def random_state(cells: int) -> dict:
    queries, boxes = torch.randn(2, 2, 5, 32), 0.2 + 0.3 * torch.rand(2, 2, 5, 4)
    return {"memory_0": torch.randn(2, 32, cells, cells), "queries": queries, "boxes_cxcywh": boxes}


@pytest.mark.parametrize("kind", ["attention", "attention-nano"])
def test_a_new_attention_head_starts_with_the_filled_box(kind):
    torch.manual_seed(0)
    head, state = mask_heads.build(kind, 32, 2, 8), random_state(16)
    state["boxes_cxcywh"][0, 1, 2] = torch.tensor([0.5, 0.25, 0.5, 0.25])
    mask = head(state)["masks"].at(*(torch.tensor([i]) for i in (0, 1, 2)))[0] > 0
    box = torch.zeros(32, 32, dtype=torch.bool)
    box[4:12, 8:24] = True
    assert (mask & box).sum() / (mask | box).sum() > 0.95


def test_a_box_covers_its_share_of_each_cell():
    cover = mask_heads.box_cover(torch.tensor([[0.5, 0.5, 0.5, 0.25], [0.1, 0.1, 0.1, 0.1]]), 4, 8)
    assert cover[0, 1].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0])
    assert cover[1, 0, :2].tolist() == pytest.approx([0.24, 0.08])
    assert (cover.sum((1, 2)) / 32).tolist() == pytest.approx([0.125, 0.01])  # the box's area


def test_sampled_dot_masks_are_the_masks_sampled():
    torch.manual_seed(0)
    head = mask_heads.build("dot", 32, 2, 8)
    masks = head({"memory_0": torch.randn(2, 32, 8, 8), "queries": torch.randn(2, 2, 5, 32)})[
        "masks"
    ]
    where = torch.rand(2, 11, 2)
    sampled = masks.sample(where)  # (B, L, Q, P)
    image, layer, query = (
        t.flatten() for t in torch.meshgrid(*map(torch.arange, (2, 2, 5)), indexing="ij")
    )
    whole = masks.at(image, layer, query)
    expected = torch.nn.functional.grid_sample(
        whole[:, None], 2 * where[image][:, :, None] - 1, align_corners=False
    )
    torch.testing.assert_close(sampled.flatten(0, 2), expected[:, 0, :, 0], atol=1e-5, rtol=1e-4)
