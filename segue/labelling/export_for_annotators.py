"""Picked images with their objects, for people to correct: one folder for each program.

    OUT/cvat/annotations.xml + images/      OUT/labelme/NAME.json next to its image
    OUT/coco/_annotations.coco.json         OUT/overlays/NAME.png
    OUT/pick.json                           the image of each file, and why it was picked
    OUT/as_picked.coco.json                 the objects, to tell later which a person changed

Images are links. What those programs cannot show (TIFF, more than 8 bits, arrays) becomes a PNG of
8 bits of the same size; `segue label import` finds the file it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.data.formats import WHOLE
from segue.data.formats._coco_files import ROBOFLOW
from segue.data.images import image_io as image_files
from segue.data.records import Annotation, Record
from segue.data.writing.folders import OutputFormat, copy, link, new_folder, write_folder
from segue.errors import DataError
from segue.evaluation.overlay import as_picture, draw_detections
from segue.labelling.kinds import Shape
from segue.labelling.pick import Pick
from segue.labelling.pictures import draw_shapes
from segue.labelling.sources import flat
from segue.structures.detections import Detections
from segue.structures.masks import Rle
from segue.structures.outlines import traced

PROGRAMS: tuple[OutputFormat, ...] = ("cvat", "labelme", "coco")
SHOWN_BY_ALL = (".png", ".jpg", ".jpeg")
LIST = "pick.json"
AS_PICKED = "as_picked.coco.json"


def export_picks(
    out: Path, picks: Sequence[Pick], source: str, ids: Mapping[str, int], about: Mapping[str, Any]
) -> None:
    """Write the picked images with their objects.

    source: of the objects. ids: of their classes, for COCO. about: further entries of the list.

    Raises:
        PlanError: if `out` exists.
    """
    names = _file_names(picks)
    records = [
        (record_of(pick.candidate.path, pick.candidate.assessment.detections, source), name)
        for pick, name in zip(picks, names, strict=True)
    ]
    with new_folder(out) as folder:
        for program in PROGRAMS:
            write_folder(folder / program, {WHOLE: records}, ids, program, _put_viewable)
        copy(folder / "coco" / ROBOFLOW, folder / AS_PICKED)
        (folder / "overlays").mkdir()
        for pick, name in zip(picks, names, strict=True):
            picture = _overlay(
                as_picture(image_files.read_for_display(pick.candidate.path)),
                pick.candidate.assessment.detections,
            )
            picture.save(folder / "overlays" / f"{Path(name).stem}.png", compress_level=1)
        write_json(folder / LIST, {**about, "picked": entries(picks)})


def record_of(path: Path, detections: Detections, source: str) -> Record:
    """Detections as polygons, whose points people can move; as boxes, of a model without masks.

    Objects without a pixel are left out.
    """
    height, width = detections.size
    annotations = []
    for i, (box, name, score) in enumerate(
        zip(
            detections.boxes_xyxy.tolist(),
            detections.names,
            detections.scores.tolist(),
            strict=True,
        )
    ):
        x0, y0, x1, y1 = box
        if not detections.has_masks:
            inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
            annotations.append(Annotation(inside, name, None, source=source, quality=score))
        elif detections.region(i).counts:
            window = detections.region(i).window
            mask = traced(Rle(height, width, detections.rle(i)["counts"]))
            x0, y0, x1, y1 = (float(v) for v in window)
            annotations.append(
                Annotation((x0, y0, x1, y1), name, mask, source=source, quality=score)
            )
    return Record(path, height, width, 0, tuple(annotations))


def entries(picks: Sequence[Pick]) -> list[dict[str, Any]]:
    """The list of picked images, best first.

    file: an image's name, without suffix, in the folders of programs.
    """
    return [
        {
            "image": pick.candidate.name,
            "file": Path(name).stem,
            "group": pick.candidate.group,
            "disagreement": pick.candidate.assessment.disagreement,
            "objects": len(pick.candidate.assessment.detections),
            "distance": pick.distance,
            "nearest": pick.nearest,
            "reason": pick.reason,
        }
        for pick, name in zip(picks, _file_names(picks), strict=True)
    ]


def read_list(folder: Path) -> dict[str, Any]:
    """The list of a pick folder.

    Raises:
        DataError: if it has none that can be read.
    """
    content: dict[str, Any] = {}
    try:
        content = read_json(folder / LIST)
        texts = [
            content["images"],
            *(entry[key] for entry in content["picked"] for key in ("image", "file")),
        ]
        known = all(isinstance(text, str) for text in texts) and all(map(_inside, texts[1:]))
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise DataError(folder / LIST, "not readable", "what segue label pick wrote")
    return content


def _inside(name: str) -> bool:
    """Whether a name stays below whatever folder it is put in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _overlay(picture: Image.Image, detections: Detections) -> Image.Image:
    """The detections drawn on a picture; without labels, which hide objects, where all are one
    class.
    """
    if not detections.has_masks or len(detections.class_names) > 1:
        return draw_detections(picture, detections, scores=False)
    regions = [detections.region(i) for i in range(len(detections))]
    return draw_shapes(
        picture,
        [
            Shape(r.x, r.y, r.bits, s)
            for r, s in zip(regions, detections.scores.tolist(), strict=True)
        ],
    )


def _file_names(picks: Sequence[Pick]) -> list[str]:
    """File names without folders that differ in more than their suffix."""
    names: list[str] = []
    taken: set[str] = set()
    for path in (Path(flat(pick.candidate.name)) for pick in picks):
        stem, number = path.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        names.append(stem + path.suffix)
    return names


def _put_viewable(image: Path, target: Path) -> Path:
    """Put an image to `target` in a form that all programs show; returns where it is."""
    if image.suffix.lower() in SHOWN_BY_ALL and image_files.bits(image) == 8:
        return link(image, target)
    target = target.with_suffix(".png")
    as_picture(image_files.read_for_display(image)).save(target)
    return target
