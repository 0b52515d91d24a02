"""What the audit can find: every kind of defect with what is done about it, and one finding of such
a kind.

error        training refuses the data until a person has mended the file
quarantine   training refuses this object or image, unless the plan's data.quarantine lists it: then the rest is used
doubtful     training goes on with it; it is in the same list, so that whoever names the list leaves it out
fixed        settled while reading; the file stays as it is
note         good to know
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from segue.data.images.image_io import MOST_PIXELS
from segue.data.records import Problem, Split
from segue.errors import printable

Action = Literal["error", "quarantine", "doubtful", "fixed", "note"]
ACTIONS: tuple[Action, ...] = ("error", "quarantine", "doubtful", "fixed", "note")
REFUSED: tuple[Action, ...] = ("error", "quarantine")
LISTED: tuple[Action, ...] = ("quarantine", "doubtful")
SIDED = "sided classes under a flip"
LONGEST = 300  # characters of a text that came from a file

KINDS: dict[str, tuple[Action, str]] = {
    # annotation files
    "unreadable annotations": ("error", "nothing of it can be read"),
    "two JSON texts in one file": ("error", "nothing of it is read: which of the two is meant?"),
    "missing list": ("error", "nothing of it can be read"),
    "entry that is no object": ("error", "it cannot be read"),
    "non-standard key": ("error", "not guessed: rename it in a copy of the file"),
    # classes
    "unknown category": ("quarantine", "the object is left out"),
    "category without a name": ("error", "its objects have no class"),
    "number of classes": ("error", "which names are missing, or too many, is not guessed"),
    "category id twice": ("error", "its objects have no certain class"),
    "category name twice": ("error", "its objects have no certain class"),
    "category names alike": ("note", "they stay different classes"),
    "control characters in a name": ("error", "it would change what terminals and reports show"),
    "sparse category ids": (
        "note",
        "labels are 0..K-1 in order of id; predictions get the file's ids",
    ),
    "category without objects": ("note", "it is no class, unless data.classes names it"),
    "category id 0 is a class": ("note", "it is trained like any other"),
    SIDED: ("note", "set augment.flip: 0: a mirrored left is a right"),
    # images as listed
    "missing image": ("quarantine", "its objects are left out"),
    "image outside the folder": ("quarantine", "it is not opened"),
    "path in a file name": ("fixed", "looked for inside the data set only"),
    "missing annotation file": ("quarantine", "the image that a list names is left out"),
    "image name twice": ("quarantine", "the second is left out"),
    "image id twice": ("quarantine", "the second entry is left out"),
    "image listed twice": ("doubtful", "each entry's objects are missing in the other"),
    "impossible size": ("quarantine", "nothing is drawn at this size"),
    "missing size": ("fixed", "taken from the file"),
    "image entry without id or name": ("quarantine", "it is left out"),
    "image without objects": ("note", "kept: it shows what is no object"),
    "unlabelled image": ("note", "not used"),
    "macOS companion file": ("note", "ignored: it is no image and no annotation file"),
    # image files
    "empty image file": ("quarantine", "the image and its objects are left out"),
    "damaged image": ("quarantine", "the image and its objects are left out"),
    "missing partner": ("quarantine", "the image and its objects are left out"),
    "several partners": ("quarantine", "the image and its objects are left out"),
    "partner of another size": ("quarantine", "the image and its objects are left out"),
    "image too large": ("quarantine", "it is not decoded"),
    "size off by one": ("fixed", "a row or column is repeated or cut at the end; coordinates stay"),
    "size other than annotated": ("quarantine", "its coordinates may mean another picture"),
    "annotated before turning": (
        "quarantine",
        "its objects lie where the picture was before its EXIF mark turned it",
    ),
    "turned by EXIF": ("note", "turned as the mark says, as annotation tools show it"),
    "other channels": ("quarantine", "the model has other channels"),
    "channel of another name": ("note", "the plan's name is used"),
    "quarantine list": ("note", "what it names is not used"),
    "several formats": ("note", "one of them is read: data.format in the plan says which"),
    "mixed kinds of images": ("note", "grey becomes three equal channels, transparency is dropped"),
    "wide values without a scale": (
        "note",
        "they are divided by the type's largest: set data.channels.scale",
    ),
    "values beyond the scale": ("note", "they become larger than 1: set data.channels.scale"),
    # shapes
    "number that is none": ("quarantine", "the object is left out"),
    "coordinates far outside": ("quarantine", "the object is left out"),
    "polygon without area": ("fixed", "this part of the object is left out"),
    "polygon outside its list": ("fixed", "read as the object's only polygon"),
    "polygon that is none": ("quarantine", "the object is left out"),
    "polygon that crosses itself": (
        "note",
        "filled where its outline goes around an odd number of times",
    ),
    "RLE of another size": ("quarantine", "the object is left out"),
    "RLE of a wrong sum": ("quarantine", "the object is left out"),
    "RLE that is none": ("quarantine", "the object is left out"),
    "RLE bomb": ("quarantine", "it is not decoded"),
    "box without a mask": ("note", "it takes part in box losses only"),
    "mask without a box": ("fixed", "the box is drawn around the mask"),
    "neither box nor mask": ("quarantine", "the object is left out"),
    "box outside the image": ("fixed", "the object is left out"),
    "box partly outside": ("fixed", "clipped to the image"),
    "box without area": ("fixed", "the object is left out"),
    "corners written as width and height": ("doubtful", "the box is used as it says"),
    "box that does not match its mask": ("doubtful", "both are used as they say"),
    "area of the box, not the mask": ("fixed", "computed anew from the mask"),
    "shape that is none": ("quarantine", "the object is left out"),
    "corners in the wrong order": ("quarantine", "the object is left out"),
    "difficult object": ("note", "ignored, as VOC does: neither trained on nor counted"),
    # pictures of masks
    "mask of another size": ("quarantine", "the image and its objects are left out"),
    "mask that is no label image": ("quarantine", "the image and its objects are left out"),
    "images without masks": ("note", "not used: nothing says what they show"),
    "folder of a class or an image": ("error", "not guessed: rename folders or files in a copy"),
    "foreground, not objects": ("error", "not guessed: number the objects in copies of the masks"),
    "object in several pieces": ("note", "it stays one object"),
    # objects and images together
    "object of an unknown image": ("quarantine", "the object is left out"),
    "object id twice": ("fixed", "ids of objects are only used in messages"),
    "shape without area": ("note", "points and lines are no objects"),
    "region without a class": ("fixed", "it gets a class name of its own"),
    "object twice": ("doubtful", "both are trained"),
    "same picture twice": ("doubtful", "both are used"),
    "same picture in two parts": ("doubtful", "measured on what was learned"),
    "changed copy of a picture": ("doubtful", "both are used"),
    "one scene in two parts": ("note", "segue data split keeps views of a scene together"),
    "too many pictures to compare": ("note", "only byte-equal ones were found"),
    "more objects than COCO counts": (
        "note",
        "as many detections are counted as the fullest image needs",
    ),
    "other": ("error", "it cannot be used"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect: where it is and what was found. part: train, valid, ...; image, annotation: ids
    in `file`.

    path: the image's file, where there is one. where: the place as messages write it.
    """

    kind: str
    part: str
    file: str
    found: str
    image: int | str | None = None
    annotation: int | str | None = None
    path: str = ""
    where: str = ""
    settled: bool = False  # whether reading has settled it: such a finding is never refused

    @property
    def action(self) -> Action:
        action = KINDS[self.kind][0]
        return "fixed" if self.settled and action in REFUSED else action

    @property
    def done(self) -> str:
        return KINDS[self.kind][1]

    @property
    def place(self) -> str:
        """File, image id and annotation id in one line."""
        ids = [f"image {self.image}"] * (self.image is not None)
        ids += [f"annotation {self.annotation}"] * (self.annotation is not None)
        return ": ".join([printable(self.file), *([plain(", ".join(ids))] if ids else [])])

    def as_dict(self) -> dict[str, Any]:
        return {"action": self.action, **asdict(self), "done": self.done}


