"""Named steps between a model's detections and what is counted: each can be switched on, and each
leaves a record.

They run in the order of `STEPS`: confidence first, because it is cheap, then what changes masks,
then what measures them, and duplicates last. Without settings nothing happens.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from scipy import ndimage

from segue.base.settings import Settings
from segue.errors import PlanError
from segue.inference.measure import axes
from segue.structures.detections import Detections
from segue.structures.regions import Region, overlap, union

# With this share of its pixels inside a larger object of its class, an object is a duplicate, too:
# a piece of that object, detected a second time, whose IoU with it is low.
WITHIN = 0.9


class Refine(Settings):
    """Which steps are taken: those that have a value.

    confidence: the least score, 0..1. holes: holes up to this area are filled. smoothing: the
    standard deviation of the Gaussian that outlines are smoothed with; an object thinner than about
    1.4 of it would vanish and is left as it was. area, most_area: the least and the largest area.
    aspect: the least ratio of an object's axes (of the ellipse with the same second moments; 1 is
    round, long tubes have 10). merge: objects of one class with at least this IoU become one, and
    so does one that lies to 0.9 within another; the union of the masks keeps the better score.
    unit: of lengths and areas, px and px^2 or um and um^2.
    """

    confidence: float | None = Field(None, ge=0, le=1)
    holes: float | None = Field(None, gt=0)
    smoothing: float | None = Field(None, gt=0)
    area: float | None = Field(None, gt=0)
    most_area: float | None = Field(None, gt=0)
    aspect: float | None = Field(None, ge=1)
    merge: float | None = Field(None, gt=0, le=1)
    unit: Literal["px", "um"] = "px"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did to one image: how many objects it was given, how many it removed, and how
    many masks it changed.
    """

    step: str
    setting: float
    given: int
    removed: int = 0
    changed: int = 0


