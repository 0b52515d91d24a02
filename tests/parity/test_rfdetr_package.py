"""Weights made by the rfdetr package give the same outputs here, and ours load there."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

rfdetr_config = pytest.importorskip("rfdetr.config")
from rfdetr.models import build_model_from_config  # noqa: E402

from segue.models import ModelSpec, rfdetr  # noqa: E402
from segue.models.weights.rfdetr import rfdetr_file  # noqa: E402
from segue.training.handover import adopt  # noqa: E402

CLASSES = ("cells", "blood_vessel", "glomerulus")
PEERS = {
    "nano": "RFDETRNanoConfig",
    "large": "RFDETRLargeDeprecatedConfig",
    "seg-nano": "RFDETRSegNanoConfig",
    "seg-small": "RFDETRSegSmallConfig",
}


def peer(size: str) -> nn.Module:
    """The package's model with random weights in every layer, also those it initialises to zero."""
    torch.manual_seed(0)
    # Naming a file keeps the package from downloading DINOv2; nothing is read here.
    config = getattr(rfdetr_config, PEERS[size])(
        pretrain_weights="unused.pth", num_classes=3, device="cpu"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build_model_from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() and parameter.abs().max() < 1e-6:
                parameter.normal_(0, 0.05)
        for name, parameter in model.named_parameters():
            if "class_embed" in name:  # the row that is no class; training pushes it down
                parameter[-1] = -50.0 if name.endswith("bias") else 0.0
    return model.double().eval()


def saved(model: nn.Module, path: Any, args: Any) -> str:
    torch.save({"model": {k: v.float() for k, v in model.state_dict().items()}, "args": args}, path)
    return str(path)


def ours(size: str, path: str, groups: int = 13):
    options, _ = rfdetr.resolve_options(
        rfdetr.Options(groups=groups), rfdetr.SIZES[size], 10, "cpu"
    )
    spec = ModelSpec(family="rfdetr", size=size, classes=CLASSES, options=options.model_dump())
    chain: Any = rfdetr.build(spec, masks=size.startswith("seg"))
    report = adopt(chain, rfdetr.import_weights(path))
    return chain.double().eval(), report


def images(size: str) -> torch.Tensor:
    side = rfdetr.SIZES[size].resolution
    return torch.rand(
        1, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


AS_DICT, AS_NAMESPACE = (
    {"class_names": list(CLASSES)},
    argparse.Namespace(class_names=list(CLASSES)),
)


@pytest.mark.parametrize(
    ("size", "args"),
    [
        ("nano", AS_NAMESPACE),
        ("seg-nano", AS_DICT),
        pytest.param("large", AS_DICT, marks=pytest.mark.slow),
        pytest.param("seg-small", AS_NAMESPACE, marks=pytest.mark.slow),
    ],
)
def test_imported_weights_answer_as_in_the_rfdetr_package(
    size: str, args: Any, tmp_path: Path
) -> None:
    model = peer(size)
    chain, _ = ours(size, saved(model, tmp_path / "peer.pth", args))
    pixels = images(size)
    with torch.no_grad():
        state = chain({"images": pixels})
        theirs = model(chain.backbone.normalise.double()(pixels.double()))
    # float64, because near-ties in the two-stage top-k would swap queries in float32
    torch.testing.assert_close(
        state["logits"][:, -1], theirs["pred_logits"][..., :3], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        state["boxes_cxcywh"][:, -1], theirs["pred_boxes"], atol=1e-4, rtol=0
    )
    if size.startswith("seg"):
        every = torch.arange(theirs["pred_masks"].shape[1])
        layer = torch.full_like(every, state["logits"].shape[1] - 1)
        masks = state["masks"].at(torch.zeros_like(every), layer, every)
        torch.testing.assert_close(masks, theirs["pred_masks"][0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("size", "name"), [("nano", "RFDETRNano"), ("seg-nano", "RFDETRSegNano")])
def test_what_we_write_loads_in_the_rfdetr_package_and_answers_the_same(
    size: str, name: str, tmp_path: Path
) -> None:
    import rfdetr as package

    options, _ = rfdetr.resolve_options(rfdetr.Options(groups=13), rfdetr.SIZES[size], 10, "cpu")
    spec = ModelSpec(family="rfdetr", size=size, classes=CLASSES, options=options.model_dump())
    torch.manual_seed(3)
    chain: Any = rfdetr.build(spec, masks=size.startswith("seg"))
    args = {"resolution": options.resolution, "num_queries": options.queries, "group_detr": 13}
    torch.save(rfdetr_file(chain.state_dict(), CLASSES, args), tmp_path / "ours.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = getattr(package, name)(
            pretrain_weights=str(tmp_path / "ours.pth"), num_classes=3, device="cpu"
        )
    theirs = loaded.model.model.double().eval()
    chain = chain.double().eval()
    with torch.no_grad():
        state = chain({"images": images(size)})
        answer = theirs(chain.backbone.normalise(images(size)))
    torch.testing.assert_close(
        state["logits"][:, -1], answer["pred_logits"][..., :3], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        state["boxes_cxcywh"][:, -1], answer["pred_boxes"], atol=1e-4, rtol=0
    )
    assert ("pred_masks" in answer) == size.startswith("seg")


def test_a_folder_of_transformers_answers_as_transformers(tmp_path: Path) -> None:
    from transformers import RfDetrForObjectDetection

    options, _ = rfdetr.resolve_options(rfdetr.Options(groups=2), rfdetr.SIZES["nano"], 10, "cpu")
    spec = ModelSpec(family="rfdetr", size="nano", classes=CLASSES, options=options.model_dump())
    config = rfdetr.config(spec)
    config.id2label = dict(enumerate(CLASSES))
    torch.manual_seed(4)
    model = RfDetrForObjectDetection(config).eval()
    model.save_pretrained(tmp_path)
    chain = rfdetr.build(spec, masks=False)
    adopt(chain, rfdetr.import_weights(str(tmp_path)))
    # published weights need 1e-6 in the projector; transformers has 1e-5
    for module in model.model.modules():
        if "Projector" in type(module).__name__ or "C2F" in type(module).__name__:
            for norm in module.modules():
                if hasattr(norm, "eps"):
                    norm.eps = 1e-6
    model, chain = model.double(), chain.double().eval()
    with torch.no_grad():
        state = chain({"images": images("nano")})
        theirs = model(pixel_values=chain.backbone.normalise(images("nano")))
    torch.testing.assert_close(state["logits"][:, -1], theirs.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(state["boxes_cxcywh"][:, -1], theirs.pred_boxes, atol=1e-4, rtol=0)
