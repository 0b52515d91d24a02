"""What the audit found as one HTML page that needs no other file, with pictures of the worst."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image, ImageDraw

from segue.data.formats._shapes import mask_box
from segue.data.images import image_io
from segue.data.problems import Place, Problem, by_kind
from segue.data.records import Annotation, Record, Split
from segue.errors import DataError
from segue.evaluation.overlay import as_picture, draw_truth

SHOWN = 36
SHOWN_OF_A_KIND = 3
PLACES_OF_A_KIND = 200
PICTURE_SIDE = 320
AROUND = 0.7  # of an object's longer side, shown on each side of it
BOX = (255, 90, 90)


def render(
    title: str, facts: dict[str, str], problems: Sequence[Problem], splits: dict[str, Split]
) -> str:
    """The page. Everything that comes from files is escaped."""
    template = files("segue.evaluation").joinpath("audit.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    kinds = by_kind(problems)
    records = {str(record.image): record for split in splits.values() for record in split.records}
    return environment.from_string(template).render(
        title=title,
        facts=facts,
        kinds=kinds,
        pictures=_pictures(kinds, records),
        most=PLACES_OF_A_KIND,
    )


def _pictures(kinds: dict[str, list[Problem]], records: dict[str, Record]) -> list[dict[str, Any]]:
    """The first few of each kind that have an image, the gravest kinds first."""
    chosen = [problem for same in kinds.values() for problem in _first(same)]
    return [
        {
            "problem": problem,
            "name": Path(problem.place.image).name,
            "image": _picture(problem.place, records.get(problem.place.image)),
        }
        for problem in chosen[:SHOWN]
    ]


def _first(same: list[Problem]) -> list[Problem]:
    """A few problems of one kind, of different images if there are enough."""
    first_of_image: dict[str, Problem] = {}
    others = []
    for problem in same:
        if (
            problem.place.image
            and first_of_image.setdefault(problem.place.image, problem) != problem
        ):
            others.append(problem)
    first_of_image.pop("", None)
    return [*first_of_image.values(), *others][:SHOWN_OF_A_KIND]


def _picture(place: Place, record: Record | None) -> str | None:
    """The image with the object that is meant, cut to its surroundings; None if it cannot be
    decoded.
    """
    try:
        picture = as_picture(image_io.read_for_display(Path(place.image)))
    except DataError:
        return None
    annotation = _annotation(place, record)
    if (
        record is not None
        and annotation is not None
        and picture.size == (record.width, record.height)
    ):
        only = replace(record, annotations=(annotation,))
        picture = draw_truth(picture, only, [annotation.class_name], annotation.mask is not None)
        pen = ImageDraw.Draw(picture)
        pen.rectangle(annotation.box_xyxy, outline=BOX, width=max(1, max(picture.size) // 400))
        picture = picture.crop(_around(annotation, record))
    return _data_uri(picture)


def _annotation(place: Place, record: Record | None) -> Annotation | None:
    if record is None or place.annotation_id is None:
        return None
    return next((a for a in reversed(record.annotations) if a.id == place.annotation_id), None)


def _around(annotation: Annotation, record: Record) -> tuple[int, int, int, int]:
    """The surroundings of an object, its box and its mask, in whole pixels."""
    corners = np.array(annotation.box_xyxy).reshape(2, 2)
    if annotation.mask is not None:
        corners = np.concatenate(
            [corners, np.array(mask_box(annotation.mask, record)).reshape(2, 2)]
        )
    low, high = corners.min(0), corners.max(0)
    margin = AROUND * max(float((high - low).max()), 16.0)
    x0, y0 = np.maximum(low - margin, 0).astype(int).tolist()
    x1, y1 = np.minimum(high + margin + 1, (record.width, record.height)).astype(int).tolist()
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _data_uri(picture: Image.Image) -> str:
    factor = PICTURE_SIDE / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
