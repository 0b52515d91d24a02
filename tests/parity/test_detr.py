"""DETR and Conditional DETR answer as transformers' do, and read facebookresearch/detr's files.

Random weights throughout. The reference for facebookresearch/detr is written here from the paper,
with torch's own attention, under the names that its files have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import nn
from transformers.loss.loss_deformable_detr import DeformableDetrForObjectDetectionLoss
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

from segue.models import ModelSpec, detr
from segue.models.parts.chain import Chain
from segue.models.weights.coco_rows import COCO_ROWS
from segue.structures.target import Batch, Target
from segue.training.handover import adopt
from tests.parity.facebook_detr import FacebookDetr

CLASSES = ("cell", "tube", "rod")
QUERIES, SIDE = 12, 128
PEERS: dict[str, tuple[Any, Any]] = {
    "plain": (transformers.DetrConfig, transformers.DetrForObjectDetection),
    "conditional": (
        transformers.ConditionalDetrConfig,
        transformers.ConditionalDetrForObjectDetection,
    ),
}


def peer_of(kind: str, **changes: Any) -> Any:
    """transformers' model on a ResNet-18, every weight and statistic random."""
    config, model = PEERS[kind]
    settings = config(
        backbone_config={"model_type": "timm_backbone", "backbone": "resnet18",
                         "features_only": True, "use_pretrained_backbone": False,
                         "out_indices": [1, 2, 3, 4]},
        num_queries=QUERIES, num_labels=len(CLASSES), id2label=dict(enumerate(CLASSES)),
        dropout=0.0, **changes,
    )  # fmt: skip
    torch.manual_seed(1)
    return shaken(model(settings)).eval()


