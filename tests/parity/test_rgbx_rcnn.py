"""transformers' SegFormer, torchvision's Faster and Mask R-CNN and ours, with the same weights."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign
from transformers import SegformerConfig, SegformerModel
from typing_extensions import override

from segue.errors import CheckpointError
from segue.losses import rcnn
from segue.models import rgbx_rcnn
from segue.models._rgbx_parts import LEVELS
from segue.models.parts.regions import pasted
from segue.structures.boxes import xyxy_to_cxcywh
from segue.structures.channels import RGB
from segue.structures.masks import PackedMasks
from segue.structures.target import Target
from segue.training.handover import adopt
from tests.models.rgbx import BOTH, build

SIDE = 256


@pytest.fixture(scope="module")
def theirs() -> SegformerModel:
    torch.manual_seed(3)
    return SegformerModel(SegformerConfig()).eval()  # its defaults are b0's


@pytest.fixture(params=["hub", "today"])
def source(request: pytest.FixtureRequest, theirs: SegformerModel, tmp_path: Path) -> str:
    """A folder, which transformers writes with the names that lie on the hub, and a file with the
    names of its code.
    """
    classifier = {"classifier.weight": torch.zeros(10, 256), "classifier.bias": torch.zeros(10)}
    if request.param == "today":
        torch.save(
            {**{f"segformer.{n}": t for n, t in theirs.state_dict().items()}, **classifier},
            tmp_path / "mit.pth",
        )
        return str(tmp_path / "mit.pth")
    theirs.save_pretrained(tmp_path)
    written = load_file(tmp_path / "model.safetensors")
    assert (
        "encoder.block.0.0.attention.self.sr.weight" in written
        and "encoder.block.1.1.mlp.dense1.bias" in written
    )
    save_file(
        {**{f"segformer.{n}": t for n, t in written.items()}, **classifier},
        tmp_path / "model.safetensors",
    )
    return str(tmp_path)


@torch.no_grad()
def test_imported_streams_give_the_features_of_transformers(source: str, theirs: Any) -> None:
    weights = rgbx_rcnn.import_weights(source)
    assert rgbx_rcnn.options_from_weights(weights.tensors, "mit_b1", "cpu") == {
        "backbone": "mit_b0"
    }
    pictures = torch.rand(2, 4, 64, 96, generator=torch.Generator().manual_seed(0))
    alone, both = (
        build(channels=RGB, size="mit_b0"),
        build(channels=BOTH, size="mit_b0", fusion="add"),
    )
    adopt(alone, weights, fresh=("neck", "head"))
    assert "stream of thermal: begins as a copy" in str(
        adopt(both, weights, fresh=("fusion", "neck", "head"))
    )
    found = alone.eval().rgb({"images": pictures[:, :3]})
    wanted = theirs(
        alone.rgb.streams[0].normalise(pictures[:, :3]), output_hidden_states=True
    ).hidden_states
    for name, features in zip(LEVELS, wanted, strict=True):
        torch.testing.assert_close(found[name], features, rtol=1e-5, atol=1e-5)
    x = both.eval().x.streams[0]
    assert torch.equal(
        x.stages[3].blocks[1].mlp.fc1.weight, theirs.stages[3].blocks[1].mlp.fc1.weight
    )


def test_a_stream_of_x_alone_begins_from_rgbs(source: str) -> None:
    chain = build(channels=BOTH[3:], size="mit_b0")
    said = str(adopt(chain, rgbx_rcnn.import_weights(source), fresh=("neck", "head")))
    assert "stream of thermal" in said


def test_weights_of_another_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    save_file({"embeddings.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no SegFormer encoder \(embeddings.weight, ...\)"):
        rgbx_rcnn.import_weights(str(tmp_path))


class Levels(nn.Module):
    """Features that were computed before, as a backbone of torchvision's."""

    out_channels = 64

    def __init__(self, neck: Any):
        super().__init__()
        self.neck = neck
        self.given = {}

    @override
    def forward(self, images: Any):
        return OrderedDict(self.neck.fpn(OrderedDict((name, self.given[name]) for name in LEVELS)))


