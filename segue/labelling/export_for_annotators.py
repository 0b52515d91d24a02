"""Images with what was found in them, for people to correct: one folder for each program, ready to
be opened.

    OUT/cvat/annotations.xml + images/     OUT/labelme/NAME.json beside its image     OUT/coco/_annotations.coco.json
    OUT/overlays/NAME.png                  OUT/pick.json: which image is whose, and why it was picked
    OUT/as_picked.coco.json                the objects once more, to see later which of them a person touched

Images are second names of the files. What those programs cannot show (TIFF, more than 8 bits,
arrays) is a PNG of 8 bits of the same size; `segue label import` finds the file it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.data.formats import WHOLE
from segue.data.formats.coco import ROBOFLOW
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
    """Write the picked images with what was found in them. source: of the objects; ids: of their
    classes, for COCO.

    about: what else the list should say.

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
            write_folder(folder / program, {WHOLE: records}, ids, program, _shown)
        copy(folder / "coco" / ROBOFLOW, folder / AS_PICKED)
        (folder / "overlays").mkdir()
        for pick, name in zip(picks, names, strict=True):
            picture = _overlay(
                as_picture(image_files.read_for_display(pick.candidate.path)),
                pick.candidate.assessment.detections,
            )
            picture.save(folder / "overlays" / f"{Path(name).stem}.png", compress_level=1)
        write_json(folder / LIST, {**about, "picked": entries(picks)})


def record_of(path: Path, found: Detections, source: str) -> Record:
    """What was found as polygons, which people can move; as boxes, of a model without masks."""
    height, width = found.size
    annotations = []
    for i, (box, name, score) in enumerate(
        zip(found.boxes_xyxy.tolist(), found.names, found.scores.tolist(), strict=True)
    ):
        x0, y0, x1, y1 = box
        if not found.has_masks:
            inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
            annotations.append(Annotation(inside, name, None, source=source, quality=score))
        elif found.region(i).counts:
            window = found.region(i).window
            mask = traced(Rle(height, width, found.rle(i)["counts"]))
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
    """The list of a folder that was handed over.

    Raises:
        DataError: if it has none that can be read.
    """
    try:
        content = read_json(folder / LIST)
        texts = [
            content["images"],
            *(entry[key] for entry in content["picked"] for key in ("image", "file")),
        ]
        known = all(isinstance(text, str) for text in texts) and all(map(_inside, texts[1:]))
    except (OSError, ValueError, KeyError, TypeError):
        content, known = {}, False
    if not known:
        raise DataError(folder / LIST, "not readable", "what segue label pick wrote")
    return content


def _inside(name: str) -> bool:
    """Whether a name stays below whatever folder it is put in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _overlay(picture: Image.Image, found: Detections) -> Image.Image:
    """What was found, without words where they would only hide it."""
    if not found.has_masks or len(found.class_names) > 1:
        return draw_detections(picture, found, scores=False)
    regions = [found.region(i) for i in range(len(found))]
    return draw_shapes(
        picture,
        [Shape(r.x, r.y, r.bits, s) for r, s in zip(regions, found.scores.tolist(), strict=True)],
    )


def _file_names(picks: Sequence[Pick]) -> list[str]:
    """File names without folders that differ in more than their suffix."""
    found, taken = [], set()
    for path in (Path(flat(pick.candidate.name)) for pick in picks):
        stem, number = path.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        found.append(stem + path.suffix)
    return found


def _shown(image: Path, target: Path) -> Path:
    """The image as all programs show it."""
    if image.suffix.lower() in SHOWN_BY_ALL and image_files.bits(image) == 8:
        return link(image, target)
    target = target.with_suffix(".png")
    as_picture(image_files.read_for_display(image)).save(target)
    return target
