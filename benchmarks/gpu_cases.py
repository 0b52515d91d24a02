"""What benchmarks/gpu.py trains: segue's models and, for the same images, what their users would
take instead.

All weights are random and all images noise with elliptic objects. A step is forward, loss,
backward, clipping and AdamW, without EMA weights, from a batch in pinned memory. Peers compute
their loss under autocast, as their trainers do, and have torch's fused AdamW on a GPU, as rfdetr's
trainer has.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

import torch
from gpu_sizes import Case
from steps import batch_of
from torch import Tensor, nn

from segue import models
from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.structures.boxes import cxcywh_to_xyxy
from segue.structures.target import Batch
from segue.training import optim
from segue.training.learner import Learner, Progress
from segue.training.loop import train_step

CLASSES = ("a", "b", "c")
NAMES = dict(enumerate(CLASSES))
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Step = Callable[[], None]


def chain_of(case: Case, device: str) -> Chain:
    """The case's model with random weights, frozen as it says."""
    family = models.get(case.family)
    size = models.size_of(family, case.size)
    options, _ = family.resolve_options(family.Options(**case.options), size, case.objects, device)
    spec = ModelSpec(
        family=case.family,
        size=case.size,
        classes=CLASSES,
        channels=case.channels,
        options=options.model_dump(),
    )
    torch.manual_seed(0)
    chain = family.build(spec, masks=case.task != "boxes").to(device)
    chain.freeze_through(case.frozen)
    return chain


def images_of(case: Case, side: int, count: int | None = None) -> Batch:
    """Random images with elliptic objects, of the case's channels."""
    batch = batch_of(count or case.images, side, case.objects)
    if case.extra:
        pixels = batch.inputs["images"]
        batch.inputs["images"] = torch.cat(
            [pixels, *(pixels[:, :1].flip(-1) for _ in case.extra)], 1
        )
    return batch


def ours(case: Case, device: str, precision: str) -> tuple[Step, Learner, Batch]:
    """A step as a stage of segue takes it, with what it trains and trains on."""
    family, chain = models.get(case.family), chain_of(case, device)
    batch = images_of(case, family.input_size(chain.spec)[0])
    if case.cached:
        parts = [chain.eval().prefix(part.to(device).inputs) for part in batch.split(4)]
        kept = {
            name: torch.cat([part[name] for part in parts]).half().float().cpu()
            for name in parts[0]
        }
        batch = Batch(kept, batch.targets)
    if device.startswith("cuda"):
        batch = batch.pin_memory()
    settings = optim.Optimizer()
    learner = Learner(
        chain=chain.train(),
        loss=family.criterion(chain, case.task, {}),
        optimizer=optim.build(chain, settings),
        schedule=optim.Schedule(),
        ema=None,
        scaler=torch.amp.GradScaler(device.split(":")[0], enabled=precision == "fp16"),
        progress=Progress(images_per_forward=len(batch)),
        device=device,
        precision=DTYPES[precision],
        settings=settings,
        seed=0,
    )
    return lambda: void(train_step(learner, batch)), learner, batch


def void(_: object) -> None:
    """Of a step nothing but its time is wanted."""


def theirs(case: Case, device: str, precision: str) -> Step:
    """A step of the case's peer on the same images at the same side."""
    family = models.get(case.family)
    options, _ = family.resolve_options(
        family.Options(**case.options), models.size_of(family, case.size), case.objects, device
    )
    side = options.resolution or 0
    batch = images_of(case, side)
    model, loss = PEERS[case.peer or ""](case, batch, side, device)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4, fused=device.startswith("cuda"))
    scaler = torch.amp.GradScaler(device.split(":")[0], enabled=precision == "fp16")
    pixels = batch.inputs["images"][:, :3].float() / 255
    pixels = pixels.pin_memory() if device.startswith("cuda") else pixels

    def step() -> None:
        with torch.autocast(device.split(":")[0], DTYPES[precision], enabled=precision != "fp32"):
            total = loss(pixels.to(device, non_blocking=True))
        scaler.scale(total).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(learning, 0.1)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


Loss = Callable[[Tensor], Tensor]


def masks_of(batch: Batch) -> list[Tensor]:
    """The masks (N, H, W), bool, of each image at its full size, which peers want."""
    masks = []
    for target in batch.targets:
        assert target.masks is not None
        masks.append(torch.stack([target.masks.dense(i) for i in range(len(target))]))
    return masks