@pytest.fixture(scope="module")
def pair() -> tuple[Any, dict[str, Tensor], Any]:
    """One of ours with three classes, its features, and torchvision's Mask R-CNN with the same
    weights.
    """
    chain: Any = build(masks=True, channels=RGB, classes=("a", "b", "c"), resolution=SIDE).eval()
    with torch.no_grad():
        for parameter in chain.head.parameters():
            parameter.mul_(6)  # so that scores and boxes differ
    generator = torch.Generator().manual_seed(5)
    widths = (16, 32, 48, 64)
    levels = {
        name: torch.randn(2, width, SIDE // stride, SIDE // stride, generator=generator)
        for name, width, stride in zip(LEVELS, widths, (4, 8, 16, 32), strict=True)
    }
    backbone = Levels(chain.neck)
    backbone.given = levels
    names = [*LEVELS, "pool"]
    head, mask_head = chain.head, chain.mask_head
    model: Any = MaskRCNN(
        backbone, None, SIDE, SIDE, image_mean=[0, 0, 0], image_std=[1, 1, 1],
        rpn_anchor_generator=AnchorGenerator(
            tuple((8 * 2**i,) for i in range(5)), ((0.5, 1.0, 2.0),) * 5),
        rpn_head=head.rpn.head, box_roi_pool=MultiScaleRoIAlign(names, 7, 2, canonical_scale=56),
        box_head=head.roi.box_head, box_predictor=head.roi.box_predictor,
        mask_roi_pool=MultiScaleRoIAlign(names[:4], 14, 2, canonical_scale=56),
        mask_head=mask_head.layers, mask_predictor=WithBackground(mask_head.predictor),
        rpn_batch_size_per_image=100_000, rpn_positive_fraction=1.0,
        box_batch_size_per_image=100_000, box_positive_fraction=1.0,
    )  # fmt: skip
    return chain, levels, model


class WithBackground(nn.Module):
    """Mask logits with torchvision's row for the background, which says nothing."""

    def __init__(self, predictor: Any):
        super().__init__()
        self.predictor = predictor

    @override
    def forward(self, features: Any):
        logits = self.predictor(features)
        return torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)


def images():
    return [torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]