def shaken(model: nn.Module) -> nn.Module:
    """Every tensor moved a little, so that none is at a value that hides a mistake."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                noise = 0.02 * torch.randn_like(tensor)
                tensor.add_(noise.abs() if "running_var" in name else noise)
    return model


def ours_of(source: Any, classes: Any = CLASSES) -> Chain:
    """Our model with the weights of a file or folder."""
    weights = detr.import_weights(str(source))
    known = detr.options_from_weights(weights.tensors, "resnet18", "cpu")
    options, _ = detr.resolve_options(detr.Options(**known), detr.SIZES["resnet18"], 5, "cpu")
    chain = detr.build(
        ModelSpec(family="detr", size="resnet18", classes=classes, options=options.model_dump()),
        False,
    )
    report = adopt(chain, weights)
    assert report.tensors == len(chain.state_dict()) and report.fresh == report.dropped == 0
    return chain.eval()


def pixels(images: int = 2) -> torch.Tensor:
    return torch.rand(images, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def standardised(images: torch.Tensor) -> torch.Tensor:
    return torchvision.transforms.functional.normalize(
        images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )


def targets(counts: tuple[int, int] = (3, 5)) -> tuple[list[Target], list[dict[str, Any]]]:
    g = torch.Generator().manual_seed(2)
    found = [
        Target(
            labels=torch.randint(0, len(CLASSES), (n,), generator=g),
            boxes_cxcywh=torch.rand(n, 4, generator=g) * 0.4 + 0.2,
            has_mask=torch.zeros(n, dtype=torch.bool),
            object_weights=torch.ones(n),
            key=i,
        )
        for i, n in enumerate(counts)
    ]
    return found, [{"class_labels": t.labels, "boxes": t.boxes_cxcywh} for t in found]


@pytest.mark.parametrize("kind", PEERS)
def test_the_same_weights_give_the_same_logits_boxes_and_loss(kind: str, tmp_path: Path) -> None:
    peer: Any = peer_of(kind)
    peer.save_pretrained(tmp_path)
    chain = ours_of(tmp_path)
    wanted, labels = targets()
    theirs = peer(standardised(pixels()), labels=labels)
    with torch.no_grad():
        state = chain({"images": pixels()})
    torch.testing.assert_close(state["logits"][:, -1], theirs.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        state["boxes_cxcywh"][:, -1], theirs.pred_boxes, rtol=1e-5, atol=1e-5
    )
    last: Any = {
        name: value[:, -1:] for name, value in state.items() if name in ("logits", "boxes_cxcywh")
    }
    # published: 2 for conditional; transformers forgets it
    loss = detr.criterion(chain, "boxes", {"classes": 1.0})
    total = loss.total(
        loss(detr.predictions(chain, last), wanted), Batch({"images": pixels()}, wanted).counts()
    )
    torch.testing.assert_close(total, theirs.loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PEERS)
def test_detections_are_those_of_its_own_post_processing(kind: str, tmp_path: Path) -> None:
    peer: Any = peer_of(kind)
    peer.save_pretrained(tmp_path)
    chain = ours_of(tmp_path)
    with torch.no_grad():
        theirs = peer(standardised(pixels()))
        state = chain({"images": pixels()})
    processor = {
        "plain": transformers.DetrImageProcessor,
        "conditional": transformers.ConditionalDetrImageProcessor,
    }
    sizes = [(100, 200), (60, 50)]
    options: dict[str, Any] = {"threshold": 0.0, "target_sizes": sizes} | (
        {} if kind == "plain" else {"top_k": QUERIES}
    )
    wanted = processor[kind]().post_process_object_detection(theirs, **options)
    for mine, other in zip(detr.postprocess(chain, state, sizes, QUERIES), wanted, strict=True):
        order = other["scores"].argsort(descending=True)
        torch.testing.assert_close(mine.scores, other["scores"][order], rtol=1e-4, atol=1e-5)
        assert mine.labels.tolist() == other["labels"][order].tolist()
        limit = torch.tensor([mine.size[1], mine.size[0]] * 2)
        # ours are clipped to the image
        inside = torch.minimum(other["boxes"][order].clamp(min=0), limit)
        torch.testing.assert_close(mine.boxes_xyxy, inside, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("kind", PEERS)
def test_every_layer_has_the_loss_that_transformers_gives_it(kind: Any) -> None:
    layers, g = 6, torch.Generator().manual_seed(0)
    rows = len(CLASSES) + (kind == "plain")
    logits = torch.randn(2, layers, QUERIES, rows, generator=g)
    boxes = torch.rand(2, layers, QUERIES, 4, generator=g) * 0.4 + 0.2
    wanted, labels = targets()
    config = PEERS[kind][0](num_labels=len(CLASSES), auxiliary_loss=True)
    function = ForObjectDetectionLoss if kind == "plain" else DeformableDetrForObjectDetectionLoss
    total, theirs, _ = function(
        logits[:, -1],
        labels,
        "cpu",
        boxes[:, -1],
        config,
        logits.transpose(0, 1),
        boxes.transpose(0, 1),
    )
    chosen = detr.Options(decoder=kind, queries=QUERIES)
    options, _ = detr.resolve_options(chosen, detr.SIZES["pico"], 5, "cpu")
    spec = ModelSpec(family="detr", size="pico", classes=CLASSES, options=options.model_dump())
    loss = detr.criterion(Chain(spec, {}), "boxes", {"classes": 1.0})
    sums = loss(
        detr.predictions(Chain(spec, {}), {"logits": logits, "boxes_cxcywh": boxes}), wanted
    )
    counts = Batch({"images": pixels()}, wanted).counts()
    names = {"classes": "loss_ce", "l1": "loss_bbox", "giou": "loss_giou"}
    compared = 0
    for term, values in sums.items():
        weight = loss.weights.active()[term]
        for layer, value in enumerate(values):
            suffix = "" if layer == layers - 1 else f"_{layer}"
            mine = loss.total({term: value[None]}, counts) / weight
            torch.testing.assert_close(mine, theirs[names[term] + suffix], rtol=1e-5, atol=1e-6)
            compared += 1
    assert compared == 18
    torch.testing.assert_close(loss.total(sums, counts), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PEERS)
def test_with_auxiliary_losses_transformers_answers_otherwise_and_ours_does_not(
    kind: str, tmp_path: Path
) -> None:
    """Its decoders then feed each layer's normed output to the next; the published models never
    did.
    """
    plain, auxiliary = peer_of(kind), peer_of(kind, auxiliary_loss=True)
    auxiliary.load_state_dict(plain.state_dict())
    with torch.no_grad():
        first, second = plain(standardised(pixels())), auxiliary(standardised(pixels()))
    assert (first.logits - second.logits).abs().max() > 1e-3
    plain.save_pretrained(tmp_path)
    with torch.no_grad():
        logits = ours_of(tmp_path)({"images": pixels()})["logits"]
    assert logits.shape[1] == 6
    torch.testing.assert_close(logits[:, -1], first.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_files_of_facebookresearch_detr_are_read_and_agree(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(3)
    peer = shaken(FacebookDetr(QUERIES, rows=len(COCO_ROWS) + 1)).eval()
    path = tmp_path / f"detr-r18{suffix}"
    torch.save({"model": peer.state_dict(), "epoch": 3}, path)
    chain = ours_of(path, classes=tuple(name for name in COCO_ROWS if name is not None))
    with torch.no_grad():
        logits, boxes = peer(standardised(pixels()))
        state = chain({"images": pixels()})
    rows = [row for row, name in enumerate(COCO_ROWS) if name is not None] + [len(COCO_ROWS)]
    torch.testing.assert_close(state["logits"][:, -1], logits[..., rows], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state["boxes_cxcywh"][:, -1], boxes, rtol=1e-5, atol=1e-5)


def test_a_lightning_file_around_transformers_model_is_read(tmp_path: Path) -> None:
    peer = peer_of("conditional")
    wrapped = {f"model.{name}": tensor for name, tensor in peer.state_dict().items()}
    content = {
        "state_dict": wrapped,
        "epoch": 6,
        "global_step": 51751,
        "pytorch-lightning_version": "2.6.6",
    }
    content["hyper_parameters"] = {"class_names": list(CLASSES), "lr": 1e-4}
    torch.save(content, tmp_path / "last.ckpt")
    chain = ours_of(tmp_path / "last.ckpt")
    with torch.no_grad():
        theirs, state = peer(standardised(pixels())), chain({"images": pixels()})
    torch.testing.assert_close(state["logits"][:, -1], theirs.logits, rtol=1e-4, atol=1e-4)
