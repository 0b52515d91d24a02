"""Named input channels and how their values become the numbers a network was trained on."""

from __future__ import annotations

from pydantic import Field, model_validator

from segue.settings import Settings

# What DINOv2, ResNet and Swin were trained with: torchvision's ImageNet statistics, of values in 0..1.
IMAGENET = {"r": (0.485, 0.229), "g": (0.456, 0.224), "b": (0.406, 0.225)}


class Channel(Settings):
    """One input channel. Stored values are divided by `scale`, then (value - mean) / std.

    scale: None means the largest value of the stored type (255 for 8 bits, 65535 for 16).
    """

    name: str = Field(min_length=1)
    scale: float | None = Field(None, gt=0)
    mean: float = 0.5
    std: float = Field(0.25, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        """A bare name is enough; r, g and b have ImageNet's mean and std."""
        fields = {"name": value} if isinstance(value, str) else value
        if isinstance(fields, dict) and fields.get("name") in IMAGENET:
            mean, std = IMAGENET[fields["name"]]
            fields = {"mean": mean, "std": std, **fields}
        return fields


RGB = tuple(Channel.model_validate(name) for name in "rgb")
