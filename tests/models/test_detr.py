"""The DETR family: any backbone as it was trained, what is constant in it, classes by name, and
refusals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from pytest import approx, fixture, mark, raises

from segue import models
from segue.errors import CheckpointError, HandoverError, PlanError
from segue.models import ModelSpec, detr
from segue.models.parts.chain import Chain
from segue.models.weights import ModelWeights
from segue.plan.schema import Model
from segue.run.opening import open_weights
from segue.structures.channels import RGB, Channel
from segue.training import optim
from segue.training.freeze import FrozenProof
from segue.training.handover import adopt


def build(
    size: str = "pico", classes: Any = ("a", "b"), channels: Any = RGB, **options: Any
) -> Any:
    settled, _ = detr.resolve_options(detr.Options(**options), detr.SIZES[size], 5, "cpu")
    torch.manual_seed(0)
    channels = detr.with_pretraining_stats(settled, channels)
    spec = ModelSpec(
        family="detr", size=size, classes=classes, channels=channels, options=settled.model_dump()
    )
    return detr.build(spec, masks=False)


def weights_of(chain: Chain, source: str = "weights") -> ModelWeights:
    names = tuple(channel.name for channel in chain.spec.channels)
    return ModelWeights(dict(chain.state_dict()), chain.spec.classes, names, source)


def images(side: int = 64, channels: int = 3):
    return {
        "images": torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1))
    }


NETWORKS = (
    "resnet18 vit_small_patch14_dinov2 convnext_atto swin_tiny_patch4_window7_224 efficientnet_b0"
)


@mark.parametrize("name", NETWORKS.split())
def test_any_network_of_timms_is_a_backbone_that_gives_its_last_map(name: str) -> None:
    side = 224
    chain: Any = build(backbone=name, resolution=side, queries=10).eval()
    with torch.no_grad():
        features = chain.run(images(side), 0, 1, learn=False)["features"]
    stride, _ = detr.layout_of(name, side)
    assert features.shape == (2, chain.backbone.width, side // stride, side // stride)


def test_a_backbone_computes_what_timm_does_with_its_pretrained_weights(tmp_path: Path) -> None:
    """Through a file, with batch statistics in eval mode: constants are constants."""
    torch.manual_seed(0)
    peer: Any = timm.create_model("resnet18", pretrained=False, zero_init_last=False).train()
    for _ in range(3):
        peer(torch.randn(4, 3, 64, 64))  # moves the running statistics
    peer.eval()
    torch.save(peer.state_dict(), tmp_path / "resnet18.pth")
    weights = detr.import_weights(str(tmp_path / "resnet18.pth"))
    chain = build("resnet18", queries=10).eval()
    report = adopt(chain, weights, fresh=("encoder", "decoder"))
    assert report.tensors == len(chain.part("backbone").state_dict())
    normalise = torchvision.transforms.functional.normalize
    with torch.no_grad():
        wanted = peer.forward_features(
            normalise(images()["images"], [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        )
        torch.testing.assert_close(
            chain.run(images(), 0, 1, False)["features"], wanted, rtol=1e-4, atol=1e-5
        )


@mark.parametrize("name", ["convnext_atto", "efficientnet_b0", "test_vit", "regnetx_002"])
def test_pretrained_files_of_other_networks_fit_to_the_last_tensor(
    tmp_path: Path, name: str
) -> None:
    """Whatever timm calls their classifiers, and wherever it puts norms."""
    torch.save(timm.create_model(name, pretrained=False).state_dict(), tmp_path / "net.pth")
    chain = build(backbone=name, resolution=64, queries=10)
    report = adopt(
        chain, detr.import_weights(str(tmp_path / "net.pth")), fresh=("encoder", "decoder")
    )
    assert report.tensors == len(chain.part("backbone").state_dict())


def test_pixels_are_normalised_as_the_backbone_was_trained_unless_the_plan_says_otherwise() -> None:
    assert build().backbone.normalise.mean.flatten().tolist() == approx([0.5] * 3)
    assert build("resnet18").backbone.normalise.mean.flatten().tolist() == approx(
        [0.485, 0.456, 0.406]
    )
    mine = (Channel(name="r", mean=0.1, std=0.2), *RGB[1:])
    assert build(channels=mine).backbone.normalise.mean.flatten().tolist() == approx(
        [0.1, 0.5, 0.5]
    )


def test_batch_statistics_never_move_frozen_or_not() -> None:
    """In the original 106 of 106 running buffers changed behind requires_grad=False."""
    chain = build("resnet50", resolution=64, queries=10)
    buffers = {name: t.clone() for name, t in chain.named_buffers() if "running" in name}
    assert len(buffers) == 106
    for freeze in ("backbone", None):
        chain.freeze_through(freeze)
        proof = FrozenProof.of(chain)
        optimizer = optim.build(chain, optim.Optimizer(lr=0.1, weight_decay=0.1))
        for _ in range(2):
            chain.train()
            state = chain(images())
            (state["logits"].square().sum() + state["boxes_cxcywh"].sum()).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert not freeze or "unchanged" in proof.check(chain)
        assert all(
            torch.equal(tensor, buffers[name])
            for name, tensor in chain.named_buffers()
            if name in buffers
        )
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in chain.modules())


def test_a_residual_network_without_pretrained_statistics_still_passes_a_signal() -> None:
    features = (
        build("resnet50", resolution=64, queries=10).eval().run(images(), 0, 1, False)["features"]
    )
    assert 0.05 < float(features.std()) < 20


@mark.parametrize("place", ["backbone.first_half", "backbone.last_quarter"])
def test_a_part_of_the_backbone_can_stay_frozen(place: Any) -> None:
    chain: Any = build("resnet18", resolution=64, queries=10)
    chain.freeze_through(place)
    learns = {
        name.split(".")[2]
        for name, p in chain.named_parameters()
        if p.requires_grad and ".net." in name
    }
    assert learns == ({"layer3", "layer4"} if place == "backbone.first_half" else set())
    chain.train()
    assert not chain.backbone.net.layer2.training and chain.backbone.net.layer3.training == bool(
        learns
    )


@mark.parametrize("decoder", ["plain", "conditional"])
def test_kept_classes_keep_every_bit_of_their_rows_and_score_as_before(decoder: Any) -> None:
    """Three classes become two old ones in another order and two new ones.

    Scores agree within rounding: a product with three rows may add up in another order than one
    with four.
    """
    before: Any = build(classes=("cell", "rod", "tube"), decoder=decoder).eval()
    after: Any = build(classes=("tube", "spot", "cell", "ring"), decoder=decoder).eval()
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    report = adopt(after, weights_of(before))
    assert "classes kept by name: tube, cell" in str(report)
    heads = [
        (head.weight, head.bias) for head in (before.decoder.class_head, after.decoder.class_head)
    ]
    assert all(torch.equal(old[[2, 0]], new[[0, 2]]) for old, new in zip(*heads, strict=True))
    with torch.no_grad():
        old, new = before(images(128)), after(images(128))
    assert torch.equal(old["boxes_cxcywh"], new["boxes_cxcywh"])
    old_kept, new_kept = [2, 0], [0, 2]
    if decoder == "plain":  # the row for "no object" is the last
        assert new["logits"].shape[-1] == 5
        old_kept, new_kept = [2, 0, 3], [0, 2, 4]
    torch.testing.assert_close(
        new["logits"][..., new_kept], old["logits"][..., old_kept], rtol=1e-5, atol=1e-5
    )


def test_another_decoder_is_refused_with_the_difference() -> None:
    """The original loads such weights with 108 tensors silently missing."""
    with raises(HandoverError) as caught:
        adopt(build(decoder="plain"), weights_of(build(decoder="conditional"), "conditional.ckpt"))
    message = str(caught.value)
    assert "tensors differ from the model, in decoder" in message
    assert (
        "- decoder.transformer.layers.0.self_attn.q_proj.weight (64, 64) only in the model"
        in message
    )
    assert (
        "conditional.ckpt: 60 tensors" in message
        and "... and 48 more" in message
        and "fresh:" in message
    )


def test_a_fourth_channel_begins_as_the_mean_of_the_three_it_is_named_beside() -> None:
    four = (*RGB, Channel(name="thermal"))
    chain, parent = build(channels=four), build()
    report = adopt(chain, weights_of(parent))
    assert "channels r, g, b, thermal by name; thermal from the mean" in str(report)
    (name,) = models.get("detr").input_convs(chain.spec, chain.state_dict())
    first, old = (dict(c.named_parameters())[name] for c in (chain, parent))
    assert torch.equal(first[:, :3], old) and torch.equal(first[:, 3], old.mean(1))
    assert chain.eval()(images(128, 4))["logits"].isfinite().all()


@fixture
def unnamed(tmp_path: Path) -> str:
    chain = build(classes=("x", "y"))
    torch.save(
        {"state_dict": {f"model.{name}": t for name, t in chain.state_dict().items()}},
        tmp_path / "last.ckpt",
    )
    return str(tmp_path / "last.ckpt")


def test_class_rows_without_names_are_refused_until_the_plan_names_them(unnamed: str) -> None:
    with raises(
        HandoverError, match="2 class rows without names; expected model.weights_classes: 2 names"
    ):
        open_weights(unnamed, Model(family="detr", size="pico"))
    named = Model(family="detr", size="pico", weights_classes=("x", "y"))
    assert open_weights(unnamed, named).classes == ("x", "y")


@mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "resnet51"}, "resnet51 .*expected a name of timm's"),
        (
            {"backbone": "vit_small_patch14_dinov2", "resolution": 480},
            "expected a multiple of 14, such as 476",
        ),
        (
            {"backbone": "levit_128s"},
            "levit_128s .it has batch statistics that cannot be made constant",
        ),
        (
            {"backbone": "vit_base_patch32_224", "resolution": 500},
            "expected a multiple of 32, such as 512",
        ),
        ({"queries": 3}, "3 for an image with 5 objects; expected at least 5"),
        ({"width": 70}, "expected a multiple of 16, such as 64"),
    ],
)
def test_what_does_not_fit_is_an_error_before_training(options: Any, words: str) -> None:
    with raises(PlanError, match=words):
        build(**options)


def test_a_file_of_something_else_is_no_backbone(tmp_path: Path) -> None:
    torch.save({"state_dict": {"embedding": torch.zeros(3)}}, tmp_path / "other.pt")
    with raises(CheckpointError, match="neither DETR nor a backbone"):
        detr.import_weights(str(tmp_path / "other.pt"))


def test_more_queries_than_the_weights_have_cannot_be_made_up() -> None:
    with raises(HandoverError, match="40, but the weights have 30"):
        adopt(build(queries=40), weights_of(build()))
    assert "queries 30 -> 20" in str(adopt(build(queries=20), weights_of(build())))
