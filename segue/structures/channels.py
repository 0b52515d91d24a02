"""Named input channels and how their values become the numbers a network was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from segue.base.settings import Settings
from segue.errors import PlanError

# Mean and std of r, g and b, of values in 0..1, that DINOv2, ResNet and Swin were trained with:
# torchvision's ImageNet statistics.
IMAGENET = {"r": (0.485, 0.229), "g": (0.456, 0.224), "b": (0.406, 0.225)}
PERCENTILES = (0.5, 99.8)  # of an image's values, where a channel's value range is taken from them


def _value_scale(value: object) -> object:
    """Check `scale` here: pydantic would print one message for each member of the union."""
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
        raise ValueError("expected the name of a folder next to the images or their folder")
    return value


class Channel(Settings):
    """One input channel. Stored values become about 0..1 by `scale`, then (value - mean) / std.

    scale: the number that values are divided by (4095 for 12 bits); None means the largest value of
    the stored type (255 for 8 bits, 65535 for 16); "percentile" maps the two `percentiles` of each
    image to 0 and 1. plane: which plane of a stack is read: "max" for the largest value at each
    pixel, or the plane of this number, from 0. folder: the folder that has this channel as an image
    of the same name, if it is not in the image itself. at: its number in its file, from 0, where
    the file has more channels than the model reads, or another order. mean, std: of the divided
    values.

    Raises (as pydantic's ValidationError, which a plan turns into PlanError):
        ValueError: if a value is out of range, percentiles are out of order, or they are given
            without scale: percentile.
    """

    name: str = Field(min_length=1)
    scale: Annotated[float | Literal["percentile"] | None, BeforeValidator(_value_scale)] = None
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
    """Positions, in the model's input, of the channels that a name means.

    name: a channel, a folder (all of its channels), or several of these joined by +, as in r+g+b.

    Raises:
        PlanError: if there is no channel or folder of that name.
    """
    rows: list[int] = []
    for word in name.split("+"):
        matches = [row for row, channel in enumerate(channels) if channel.name == word]
        matches = matches or [row for row, channel in enumerate(channels) if channel.folder == word]
        if not matches:
            listed = ", ".join(channel.name for channel in channels)
            raise PlanError(
                f"channel {word}", f"no channel '{word}'", f"some of {listed}, joined by +"
            )
        rows += [row for row in matches if row not in rows]
    return rows


RGB = tuple(Channel.model_validate(name) for name in "rgb")