def plain(text: object) -> str:
    """A text from a file on one line that is safe to print, and not endless."""
    shown = printable(str(text)[: LONGEST + 1]).replace("\n", "\\n")
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


# What formats say about a problem, and which kind it is. The first that is found counts.
WORDS = [
    (r"^\d+ images without a mask", "images without masks"),
    (r": classes or images\?$", "folder of a class or an image"),
    (r"^no annotation file", "missing annotation file"),
    (r"^\d+ objects are difficult", "difficult object"),
    (r"but its mask's is", "box that does not match its mask"),
    (r"^corners ", "corners in the wrong order"),
    (r"^a mask of \d+ x \d+ pixels", "mask of another size"),
    (r"^a mask (as|of|with) ", "mask that is no label image"),
    (r" pieces of each number", "foreground, not objects"),
    (r"lie in several pieces$", "object in several pieces"),
    (r"^the same name as|^a second (?!category)", "image name twice"),
    (
        r"^\d+ columns$|^'|^no shape_attributes|^shape(_type)? '|^(rectangle|circle) of",
        "shape that is none",
    ),
    (r"^\d+ x and \d+ y$|^(xtl|xbr|cx|rotation|left)\b.*: '", "shape that is none"),
    (r"^shapes without area", "shape without area"),
    (r"regions without a class", "region without a class"),
    (r"holds NaN or infinity|with NaN or infinity", "number that is none"),
    (r"^polygon reaching|^box .* far from", "coordinates far outside"),
    (r"has no area inside", "box outside the image"),
    (r"reaches out of the image", "box partly outside"),
    (r"points without area", "polygon without area"),
    (
        r"^(box|quality|polygon|point) \[|^segmentation of|^coordinates |^radii ",
        "number that is none",
    ),
    (r"^polygon|^points|pairs$", "polygon that is none"),
    (r"^run lengths for size", "RLE of another size"),
    (r"^(run lengths|rle) that cover", "RLE of a wrong sum"),
    (r"^run lengths|^rle|^mask ", "RLE that is none"),
    (r"^category id .* unknown|^class |^no label|^attributes ", "unknown category"),
    (r"^neither bbox|^no bndbox", "neither box nor mask"),
    (r"^image_id .* is not in", "object of an unknown image"),
    (r"^the id of both", "id twice"),
    (r"^a second category", "category name twice"),
    (r"^nc: ", "number of classes"),
    (r"^names? ", "category without a name"),
    (r"^file_name |^no filename", "image entry without id or name"),
    (r"^height and width missing", "missing size"),
    (r"^height .* width|^\d+ x \d+ pixels$", "impossible size"),
    (r"^no (file|image)\b", "missing image"),
    (r"are not objects$", "entry that is no object"),
    (r"Extra data", "two JSON texts in one file"),
    (r"^no list", "missing list"),
    (
        r"not readable|^no such (file|folder)|^a document type|^elements \d+ deep",
        "unreadable annotations",
    ),
    (r"^\d+ images and \d+ objects are left out$", "quarantine list"),
    (r"^also looks like ", "several formats"),
    (r"^its description calls", "channel of another name"),
    (r"^no partner ", "missing partner"),
    (r"^several partners ", "several partners"),
    (r"^a partner of ", "partner of another size"),
    (r"^\d+ pixels|exceeds limit", "image too large"),
    (r"channels", "other channels"),
    (r"cannot be decoded|no readable image header", "damaged image"),
]
PLACE = re.compile(
    r"(?P<file>.*?): (?:annotation (?P<annotation>\S+)|image (?P<image>\S+)|category \S+|"
    r"(?:(?P<named>.+): )?(?P<shape>\w+ \d+))(?: \((?P<name>.*)\))?"
)


