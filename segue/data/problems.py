"""What can be wrong with a data set: the table of all kinds, and one problem of such a kind.

error        training refuses the data until a person has corrected the file
quarantine   training refuses this object or image, unless the plan's data.quarantine lists it: then
             the rest is used
doubtful     training uses it; it is in the same list, so whoever names the list leaves it out
fixed        settled while reading; the file stays as it is
note         good to know

A problem is data. Whatever acts on one looks at its kind and its place; `found` and `expected` are
for people, and their lines are put together here alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from segue.errors import printable

Action = Literal["error", "quarantine", "doubtful", "fixed", "note"]
Severity = Literal["error", "dropped", "fixed", "note"]
ACTIONS: tuple[Action, ...] = ("error", "quarantine", "doubtful", "fixed", "note")
REFUSED: tuple[Action, ...] = ("error", "quarantine")
LISTED: tuple[Action, ...] = ("quarantine", "doubtful")
SIDED = "sided classes under a flip"
OTHER = "other"  # what a format that is not ours reports under a name the table does not have
LONGEST = 300  # characters of a text that came from a file


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table. advice: what is done about it, or what to do.

    dropped: reading leaves the object out, so that a note about it says "dropped", not "fixed".
    """

    action: Action
    advice: str
    dropped: bool = False


