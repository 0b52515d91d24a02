"""Hand-overs are exact or refuse; classes and channels travel by name, in every head."""

from __future__ import annotations

import pytest
import torch

from segue import models
from segue.errors import HandoverError
from segue.models import ModelSpec, rfdetr
from segue.models.weights import ModelWeights
from segue.models.weights.rfdetr import COCO_ROWS
from segue.structures.channels import RGB, Channel
from segue.training.handover import adopt


def model(classes, size="pico", masks=False, seed=0, channels=RGB, **options):
    torch.manual_seed(seed)
    chosen = {"groups": 3, "queries": 20, "resolution": 64, **options}
    settled, _ = rfdetr.resolve_options(rfdetr.Options(**chosen), rfdetr.SIZES[size], 5, "cpu")
    spec = ModelSpec(
        family="rfdetr", size=size, classes=classes, channels=channels, options=settled.model_dump()
    )
    chain = rfdetr.build(spec, masks)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return chain


def weights_of(chain, classes=None) -> ModelWeights:
    names = tuple(channel.name for channel in chain.spec.channels)
    return ModelWeights(
        {n: t.clone() for n, t in chain.state_dict().items()},
        chain.spec.classes if classes is None else classes,
        names,
        "parent",
    )


def head_logits(chain, features: torch.Tensor) -> list[torch.Tensor]:
    """Class logits of the same query features in every head: the decoder's and each encoder
    group's.

    Row by row, because a matrix product rounds differently when the matrix has another number of
    rows.
    """
    heads = (chain.decoder.class_head, *chain.decoder.proposal_classes)
    return [
        torch.stack(
            [(features * row).sum(-1) + b for row, b in zip(h.weight, h.bias, strict=True)], 1
        )
        for h in heads
    ]


def images() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(5)
    return {"images": torch.randint(0, 256, (2, 3, 64, 64), generator=g, dtype=torch.uint8)}


PARENT = ("cell", "rod", "tube")
WIDTH = rfdetr.SIZES["pico"].width


@pytest.mark.parametrize(
    "classes",
    {
        "permuted": ("tube", "cell", "rod"),
        "one missing": ("tube", "cell"),
        "one added": ("cell", "fibre", "rod", "tube"),
        "all at once": ("fibre", "tube", "cell"),
        "the same": PARENT,
    }.values(),
    ids=["permuted", "missing", "added", "mixed", "same"],
)
def test_kept_classes_score_identically_in_every_head(classes):
    parent, child = model(PARENT), model(classes, seed=1)
    adopt(child, weights_of(parent))
    features = torch.randn(7, WIDTH)
    heads = list(zip(head_logits(parent, features), head_logits(child, features), strict=True))
    assert len(heads) == 4  # the decoder's, which all its layers share, and three encoder groups
    for old, new in heads:
        for name in set(classes) & set(PARENT):
            assert torch.equal(new[:, classes.index(name)], old[:, PARENT.index(name)])


def test_permuted_classes_change_nothing_in_the_whole_answer():
    """Boxes to the bit, logits within rounding: a row's place may decide how its product adds
    up.
    """
    parent, child = model(PARENT).eval(), model(("tube", "cell", "rod"), seed=1).eval()
    adopt(child, weights_of(parent))
    old, new = parent(images()), child(images())
    assert torch.equal(new["boxes_cxcywh"], old["boxes_cxcywh"])
    torch.testing.assert_close(new["logits"], old["logits"][..., [2, 0, 1]], rtol=1e-5, atol=1e-5)


def test_ninety_one_rows_of_coco_become_three_classes_by_name():
    parent = model(tuple(str(i) for i in range(91)))
    wanted = ("toothbrush", "person", "zebra")
    child = model(wanted, seed=1)
    report = adopt(child, weights_of(parent, COCO_ROWS))
    features = torch.randn(7, WIDTH)
    for old, new in zip(head_logits(parent, features), head_logits(child, features), strict=True):
        assert torch.equal(new, old[:, [90, 1, 24]])
    assert "classes kept by name: toothbrush, person, zebra" in str(report)


def test_a_detector_gets_a_mask_head_and_keeps_every_bit():
    parent, child = model(PARENT), model(PARENT, masks=True, seed=1)
    before = {n: t.clone() for n, t in child.state_dict().items() if n.startswith("mask_head.")}
    report = adopt(child, weights_of(parent), fresh=("mask_head",))
    after = child.state_dict()
    assert report.tensors == len(parent.state_dict()) and report.fresh == len(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in parent.state_dict().items())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    old, new = parent.eval()(images()), child.eval()(images())
    assert torch.equal(old["logits"], new["logits"]) and torch.equal(
        old["boxes_cxcywh"], new["boxes_cxcywh"]
    )