def of_problems(split: Split) -> list[Finding]:
    """What was met while reading, as findings."""
    by_name = {record.image.name: record for record in split.records}
    return [of_problem(problem, split.name, by_name) for problem in split.problems]


def of_problem(problem: Problem, part: str, by_name: dict[str, Any]) -> Finding:
    """One problem as a finding. by_name: the records by the names of their images."""
    place = PLACE.fullmatch(problem.where)
    file, ids = (place["file"], place.groupdict()) if place else (problem.where, {})
    record = by_name.get(ids.get("named") or ids.get("name") or "")
    image = ids.get("image") if record is None else record.id
    kind = kind_of(problem)
    return Finding(
        kind=kind if kind in KINDS else "other",
        part=part,
        file=file,
        found=plain(problem.found),
        image=_number(image),
        annotation=_number(ids.get("annotation") or ids.get("shape")),
        path=str(record.image) if record is not None else "",
        where=problem.where,
        settled=problem.severity != "error",
    )


def kind_of(problem: Problem) -> str:
    """The kind of what a format or decoder has said."""
    kind = next((kind for words, kind in WORDS if re.search(words, problem.found)), "other")
    if kind == "id twice":
        return "category id twice" if ": category " in problem.where else "image id twice"
    if kind == "RLE of another size":
        sides = [int(side) for side in re.findall(r"\d{1,18}", problem.found)]
        return "RLE bomb" if len(sides) == 2 and sides[0] * sides[1] > MOST_PIXELS else kind
    if kind == "box outside the image":
        x0, y0, x1, y1 = (
            float(v) for v in re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", problem.found)[:4]
        )
        return "box without area" if x1 <= x0 or y1 <= y0 else kind
    return kind


def _number(text: str | int | None) -> str | int | None:
    return int(text) if isinstance(text, str) and re.fullmatch(r"-?\d{1,18}", text) else text


def counted(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings by kind, the gravest first, then the most frequent."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    gravest = {
        kind: min(ACTIONS.index(one.action) for one in some) for kind, some in by_kind.items()
    }
    return dict(sorted(by_kind.items(), key=lambda entry: (gravest[entry[0]], -len(entry[1]))))


def summed(some: Sequence[Finding]) -> str:
    """Findings of one kind in a line."""
    first = some[0]
    return (
        f"{first.action}: {first.kind}, {len(some)} times; {first.done} (first: "
        f"{first.place}: {first.found})"
    )


def refused(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep the data from being trained on."""
    return [finding for finding in findings if finding.action in REFUSED]
