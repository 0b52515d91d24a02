"""RGB and X: parameters as published, streams by channel, and a stream added without a bit of
difference.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from segue.errors import HandoverError, PlanError
from segue.models import rgbx_rcnn
from segue.models.parts.chain import Chain
from segue.structures.channels import RGB, Channel
from segue.training.estimate import needs
from segue.training.handover import adopt
from tests.models.rgbx import BOTH, EVENT, THERMAL, build, pixels, two_targets, weights_of
from tests.optional import present


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("mit_b0", 27_796_683),
        ("mit_b1", 60_025_195),
        ("mit_b2", 82_114_923),
        ("mit_b4", 155_407_723),
        ("mit_b5", 196_608_363),
    ],
)
def test_a_size_has_as_many_parameters_as_the_original(size: str, parameters: int) -> None:
    """crossattentiondet's table, with r, g, b, two more channels, and three classes besides the
    background.
    """
    with torch.device("meta"):
        chain = build(size=size, channels=(*BOTH, EVENT), classes=("a", "b", "c"))
    assert sum(p.numel() for p in chain.parameters()) == parameters


@pytest.mark.parametrize(
    ("channels", "options", "parts", "first"),
    [
        (RGB, {}, ("rgb",), {"rgb.streams.0": ("r", "g", "b")}),
        ((THERMAL,), {}, ("x",), {"x.streams.0": ("thermal",)}),
        (BOTH, {"fusion": "none"}, ("rgb",), {"rgb.streams.0": ("r", "g", "b")}),
        (BOTH, {"fusion": "none", "stream": "x"}, ("x",), {"x.streams.0": ("thermal",)}),
        ((THERMAL, *RGB, EVENT), {}, ("rgb", "x", "fusion"),
         {"rgb.streams.0": ("r", "g", "b"), "x.streams.0": ("thermal", "event")}),
        ((*BOTH, EVENT), {"groups": [["event"], ["thermal"]]}, ("rgb", "x", "fusion"),
         {"rgb.streams.0": ("r", "g", "b"), "x.streams.0": ("event",),
          "x.streams.1": ("thermal",)}),
        ((THERMAL, EVENT), {"groups": [["thermal"], ["event"]]}, ("x", "fusion"),
         {"x.streams.0": ("thermal",), "x.streams.1": ("event",)}),
    ],
)  # fmt: skip
def test_channels_decide_the_streams(
    channels: Any, options: dict[str, Any], parts: tuple[str, ...], first: dict[str, Any]
) -> None:
    chain: Any = build(channels=channels, **options)
    assert chain.order == (*parts, "neck", "head")
    found = rgbx_rcnn.input_convs(chain.spec, chain.state_dict())
    assert {name.split(".stages.")[0]: named for name, named in found.items()} == first
    state = chain.eval()({"images": pixels(len(channels))})
    assert len(rgbx_rcnn.postprocess(chain, state, [(64, 64), (30, 90)], 10)) == 2


@pytest.mark.parametrize(
    ("channels", "options", "words"),
    [
        (BOTH, {"groups": [["themal"]]}, "model.groups: thermal in 0 of them"),
        (RGB, {"fusion": "none", "stream": "x"}, "model.stream: x, but the channels are r, g, b"),
        (BOTH, {"stream": "x"}, "model.stream: x, with fusion: cross"),
        (
            BOTH,
            {"resolution": 100},
            "model.resolution: 100; expected a multiple of 32 from 64 on, as 96",
        ),
        (BOTH, {"backbone": "mit_b6"}, "mit_b5?"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    channels: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PlanError) as error:
        build(channels=channels, **options)
    assert words in str(error.value)


@pytest.fixture(scope="module")
def trained() -> Chain:
    """An RGB model that is no longer as it was drawn."""
    chain = build(channels=RGB, masks=True)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return chain.eval()


@pytest.mark.parametrize("fusion", ["cross", "add", "concat", "gated"])
def test_a_stream_that_is_added_changes_no_bit_until_it_learns(trained: Chain, fusion: str) -> None:
    child = build(masks=True, seed=1, fusion=fusion, zero_init=True)
    report = adopt(child, weights_of(trained), fresh=("fusion",))
    assert "stream of thermal: begins as a copy of rgb's, its first layer as their mean" in str(
        report
    )
    images = pixels()
    before, after = trained({"images": images[:, :3]}), child.eval()({"images": images})
    assert len(before) == 12 and all(
        torch.equal(before[name], after[name]) for name in before if name != "images"
    )
    sizes = [(64, 64), (90, 120)]
    old, new = (
        rgbx_rcnn.postprocess(c, s, sizes, 20) for c, s in ((trained, before), (child, after))
    )
    assert sum(len(found) for found in old) > 10
    for one, other in zip(old, new, strict=True):
        assert torch.equal(one.boxes_xyxy, other.boxes_xyxy) and torch.equal(
            one.scores, other.scores
        )
        assert one.regions == other.regions
    other_x = images.clone()
    other_x[:, 3] = 255 - other_x[:, 3]
    assert torch.equal(child({"images": other_x})["objectness"], before["objectness"])


def test_a_copied_stream_answers_to_grey_as_rgb_does(trained: Chain) -> None:
    """In the first convolution, which LayerNorm follows, one channel has the sum of the three it is
    made of.
    """
    child: Any = build(masks=True, seed=1)
    adopt(child, weights_of(trained), fresh=("fusion",))
    rgb, x = child.rgb.streams[0], child.x.streams[0]
    grey = torch.rand(1, 1, 32, 32)
    convolved = [
        s.stages[0].patch_embeddings.proj(grey.expand(-1, n, -1, -1)) for s, n in ((rgb, 3), (x, 1))
    ]
    torch.testing.assert_close(*convolved, rtol=1e-4, atol=1e-4)
    assert torch.equal(rgb.stages[2].layer_norm.weight, x.stages[2].layer_norm.weight)


def test_an_undeclared_fusion_and_a_fresh_stream_are_as_in_any_hand_over(trained: Chain) -> None:
    with pytest.raises(HandoverError, match=r"differ from the model, in fusion"):
        adopt(build(masks=True, seed=1), weights_of(trained))
    child: Any = build(masks=True, seed=1)
    drawn = (
        child.x.streams[0].stages[1].layer_norm.weight.clone(),
        child.x.streams[0].stages[0].patch_embeddings,
    )
    kernel = drawn[1].proj.weight.clone()
    assert "copy" not in str(adopt(child, weights_of(trained), fresh=("x", "fusion")))
    assert torch.equal(child.x.streams[0].stages[0].patch_embeddings.proj.weight, kernel)


def test_channels_of_each_stream_travel_by_name() -> None:
    parent = build(channels=(*BOTH, EVENT))
    child = build(channels=(EVENT, RGB[2], RGB[0], RGB[1], Channel(name="depth")), seed=1)
    report = adopt(child, weights_of(parent))
    names = [f"{part}.streams.0.stages.0.patch_embeddings.proj.weight" for part in ("rgb", "x")]
    (old_rgb, new_rgb), (old_x, new_x) = (
        [c.state_dict()[name] for c in (parent, child)] for name in names
    )
    assert torch.equal(new_rgb, old_rgb[:, [2, 0, 1]]) and torch.equal(new_x[:, 0], old_x[:, 1])
    torch.testing.assert_close(new_x[:, 1], old_x.mean(1))
    assert "channels event, depth by name; depth from the mean" in str(report)


def test_a_cache_is_refused_where_images_are_still_read() -> None:
    chain = build()
    chain.freeze_through("rgb")
    with pytest.raises(PlanError, match=r"x learns and reads images; expected freeze: x"):
        chain.prefix({"images": pixels()})
    chain.freeze_through("x")
    assert chain.prefix({"images": pixels()}).keys() == {"rgb_0", "x_0"}
    kept = chain.eval().prefix({"images": pixels()})
    assert torch.equal(
        chain(kept, start=2)["objectness"], chain({"images": pixels()})["objectness"]
    )


def test_regions_are_part_of_the_memory_that_is_foretold() -> None:
    boxes, masks = (
        build(size="mit_b0", resolution=128),
        build(size="mit_b0", resolution=128, masks=True),
    )
    assert (
        4 * 512 * 256 * 49
        < needs(boxes, 5).activations
        < needs(masks, 5).activations - 4 * 128 * 256 * 196 * 8
    )


@torch.no_grad()
def test_classes_travel_by_name_in_every_head() -> None:
    parent = build(masks=True, channels=RGB, classes=("a", "b", "c")).eval()
    child = build(masks=True, channels=RGB, classes=("c", "new", "a"), seed=1).eval()
    said = str(adopt(child, weights_of(parent)))
    assert "classes kept by name: c, a" in said and "new with fresh rows: new" in said
    images = {"images": pixels(3)}
    old, new = (rgbx_rcnn.predictions(chain, chain(images)) for chain in (parent, child))
    boxes = [torch.tensor([[5.0, 5, 30, 40], [20, 8, 60, 30]])] * 2
    (logits, deltas), (child_logits, child_deltas) = old.classify(boxes), new.classify(boxes)
    # where a row stands decides how it is added up
    same = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    same(child_logits[:, [0, 1, 3]], logits[:, [0, 3, 1]])
    same(child_deltas[:, [1, 3]], deltas[:, [3, 1]])
    same(new.mask_logits(boxes)[:, [0, 2]], old.mask_logits(boxes)[:, [2, 0]])


def test_numbers_that_are_none_reach_the_loss_and_nothing_before_it() -> None:
    """RoIAlign reads outside of its maps where a box is NaN; such proposals are dropped."""
    chain, targets = build(masks=True), two_targets()
    with torch.no_grad():
        chain.head.rpn.head.bbox_pred.weight.fill_(float("nan"))
    loss = rgbx_rcnn.criterion(chain, "joint", {})
    sums = loss(rgbx_rcnn.predictions(chain, chain.train()({"images": pixels()})), targets)
    assert sums["rpn_box_reg"].isnan() and sums["classifier"].isfinite() and sums["mask"].isfinite()
    found = rgbx_rcnn.postprocess(chain.eval(), chain({"images": pixels()}), [(64, 64)] * 2, 10)
    assert (
        [len(each) for each in found] == [0, 0]
        and found[0].has_masks
        and present(found[0].masks).shape == (0, 64, 64)
    )


def test_the_rgb_stream_freezes_by_its_stages_too() -> None:
    chain = build()
    chain.freeze_through("rgb.first_half")
    assert chain.frozen_label() == "rgb (blocks 1 to 2 of 4)"
    stages = {name.split(".")[4] for name in chain.frozen_tensors()}
    assert stages == {"0", "1"} and all(name.startswith("rgb.") for name in chain.frozen_tensors())