KINDS: dict[str, Kind] = {
    # annotation files
    "unreadable annotations": Kind("error", "nothing of it can be read"),
    "two JSON texts in one file": Kind(
        "error", "nothing of it is read: which of the two is meant?"
    ),
    "missing list": Kind("error", "nothing of it can be read"),
    "entry that is no object": Kind("error", "it cannot be read"),
    "non-standard key": Kind("error", "not guessed: rename it in a copy of the file"),
    # classes
    "unknown category": Kind("quarantine", "the object is left out"),
    "category without a name": Kind("error", "its objects have no class"),
    "number of classes": Kind("error", "which names are missing, or too many, is not guessed"),
    "category id twice": Kind("error", "its objects have no certain class"),
    "category name twice": Kind("error", "its objects have no certain class"),
    "category names alike": Kind("note", "they stay different classes"),
    "control characters in a name": Kind(
        "error", "it would change what terminals and reports show"
    ),
    "sparse category ids": Kind(
        "note",
        "labels are 0..K-1 in order of id; predictions get the file's ids",
    ),
    "category without objects": Kind("note", "it is no class, unless data.classes names it"),
    "category id 0 is a class": Kind("note", "it is trained like any other"),
    SIDED: Kind("note", "set augment.flip: 0: a mirrored left is a right"),
    # images as listed
    "missing image": Kind("quarantine", "its objects are left out"),
    "image outside the folder": Kind("quarantine", "it is not opened"),
    "path in a file name": Kind("fixed", "looked for inside the data set only"),
    "missing annotation file": Kind("quarantine", "the image that a list names is left out"),
    "image name twice": Kind("quarantine", "the second is left out"),
    "image id twice": Kind("quarantine", "the second entry is left out"),
    "image listed twice": Kind("doubtful", "each entry's objects are missing in the other"),
    "impossible size": Kind("quarantine", "nothing is drawn at this size"),
    "missing size": Kind("fixed", "taken from the file"),
    "image entry without id or name": Kind("quarantine", "it is left out"),
    "image without objects": Kind("note", "kept as a negative example"),
    "unlabelled image": Kind("note", "not used"),
    "macOS companion file": Kind("note", "ignored: it is no image and no annotation file"),
    # image files
    "empty image file": Kind("quarantine", "the image and its objects are left out"),
    "damaged image": Kind("quarantine", "the image and its objects are left out"),
    "missing partner": Kind("quarantine", "the image and its objects are left out"),
    "several partners": Kind("quarantine", "the image and its objects are left out"),
    "partner of another size": Kind("quarantine", "the image and its objects are left out"),
    "image too large": Kind("quarantine", "it is not decoded"),
    "size off by one": Kind(
        "fixed", "a row or column is repeated or cut at the end; coordinates stay"
    ),
    "size other than annotated": Kind("quarantine", "its coordinates may mean another picture"),
    "annotated before turning": Kind(
        "quarantine",
        "its objects lie where the picture was before its EXIF mark turned it",
    ),
    "turned by EXIF": Kind("note", "turned as the mark says, as annotation tools show it"),
    "other channels": Kind("quarantine", "the model has other channels"),
    "channel of another name": Kind("note", "the plan's name is used"),
    "quarantine list": Kind("note", "what it names is not used"),
    "several formats": Kind("note", "one of them is read: data.format in the plan says which"),
    "mixed kinds of images": Kind(
        "note", "grey becomes three equal channels, transparency is dropped"
    ),
    "wide values without a scale": Kind(
        "note",
        "they are divided by the type's largest: set data.channels.scale",
    ),
    "values beyond the scale": Kind("note", "they become larger than 1: set data.channels.scale"),
    # shapes
    "number that is none": Kind("quarantine", "the object is left out"),
    "coordinates far outside": Kind("quarantine", "the object is left out"),
    "polygon without area": Kind("fixed", "this part of the object is left out", dropped=True),
    "polygon outside its list": Kind("fixed", "read as the object's only polygon"),
    "polygon that is none": Kind("quarantine", "the object is left out"),
    "polygon that crosses itself": Kind(
        "note",
        "filled where its outline goes around an odd number of times",
    ),
    "RLE of another size": Kind("quarantine", "the object is left out"),
    "RLE of a wrong sum": Kind("quarantine", "the object is left out"),
    "RLE that is none": Kind("quarantine", "the object is left out"),
    "RLE bomb": Kind("quarantine", "it is not decoded"),
    "box without a mask": Kind("note", "it takes part in box losses only"),
    "mask without a box": Kind("fixed", "the box is drawn around the mask"),
    "neither box nor mask": Kind("quarantine", "the object is left out"),
    "box outside the image": Kind("fixed", "the object is left out", dropped=True),
    "box partly outside": Kind("fixed", "clipped to the image"),
    "box without area": Kind("fixed", "the object is left out", dropped=True),
    "corners written as width and height": Kind("doubtful", "the box is used as it says"),
    "box that does not match its mask": Kind("doubtful", "both are used as they say"),
    "area of the box, not the mask": Kind("fixed", "computed again from the mask"),
    "shape that is none": Kind("quarantine", "the object is left out"),
    "corners in the wrong order": Kind("quarantine", "the object is left out"),
    "difficult object": Kind("note", "ignored, as VOC does: neither trained on nor counted"),
    # pictures of masks
    "mask of another size": Kind("quarantine", "the image and its objects are left out"),
    "mask that is no label image": Kind("quarantine", "the image and its objects are left out"),
    "images without masks": Kind("note", "not used: nothing says what they show"),
    "folder of a class or an image": Kind(
        "error", "not guessed: rename folders or files in a copy"
    ),
    "foreground, not objects": Kind(
        "error", "not guessed: number the objects in copies of the masks"
    ),
    "object in several pieces": Kind("note", "it stays one object"),
    # objects and images together
    "object of an unknown image": Kind("quarantine", "the object is left out"),
    "object id twice": Kind("fixed", "ids of objects are only used in messages"),
    "shape without area": Kind("note", "points and lines are no objects"),
    "region without a class": Kind("fixed", "it gets a class name of its own"),
    "object twice": Kind("doubtful", "both are trained"),
    "same picture twice": Kind("doubtful", "both are used"),
    "same picture in two parts": Kind("doubtful", "measured on what was learned"),
    "changed copy of a picture": Kind("doubtful", "both are used"),
    "one scene in two parts": Kind("note", "segue data split keeps views of a scene together"),
    "too many pictures to compare": Kind("note", "only byte-equal ones were found"),
    "more objects than COCO counts": Kind(
        "note",
        "as many detections are counted as the fullest image needs",
    ),
    "other": Kind("error", "it cannot be used"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is.

    file: the annotation file, or the image where no other file speaks of it. line: counted from 1,
    in formats with a line for each object. item: what else messages call it, such as `category 3`;
    without one they give the ids. image_id, annotation_id: as the file has them; where it has none,
    what tells the item from the others of the file, such as `line 12` (quarantine lists go by them,
    so that they must not depend on other files). image: path of the image. name: what the file
    calls an image that cannot be used.
    """

    file: str
    item: str = ""
    line: int | None = None
    image_id: int | str | None = None
    annotation_id: int | str | None = None
    image: str = ""
    name: str = ""

    @property
    def within(self) -> str:
        """The place in its file; empty for the file as a whole."""
        if self.item or self.line is not None:
            return plain(self.item or f"line {self.line}")
        ids = [] if self.image_id is None else [f"image {self.image_id}"]
        ids += [] if self.annotation_id is None else [f"annotation {self.annotation_id}"]
        return plain(", ".join(ids))

    def __str__(self) -> str:
        file = printable(self.file)
        if self.line is not None:
            return f"{file}:{self.line}"
        return f"{file}: {self.within}" if self.within else file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, doubtful or good to know.

    kind: a row of KINDS. found, expected: in words, for people. split: train, valid, ...; reading
    leaves it open, because a problem lies in the split that lists it. listed: a quarantine list
    names it, so that training does not refuse it.
    """

    kind: str
    place: Place
    found: str
    expected: str = ""
    split: str = ""
    listed: bool = False

    @property
    def row(self) -> Kind:
        return KINDS.get(self.kind, KINDS[OTHER])

    @property
    def action(self) -> Action:
        return "fixed" if self.listed and self.row.action in REFUSED else self.row.action

    @property
    def severity(self) -> Severity:
        """The action as reading reports it: refused, left out, corrected, or just noted."""
        if self.listed or self.row.dropped:
            return "dropped"
        if self.row.action in REFUSED:
            return "error"
        return "fixed" if self.row.action == "fixed" else "note"

    @property
    def where(self) -> str:
        return str(self.place)

    @property
    def message(self) -> str:
        """What was found and what is expected, without the place."""
        return plain(self.found) + (f"; expected {self.expected}" if self.expected else "")

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """An entry of findings.json."""
        return {
            "action": self.action,
            "kind": self.kind,
            "part": self.split,
            "file": self.place.file,
            "found": plain(self.found),
            "expected": self.expected,
            "image": self.place.image_id,
            "annotation": self.place.annotation_id,
            "path": self.place.image,
            "where": self.where,
            "settled": self.listed or self.action in ("fixed", "note"),
            "done": self.row.advice,
        }


def plain(text: object) -> str:
    """A text from a file on one line that is safe to print, and not endless."""
    shown = printable(str(text)[: LONGEST + 1]).replace("\n", "\\n")
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


def by_kind(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    """Problems of each kind, the gravest kinds first, then the most frequent."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)

    def rank(kind: str) -> tuple[int, int]:
        same = kinds[kind]
        return min(ACTIONS.index(problem.action) for problem in same), -len(same)

    return {kind: kinds[kind] for kind in sorted(kinds, key=rank)}


def summary(same: Sequence[Problem]) -> str:
    """Problems of one kind in a line."""
    first = same[0]
    return (
        f"{first.action}: {first.kind}, {len(same)} times; {first.row.advice} "
        f"(first: {first.where}: {first.message})"
    )


def refused(problems: Iterable[Problem]) -> list[Problem]:
    """Those that keep the data from being trained on."""
    return [problem for problem in problems if problem.action in REFUSED]