def test_an_undeclared_difference_is_refused_and_nothing_is_loaded(promise):
    parent, child = model(PARENT), model(PARENT, masks=True, seed=1)
    before = {n: t.clone() for n, t in child.state_dict().items()}
    with pytest.raises(
        HandoverError, match="23 tensors differ from the model, in mask_head"
    ) as error:
        adopt(child, weights_of(parent))
    assert "- mask_head.bias (1,) only in the model" in str(error.value)
    assert all(torch.equal(t, before[n]) for n, t in child.state_dict().items())
    promise("P14", 1, "parents whose parts are others")


def test_a_mask_head_is_only_left_behind_when_dropped(promise):
    parent, child = model(PARENT, masks=True), model(PARENT, seed=1)
    with pytest.raises(HandoverError, match="only in the weights"):
        adopt(child, weights_of(parent))
    assert adopt(child, weights_of(parent), drop=("mask_head",)).dropped == 23
    promise("P14", 1, "parents whose parts are others")


def test_a_missing_tensor_and_a_wrong_shape_are_listed(promise):
    parent, child = model(PARENT), model(PARENT, seed=1)
    weights = weights_of(parent)
    del weights.tensors["projector.levels.0.norm.bias"]
    weights.tensors["decoder.box_head.layers.2.bias"] = torch.zeros(5)
    weights.tensors["backbone.extra"] = torch.zeros(2)
    with pytest.raises(HandoverError) as error:
        adopt(child, weights)
    text = str(error.value)
    assert "- projector.levels.0.norm.bias (64,) only in the model" in text
    assert "+ backbone.extra (2,) only in the weights" in text
    assert "~ decoder.box_head.layers.2.bias model (4,), weights (5,)" in text
    promise("P14", 3, "tensors missing, of other shapes or too many")


def test_weights_of_another_size_are_one_line(promise):
    parent = model(PARENT, size="nano", resolution=None, queries=None)
    with pytest.raises(
        HandoverError, match="of another size than pico .*model.size: nano"
    ) as error:
        adopt(model(PARENT, seed=1), weights_of(parent))
    assert "\n" not in str(error.value)
    promise("P14", 1, "parents of another size")


def test_groups_and_queries_are_cut_but_never_made_up(promise):
    parent = model(PARENT)
    child = model(PARENT, seed=1, groups=1, queries=12)
    report = adopt(child, weights_of(parent))
    assert "groups 3 -> 1" in str(report) and "queries 20 -> 12" in str(report)
    kept = parent.decoder.query_features.weight[:12]
    assert torch.equal(child.decoder.query_features.weight, kept)
    with pytest.raises(HandoverError, match="model.groups: 5, but the weights have 3"):
        adopt(model(PARENT, seed=1, groups=5), weights_of(parent))
    with pytest.raises(HandoverError, match="model.queries: 30, but the weights have 20"):
        adopt(model(PARENT, seed=1, queries=30), weights_of(parent))
    promise("P14", 2, "parents with too few queries or groups")


def test_another_resolution_resamples_the_positions_as_the_backbone_would_and_says_so():
    detector, larger = model(PARENT), model(PARENT, resolution=96, seed=1)
    report = adopt(larger, weights_of(detector))
    assert report.notes == ["position embeddings 8x8 -> 12x12, as the resolution changes"]
    pixels = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        first, second = (chain.eval()({"images": pixels}) for chain in (detector, larger))
    torch.testing.assert_close(first["boxes_cxcywh"], second["boxes_cxcywh"], atol=1e-5, rtol=1e-4)


def test_channels_travel_by_name_and_a_new_one_is_the_mean_of_the_old():
    parent = model(PARENT)
    thermal = Channel(name="thermal")
    child = model(PARENT, seed=1, channels=(thermal, RGB[2], RGB[0], RGB[1]))
    report = adopt(child, weights_of(parent))
    ((name, channels),) = models.get("rfdetr").input_convs(child.spec, child.state_dict()).items()
    assert channels == ("thermal", "b", "r", "g")
    old, new = parent.state_dict()[name], child.state_dict()[name]
    assert torch.equal(new[:, 1:], old[:, [2, 0, 1]])
    torch.testing.assert_close(new[:, 0], old.mean(1))
    assert "thermal from the mean" in str(report)


def test_stripped_heads_start_every_class_afresh():
    parent, child = model(PARENT), model(("x", "y"), seed=1)
    weights = weights_of(parent, ())
    for name in rfdetr.class_heads(parent):
        weights.tensors[name] = weights.tensors[name][:0]
    fresh = child.state_dict()["decoder.class_head.weight"].clone()
    report = adopt(child, weights)
    assert torch.equal(child.state_dict()["decoder.class_head.weight"], fresh)
    assert "new with fresh rows: x, y" in str(report)