def settings_of(pairs: Sequence[str]) -> Refine:
    """Settings from words such as `area=50` and `unit=um`.

    Raises:
        PlanError: if a name is unknown or a value out of range.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        values[name] = value
        if name not in Refine.model_fields:
            near = difflib.get_close_matches(name, Refine.model_fields, n=1)
            raise PlanError(
                "--refine", f"no step '{name}'", near[0] if near else ", ".join(Refine.model_fields)
            )
        try:
            Refine.model_validate({name: value})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Input ")
            raise PlanError(
                f"--refine {name}={value}", reason, f"a number, such as --refine {name}=0.5"
            ) from None
    return Refine.model_validate(values)


def refine(
    detections: Detections, settings: Refine, um_per_px: float | None = None
) -> tuple[Detections, list[Step]]:
    """The objects that are left, and what each step did.

    um_per_px: the pixel size, for settings in um. Models without masks are measured by their boxes,
    and have neither holes nor outlines to smooth.

    Raises:
        PlanError: if the settings are in um and the pixel size is not known.
    """
    if settings.unit == "um":
        if um_per_px is None:
            raise PlanError(
                "--refine unit=um",
                "an image whose scale is not known",
                "--scale UM_PER_PX, or unit=px",
            )
        settings = _in_pixels(settings, um_per_px)
    record = []
    for name, step in STEPS.items():
        value = getattr(settings, name)
        if value is not None and (detections.has_masks or name not in ("holes", "smoothing")):
            left, changed = step(detections, value)
            record.append(Step(name, value, len(detections), len(detections) - len(left), changed))
            detections = left
    return detections, record


def summary(settings: Refine, records: dict[str, list[Step]]) -> dict[str, Any]:
    """The content of `postprocess.json`: settings, and what each step did to each image and to all.

    records: image name -> its steps.
    """
    totals: dict[str, dict[str, Any]] = {}
    for steps in records.values():
        for step in steps:
            total = totals.setdefault(step.step, {"given": 0, "removed": 0, "changed": 0})
            for key in total:
                total[key] += getattr(step, key)
    images = {name: [asdict(step) for step in steps] for name, steps in records.items()}
    return {"settings": settings.model_dump(exclude_none=True), "steps": totals, "images": images}


def _in_pixels(settings: Refine, um_per_px: float) -> Refine:
    """The same settings in px and px^2."""
    powers = {"holes": 2, "area": 2, "most_area": 2, "smoothing": 1}
    changed = {
        name: value / um_per_px**power
        for name, power in powers.items()
        if (value := getattr(settings, name)) is not None
    }
    return settings.model_copy(update={**changed, "unit": "px"})


def _confidence(detections: Detections, least: float) -> tuple[Detections, int]:
    return detections.above(least), 0


def _holes(detections: Detections, most: float) -> tuple[Detections, int]:
    """Fill holes of at most `most` square pixels."""

    def filled(bits: np.ndarray) -> np.ndarray:
        # Padded, so that all background outside the object is one piece, even where the object
        # touches its box. Pieces connect by edges: a hole that opens at a corner only stays a hole.
        numbered, _ = ndimage.label(~np.pad(bits, 1))
        areas = np.bincount(numbered.ravel())
        small = areas <= most
        small[[0, numbered[0, 0]]] = False  # neither the object nor what surrounds it is a hole
        return bits | small[numbered][1:-1, 1:-1]

    return _changed(detections, lambda region: Region.of(filled(region.bits), region.x, region.y))


def _smoothing(detections: Detections, deviation: float) -> tuple[Detections, int]:
    """Smooth outlines by a Gaussian of `deviation` pixels, cut off at one half."""
    height, width = detections.size

    def smooth(region: Region) -> Region:
        room = int(np.ceil(3 * deviation))  # beyond three deviations a Gaussian is next to nothing
        x0, y0 = max(region.x - room, 0), max(region.y - room, 0)
        x1, y1 = (
            min(region.x + region.width + room, width),
            min(region.y + region.height + room, height),
        )
        bits = region.within((x0, y0, x1, y1)).astype(np.float32)
        # "nearest" repeats the image's border, so that objects there keep their corners.
        smoothed = Region.of(ndimage.gaussian_filter(bits, deviation, mode="nearest") > 0.5, x0, y0)
        # A thin object falls below one half everywhere; unchanged is better than gone.
        return smoothed if smoothed.area else region

    return _changed(detections, smooth)


def _changed(detections: Detections, change: Callable[[Region], Region]) -> tuple[Detections, int]:
    """The detections with `change` applied to every mask that has pixels; how many it changed."""
    before = [detections.region(i) for i in range(len(detections))]
    after = [change(region) if region.area else region for region in before]
    return _with(detections, before, after)


def _with(
    detections: Detections, before: list[Region], after: list[Region]
) -> tuple[Detections, int]:
    """The detections with masks `after` instead of `before`, and how many differ. Only boxes whose
    mask changed are replaced: the others stay as the model predicted them.
    """
    boxes_xyxy, changed = detections.boxes_xyxy.clone(), 0
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            boxes_xyxy[i] = boxes_xyxy.new_tensor(new.window)
            changed += 1
    return replace(
        detections, boxes_xyxy=boxes_xyxy, mask_logits=None, regions=tuple(after)
    ), changed


def _area(detections: Detections, least: float) -> tuple[Detections, int]:
    return _where(detections, lambda region: region.area >= least), 0


def _most_area(detections: Detections, most: float) -> tuple[Detections, int]:
    return _where(detections, lambda region: region.area <= most), 0


def _aspect(detections: Detections, least: float) -> tuple[Detections, int]:
    return _where(detections, lambda region: region.area > 0 and axes(region.bits)[1] >= least), 0


def _where(detections: Detections, good: Callable[[Region], bool]) -> Detections:
    return detections[
        torch.tensor([good(detections.region(i)) for i in range(len(detections))], dtype=torch.bool)
    ]


def _merge(detections: Detections, least: float) -> tuple[Detections, int]:
    """Better scores first, each object joins the first of those kept that it duplicates.

    This is non-maximum suppression on masks, but the duplicate's pixels are kept: of an object
    detected in two pieces, both stay.
    """
    regions = [detections.region(i) for i in range(len(detections))]
    before, labels = list(regions), detections.labels.tolist()
    kept: list[int] = []
    for i in detections.scores.argsort(descending=True, stable=True).tolist():
        twin = None
        for k in kept:
            # against what the kept object has become, not what it was detected as
            if labels[k] == labels[i] and _duplicates(regions[k], regions[i], least):
                twin = k
                break
        if twin is None:
            kept.append(i)
        elif detections.has_masks:
            regions[twin] = union([regions[twin], regions[i]])
    if not detections.has_masks:
        return detections[torch.tensor(kept, dtype=torch.int64)], 0
    merged, _ = _with(detections, before, regions)
    changed = sum(before[i] != regions[i] for i in kept)
    return merged[torch.tensor(kept, dtype=torch.int64)], changed


def _duplicates(a: Region, b: Region, least: float) -> bool:
    """Whether the IoU is at least `least`, or the smaller one lies to WITHIN inside the other."""
    shared = overlap(a, b)
    if not shared:
        return False
    areas = a.area, b.area
    return shared >= least * (sum(areas) - shared) or shared >= WITHIN * min(areas)


STEPS: dict[str, Callable[[Detections, float], tuple[Detections, int]]] = {
    "confidence": _confidence,
    "holes": _holes,
    "smoothing": _smoothing,
    "area": _area,
    "most_area": _most_area,
    "aspect": _aspect,
    "merge": _merge,
}
