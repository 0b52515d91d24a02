"""Named input channels and how their values become the numbers a network was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from segue.base.settings import Settings
from segue.errors import PlanError

# What DINOv2, ResNet and Swin were trained with: torchvision's ImageNet statistics, of values in
# 0..1.
IMAGENET = {"r": (0.485, 0.229), "g": (0.456, 0.224), "b": (0.406, 0.225)}


PERCENTILES = (0.5, 99.8)


def _scale(value: object) -> object:
    """One message for both kinds of value, where pydantic has one for each."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    if not (number or value in (None, "percentile")):
        raise ValueError("expected a number above 0, or percentile")
    return value


def _plane(value: object) -> object:
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not (number or value == "max"):
        raise ValueError("expected max, or the number of a plane, from 0")
    return value


def _folder(value: str | None) -> str | None:
    if value is not None and (
        not value.strip() or PurePath(value).is_absolute() or ".." in PurePath(value).parts
    ):
        raise ValueError("expected the name of a folder beside the images, or beside their folder")
    return value


class Channel(Settings):
    """One input channel. Stored values become about 0..1 by `scale`, then (value - mean) / std.

    scale: a number that values are divided by (4095 for 12 bits); None means the largest of the
    stored type (255 for 8 bits, 65535 for 16); percentile: the two `percentiles` of each image
    become 0 and 1. plane: what is taken of a stack: max, its largest value at each pixel, or the
    plane of this number, from 0. folder: where the image of the same name lies that has the values,
    if not in the image itself. at: its number in its file, from 0, where the file has other
    channels than are wanted, or another order.
    """

    name: str = Field(min_length=1)
    scale: Annotated[float | Literal["percentile"] | None, BeforeValidator(_scale)] = None
    percentiles: tuple[float, float] = PERCENTILES
    plane: Annotated[int | Literal["max"], BeforeValidator(_plane)] = "max"
    folder: Annotated[str | None, AfterValidator(_folder)] = None
    at: int | None = Field(None, ge=0)
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

    @model_validator(mode="after")
    def _percentiles_in_order(self) -> Channel:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(
                f"percentiles {low} and {high}; expected two from 0 to 100, the smaller first"
            )
        if self.percentiles != PERCENTILES and self.scale != "percentile":
            raise ValueError("percentiles have no effect without scale: percentile")
        return self


def rows_of(name: str, channels: Sequence[Channel]) -> list[int]:
    """Positions of the channels that a name means: one, all of a folder, or several names joined by
    +, as r+g+b.

    Raises:
        PlanError: if there are none of that name.
    """
    rows: list[int] = []
    for word in name.split("+"):
        known = [row for row, channel in enumerate(channels) if channel.name == word]
        known = known or [row for row, channel in enumerate(channels) if channel.folder == word]
        if not known:
            listed = ", ".join(channel.name for channel in channels)
            raise PlanError(
                f"channel {word}", f"no channel '{word}'", f"some of {listed}, joined by +"
            )
        rows += [row for row in known if row not in rows]
    return rows


RGB = tuple(Channel.model_validate(name) for name in "rgb")
