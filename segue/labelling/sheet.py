"""The sheet: one self-contained HTML page that shows the objects of every image and its doubts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from segue.labelling.auto import DOUBTFUL, LabelJob, Labelled
from segue.labelling.label_files import annotations_of

PICTURE_SIDE = 420
BINS = 10


def write(target: Path, out: Path, splits: dict[str, list[Labelled]], job: LabelJob) -> Path:
    """Write the page to `target`; overlays are read from `out`.

    Doubtful images come first, then those with most objects. splits: the images of each split.
    """
    images = [(split, labelled) for split, done in splits.items() for labelled in done]
    images.sort(key=lambda image: (not image[1].finding.doubt, -len(image[1].finding.shapes)))
    qualities = [shape.quality for _, labelled in images for shape in labelled.finding.shapes]
    doubtful = sum(bool(labelled.finding.doubt) for _, labelled in images)
    facts = {
        "class": job.class_name,
        "images": f"{len(images)}, {doubtful} of them doubtful",
        "objects": str(len(qualities)),
    }
    for split, done in splits.items():
        if done:
            name = f"{split} (not trained on)" if split == DOUBTFUL else split
            file = annotations_of(out, split).relative_to(out).as_posix()
            facts[name] = f"{len(done)} images, {file}"
    template = files("segue.labelling").joinpath("sheet.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(
        title=f"{job.class_name}: what segue label auto found",
        facts=facts,
        settings=job.settings.model_dump(),
        bars=_histogram(qualities),
        rows=[_row(out, split, labelled) for split, labelled in images],
    )
    target.write_text(page, encoding="utf-8")
    return target


def _row(out: Path, split: str, labelled: Labelled) -> dict[str, Any]:
    finding, name = labelled.finding, labelled.name.as_posix()
    qualities = [shape.quality for shape in finding.shapes]
    covered = sum(int(shape.mask.sum()) for shape in finding.shapes)
    pixels = labelled.record.height * labelled.record.width
    return {
        "name": name,
        "part": split,
        "link": labelled.overlay.as_posix(),
        "image": _data_uri(Image.open(out / labelled.overlay)),
        "doubt": finding.doubt,
        "count": len(finding.shapes),
        "quality": f"{np.mean(qualities):.2f}" if qualities else "-",
        "covered": f"{covered / pixels:.0%}",
        "looked_at": f"{finding.plane}, objects {'darker' if finding.dark else 'brighter'} than "
        "their surroundings",
        "width": _length(finding.width, labelled.um),
        "size": f"{labelled.record.width} x {labelled.record.height}",
        "bars": _histogram(qualities),
    }


def _length(pixels: float, um: float | None) -> str:
    return f"{pixels:.0f} px" + (f" = {pixels * um:.1f} um" if um else "")


def _histogram(qualities: Sequence[float]) -> list[dict[str, Any]]:
    """Bars from 0 to 1 with their share of the tallest."""
    counts, edges = np.histogram(qualities, bins=BINS, range=(0, 1))
    tallest = max(int(counts.max()), 1)
    return [
        {
            "label": f"{low:.1f} to {low + 1 / BINS:.1f}",
            "count": int(count),
            "height": round(100 * count / tallest),
        }
        for low, count in zip(edges, counts, strict=False)
    ]


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
