"""Which models benchmarks/gpu.py trains, on how many images: on a card, and on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segue.structures.channels import RGB, Channel


@dataclass(frozen=True)
class Case:
    """A row of the table: so many images with so many objects each.

    frozen: through which part; cached: that part's outputs are read from memory. peer: one of
    PEERS, with `theirs` in its configuration. options: of the family.
    """

    name: str
    family: str
    size: str
    images: int
    objects: int = 10
    task: str = "boxes"
    frozen: str | None = None
    cached: bool = False
    extra: tuple[str, ...] = ()
    peer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> tuple[Channel, ...]:
        return (*RGB, *(Channel(name=name) for name in self.extra))


# Sides are those of the sizes, but for DETR's and R-CNN's, which are said.
FULL = (
    Case("nano", "rfdetr", "nano", 32, peer="rfdetr", theirs={"kind": "RFDETRNanoConfig"}),
    Case(
        "seg-nano joint",
        "rfdetr",
        "seg-nano",
        32,
        task="joint",
        peer="rfdetr",
        theirs={"kind": "RFDETRSegNanoConfig"},
    ),
    Case("seg-nano frozen", "rfdetr", "seg-nano", 32, task="masks", frozen="decoder"),
    Case("seg-nano cached", "rfdetr", "seg-nano", 32, task="masks", frozen="decoder", cached=True),
    Case(
        "detr resnet50 640",
        "detr",
        "resnet50",
        16,
        options={"resolution": 640, "decoder": "plain"},
        peer="detr",
        theirs={"backbone": "resnet50", "num_queries": 100},
    ),
    Case(
        "mask2former swin-base 1024",
        "mask2former",
        "swin-base",
        4,
        task="joint",
        peer="mask2former",
    ),
    Case(
        "rgbx mit_b2 640", "rgbx_rcnn", "mit_b2", 8, task="joint", extra=("x",), peer="torchvision"
    ),
)
QUICK = (
    Case(
        "nano",
        "rfdetr",
        "pico",
        2,
        3,
        options={"resolution": 64, "queries": 10, "groups": 2},
        peer="rfdetr",
        theirs={
            "kind": "RFDETRNanoConfig",
            "resolution": 64,
            "positional_encoding_size": 4,
            "num_queries": 10,
            "num_select": 10,
            "group_detr": 2,
        },
    ),
    Case(
        "seg-nano joint",
        "rfdetr",
        "pico",
        2,
        3,
        "joint",
        options={"resolution": 64, "queries": 10, "groups": 2},
    ),
    Case(
        "seg-nano frozen",
        "rfdetr",
        "pico",
        2,
        3,
        "masks",
        "decoder",
        options={"resolution": 64, "queries": 10, "groups": 2},
    ),
    Case(
        "seg-nano cached",
        "rfdetr",
        "pico",
        2,
        3,
        "masks",
        "decoder",
        cached=True,
        options={"resolution": 64, "queries": 10, "groups": 2},
    ),
    Case(
        "detr",
        "detr",
        "pico",
        2,
        3,
        peer="detr",
        theirs={"backbone": "resnet18", "num_queries": 10},
    ),
    Case(
        "mask2former",
        "mask2former",
        "pico",
        2,
        3,
        "joint",
        options={"resolution": 128},
        peer="mask2former",
        theirs={"num_queries": 40},
    ),
    Case(
        "rgbx",
        "rgbx_rcnn",
        "pico",
        2,
        3,
        "joint",
        extra=("x",),
        options={"resolution": 128},
        peer="torchvision",
    ),
)