def rfdetr_peer(case: Case, batch: Batch, side: int, device: str) -> tuple[nn.Module, Loss]:
    """The rfdetr package's model and criterion, without its trainer."""
    import rfdetr.config as configs
    from rfdetr.models import build_criterion_from_config, build_model_from_config
    from rfdetr.utilities.tensors import NestedTensor

    logging.getLogger("rf-detr").setLevel(logging.ERROR)
    changes = dict(case.theirs)
    kind = changes.pop("kind")
    # Naming a file keeps the package from downloading DINOv2; nothing is read here.
    config = getattr(configs, kind)(
        pretrain_weights="unused.pth", num_classes=3, device="cpu", **changes
    )
    assert config.resolution == side
    training = configs.SegmentationTrainConfig if case.task == "joint" else configs.TrainConfig
    settings = training(dataset_dir=".", output_dir=".")
    model = build_model_from_config(config, settings).to(device).train()
    criterion = build_criterion_from_config(config, settings)[0].to(device).train()
    targets = [{"labels": t.labels, "boxes": t.boxes_cxcywh} for t in batch.targets]
    if case.task == "joint":
        targets = [{**t, "masks": m} for t, m in zip(targets, masks_of(batch), strict=True)]
    targets = [{name: value.to(device) for name, value in t.items()} for t in targets]

    def loss(pixels: Tensor) -> Tensor:
        padding = torch.zeros(len(pixels), side, side, dtype=torch.bool, device=device)
        terms = criterion(model(NestedTensor(pixels, padding), targets), targets)
        weights = criterion.weight_dict
        return torch.stack([terms[name] * weights[name] for name in terms if name in weights]).sum()

    return model, loss


def detr_peer(case: Case, batch: Batch, side: int, device: str) -> tuple[nn.Module, Loss]:
    """transformers' DETR on timm's ResNet, with losses at every layer."""
    # its types are not those that it takes
    transformers: Any = importlib.import_module("transformers")

    backbone = {
        "model_type": "timm_backbone",
        "backbone": case.theirs["backbone"],
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": [1, 2, 3, 4],
    }
    config = transformers.DetrConfig(
        backbone_config=backbone,
        num_queries=case.theirs["num_queries"],
        num_labels=3,
        id2label=NAMES,
        dropout=0.0,
        auxiliary_loss=True,
    )
    model = transformers.DetrForObjectDetection(config).to(device).train()
    labels = [
        {"class_labels": t.labels.to(device), "boxes": t.boxes_cxcywh.to(device)}
        for t in batch.targets
    ]
    return model, lambda pixels: model(pixel_values=pixels, labels=labels).loss


def mask2former_peer(case: Case, batch: Batch, side: int, device: str) -> tuple[nn.Module, Loss]:
    """transformers' Mask2Former of our size, without drop-path."""
    # its types are not those that it takes
    transformers: Any = importlib.import_module("transformers")

    size = models.size_of(models.get("mask2former"), case.size)
    swin = transformers.SwinConfig(
        embed_dim=size.embed,
        depths=size.depths,
        num_heads=size.heads,
        window_size=size.window,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=swin,
        feature_size=size.width,
        mask_feature_size=size.width,
        hidden_dim=size.width,
        encoder_feedforward_dim=size.ffn[0],
        dim_feedforward=size.ffn[1],
        encoder_layers=size.layers[0],
        decoder_layers=size.layers[1] + 1,
        num_attention_heads=size.attention,
        num_labels=3,
        id2label=NAMES,
        num_queries=case.theirs.get("num_queries", size.queries),
        train_num_points=size.points or 64,
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config).to(device).train()
    masks = [m.float().to(device) for m in masks_of(batch)]
    labels = [t.labels.to(device) for t in batch.targets]
    return (
        model,
        lambda pixels: model(pixel_values=pixels, mask_labels=masks, class_labels=labels).loss,
    )


def torchvision_peer(case: Case, batch: Batch, side: int, device: str) -> tuple[nn.Module, Loss]:
    """torchvision's Mask R-CNN on ResNet-50, of RGB alone: another backbone than MiT, as there is
    none with MiT.
    """
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=side, max_size=side
    )
    model = model.to(device).train()
    targets = [
        {
            "boxes": cxcywh_to_xyxy(t.boxes_cxcywh) * side,
            "labels": t.labels + 1,
            "masks": m.to(torch.uint8),
        }
        for t, m in zip(batch.targets, masks_of(batch), strict=True)
    ]
    targets = [{name: value.to(device) for name, value in t.items()} for t in targets]
    return model, lambda pixels: torch.stack(list(model(list(pixels), targets).values())).sum()


PEERS = {
    "rfdetr": rfdetr_peer,
    "detr": detr_peer,
    "mask2former": mask2former_peer,
    "torchvision": torchvision_peer,
}
