"""Named steps between what a model found and what is counted, each of which can be switched and
leaves a record.

They run in the order of `STEPS`: confidence first, because it is cheap, then what changes masks,
then what looks at them, and duplicates last. Without settings nothing happens.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from scipy import ndimage

from segue.base.settings import Settings
from segue.errors import PlanError
from segue.inference.measure import axes
from segue.structures.detections import Detections
from segue.structures.regions import Region, overlap, union

# This share of an object within a larger one of its class makes it a duplicate, too: a part found a
# second time.
WITHIN = 0.9
TOUCHING = np.ones((3, 3), dtype=int)


class Refine(Settings):
    """What is done, each step only if it has a value.

    confidence: the least score. holes: holes up to this area are filled. smoothing: the deviation
    of the Gaussian that outlines are smoothed with; an object thinner than about 1.4 of it would
    vanish and is left as it was. area, most_area: the least and the largest area. aspect: the least
    ratio of an object's axes (of the ellipse with the same second moments; 1 is round, long tubes
    have 10). merge: objects of one class with at least this IoU are one, and so is one that lies to
    0.9 within another; the better score stays with the union of the masks. unit: of lengths and
    areas, px and px^2 or um and um^2.
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
    """What one step did to one image: how many objects it was given, removed, and gave another
    mask.
    """

    step: str
    setting: float
    given: int
    removed: int = 0
    changed: int = 0


def settings_of(pairs: Sequence[str]) -> Refine:
    """From words such as `area=50` and `unit=um`.

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
    found: Detections, wanted: Refine, um_per_px: float | None = None
) -> tuple[Detections, list[Step]]:
    """The objects that are left, and what each step did.

    Models without masks are measured by their boxes, and have neither holes nor outlines to smooth.

    Raises:
        PlanError: if the settings are in um and the scale is not known.
    """
    if wanted.unit == "um":
        if um_per_px is None:
            raise PlanError(
                "--refine unit=um",
                "an image whose scale is not known",
                "--scale UM_PER_PX, or unit=px",
            )
        wanted = _in_pixels(wanted, um_per_px)
    record = []
    for name, step in STEPS.items():
        value = getattr(wanted, name)
        if value is not None and (found.has_masks or name not in ("holes", "smoothing")):
            left, changed = step(found, value)
            record.append(Step(name, value, len(found), len(found) - len(left), changed))
            found = left
    return found, record


def summary(wanted: Refine, records: dict[str, list[Step]]) -> dict:
    """What `postprocess.json` says: settings, and what each step did to each image and to all."""
    totals: dict[str, dict] = {}
    for step in (step for steps in records.values() for step in steps):
        total = totals.setdefault(step.step, {"given": 0, "removed": 0, "changed": 0})
        for key in total:
            total[key] += getattr(step, key)
    images = {name: [asdict(step) for step in steps] for name, steps in records.items()}
    return {"settings": wanted.model_dump(exclude_none=True), "steps": totals, "images": images}


def _in_pixels(wanted: Refine, um_per_px: float) -> Refine:
    powers = {"holes": 2, "area": 2, "most_area": 2, "smoothing": 1}
    changed = {
        name: value / um_per_px**power
        for name, power in powers.items()
        if (value := getattr(wanted, name)) is not None
    }
    return wanted.model_copy(update={**changed, "unit": "px"})


def _confidence(found: Detections, least: float) -> tuple[Detections, int]:
    return found.above(least), 0


def _holes(found: Detections, most: float) -> tuple[Detections, int]:
    def filled(bits: np.ndarray) -> np.ndarray:
        numbered, _ = ndimage.label(~np.pad(bits, 1))
        areas = np.bincount(numbered.ravel())
        small = areas <= most
        small[[0, numbered[0, 0]]] = False  # the object, and what surrounds it
        return bits | small[numbered][1:-1, 1:-1]

    return _changed(found, lambda region: Region.of(filled(region.bits), region.x, region.y))


def _smoothing(found: Detections, deviation: float) -> tuple[Detections, int]:
    height, width = found.size

    def smooth(region: Region) -> Region:
        room = int(np.ceil(3 * deviation))
        x0, y0 = max(region.x - room, 0), max(region.y - room, 0)
        x1, y1 = (
            min(region.x + region.width + room, width),
            min(region.y + region.height + room, height),
        )
        bits = region.within((x0, y0, x1, y1)).astype(np.float32)
        # "nearest" goes on with the edge of the image, so that objects at the border keep their
        # corners there.
        smoothed = Region.of(ndimage.gaussian_filter(bits, deviation, mode="nearest") > 0.5, x0, y0)
        return smoothed if smoothed.area else region

    return _changed(found, smooth)


def _changed(found: Detections, change: Callable[[Region], Region]) -> tuple[Detections, int]:
    """With every mask changed; boxes of those that are no longer the same follow them."""
    before = [found.region(i) for i in range(len(found))]
    after = [change(region) if region.area else region for region in before]
    return _with(found, before, after)


def _with(found: Detections, before: list[Region], after: list[Region]) -> tuple[Detections, int]:
    boxes_xyxy, changed = found.boxes_xyxy.clone(), 0
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            boxes_xyxy[i] = boxes_xyxy.new_tensor(new.window)
            changed += 1
    return replace(found, boxes_xyxy=boxes_xyxy, mask_logits=None, regions=tuple(after)), changed


def _area(found: Detections, least: float) -> tuple[Detections, int]:
    return _where(found, lambda region: region.area >= least), 0


def _most_area(found: Detections, most: float) -> tuple[Detections, int]:
    return _where(found, lambda region: region.area <= most), 0


def _aspect(found: Detections, least: float) -> tuple[Detections, int]:
    return _where(found, lambda region: region.area > 0 and axes(region.bits)[1] >= least), 0


def _where(found: Detections, good: Callable[[Region], bool]) -> Detections:
    return found[torch.tensor([good(found.region(i)) for i in range(len(found))], dtype=torch.bool)]


def _merge(found: Detections, least: float) -> tuple[Detections, int]:
    """Better scores first, each object joins the first of those kept that it duplicates."""
    regions = [found.region(i) for i in range(len(found))]
    before, labels = list(regions), found.labels.tolist()
    kept: list[int] = []
    for i in found.scores.argsort(descending=True, stable=True).tolist():
        twin = next(
            (
                k
                for k in kept
                if labels[k] == labels[i] and _duplicates(regions[k], regions[i], least)
            ),
            None,
        )
        if twin is None:
            kept.append(i)
        elif found.has_masks:
            regions[twin] = union([regions[twin], regions[i]])
    if not found.has_masks:
        return found[torch.tensor(kept, dtype=torch.int64)], 0
    merged, _ = _with(found, before, regions)
    changed = sum(before[i] != regions[i] for i in kept)
    return merged[torch.tensor(kept, dtype=torch.int64)], changed


def _duplicates(a: Region, b: Region, least: float) -> bool:
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