@torch.no_grad()
def test_detections_and_their_masks_are_torchvisions(
    pair: tuple[Any, dict[str, Tensor], Any],
) -> None:
    chain, levels, model = pair
    logits = []
    hook = model.roi_heads.mask_predictor.register_forward_hook(
        lambda module, inputs, output: logits.append(output)
    )
    wanted = model.eval()(images())
    hook.remove()
    state = chain.run(levels, chain.order.index("neck"), len(chain.order), learn=False)
    found = rgbx_rcnn.postprocess(chain, state, [(SIDE, SIDE)] * 2, 100)
    for ours, other in zip(found, wanted, strict=True):
        assert len(ours) == len(other["boxes"]) > 20
        torch.testing.assert_close(ours.boxes_xyxy, other["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(ours.scores, other["scores"], rtol=1e-4, atol=1e-5)
        assert torch.equal(ours.labels, other["labels"] - 1) and ours.has_masks
    boxes = [found["boxes"] for found in wanted]
    mine = rgbx_rcnn.predictions(chain, state).mask_logits(boxes)
    torch.testing.assert_close(mine, logits[0][:, 1:], rtol=1e-4, atol=1e-4)


def test_a_mask_is_pasted_where_torchvision_pastes_it() -> None:
    """It rounds boxes to whole pixels, ours are as they are: the same within half a pixel of an
    outline.
    """
    down, across = (np.mgrid[:28, :28] + 0.5) / 28 * 2 - 1
    logits = torch.from_numpy(0.8 - np.hypot(down, across)).float()
    for box in ([20.0, 30, 90, 110], [-10.0, 5, 60, 70], [40.5, 60.25, 200.0, 190.75]):
        region = pasted(logits, torch.tensor(box), 160, 180)
        ours = torch.from_numpy(region.within((0, 0, 180, 160)))
        other = (
            paste_masks_in_image(
                logits.mul(8).sigmoid()[None, None], torch.tensor([box]), (160, 180)
            )[0, 0]
            > 0.5
        )
        assert (ours & other).sum() / (ours | other).sum() > 0.97
    # no pixel's centre is in it
    assert pasted(logits, torch.tensor([5.2, 5, 5.3, 9]), 20, 20).area == 0


@torch.no_grad()
def test_proposals_are_torchvisions_and_know_their_anchors(
    pair: tuple[Any, dict[str, Tensor], Any],
) -> None:
    chain, levels, model = pair
    model.eval()
    seen = []
    model.roi_heads.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    model(images())
    regions = rgbx_rcnn.predictions(
        chain, chain.run(levels, chain.order.index("neck"), len(chain.order), learn=False)
    )
    for (which, boxes), wanted in zip(regions.proposals(regions.anchors), seen[0], strict=True):
        torch.testing.assert_close(boxes, wanted, rtol=1e-4, atol=1e-3)
        assert len(which) == len(which.unique()) == len(boxes) > 500


def targets():
    """Three objects and one, with oval masks."""
    boxes = [
        torch.tensor([[20.0, 30, 90, 80], [100, 100, 220, 200], [150, 20, 190, 120]]),
        torch.tensor([[5.0, 8, 60, 90]]),
    ]
    labels = [torch.tensor([0, 2, 1]), torch.tensor([1])]
    ours: list[Any] = []
    other: list[Any] = []
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        windows = box.long().tolist()
        ovals = [oval(y1 - y0, x1 - x0) for x0, y0, x1, y1 in windows]
        masks = PackedMasks.pack(ovals, windows, SIDE, SIDE)
        known = torch.ones(len(box), dtype=torch.bool)
        ours.append(
            Target(label, xyxy_to_cxcywh(box) / SIDE, known, torch.ones(len(box)), masks, key=i)
        )
        dense = torch.stack([masks.dense(n) for n in range(len(box))])
        other.append({"boxes": box, "labels": label + 1, "masks": dense.to(torch.uint8)})
    return ours, other


def oval(height: Any, width: Any):
    down, across = np.mgrid[:height, :width] + 0.5
    return np.hypot(2 * down / height - 1, 2 * across / width - 1) < 1


def test_losses_are_torchvisions_where_everything_is_drawn(
    pair: tuple[Any, dict[str, Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torchvision divides by what it drew, ours by a number that is known before."""
    chain, levels, model = pair
    ours, other = targets()
    wanted = model.train()(images(), other)
    drawn = []
    rule = rcnn.draw
    everything = {"count": 1_000_000, "share": 1.0}

    def noted(kind: Any, *arguments: Any):
        drawn.append(rule(rcnn.replace(kind, **everything), *arguments))
        return drawn[-1]

    monkeypatch.setattr(rcnn, "draw", noted)
    state = chain.train().run(levels, chain.order.index("neck"), len(chain.order), learn=True)
    sums = rcnn.RegionCriterion(rcnn.task_weights("joint", {}))(
        rgbx_rcnn.predictions(chain, state), ours
    )
    anchors, regions = (sum(len(d.which) for d in part) for part in (drawn[:2], drawn[2:]))
    for name, term, count in (
        ("loss_objectness", "objectness", anchors),
        ("loss_rpn_box_reg", "rpn_box_reg", anchors),
        ("loss_classifier", "classifier", regions),
        ("loss_box_reg", "box_reg", regions),
    ):
        torch.testing.assert_close(sums[term] / count, wanted[name], rtol=1e-4, atol=1e-6)
    # a mean over objects of means over their regions; torchvision's is over regions
    per_object = sums["mask"] / 4
    assert per_object.item() == pytest.approx(wanted["loss_mask"].item(), rel=0.1)
