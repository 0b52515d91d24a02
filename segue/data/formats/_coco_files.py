"""Where the annotation files of a COCO data set are."""

from __future__ import annotations

import re
from pathlib import Path

from segue.data.formats import SplitSource, _shapes
from segue.data.records import SPLIT_WORDS
from segue.errors import DataError

ROBOFLOW = "_annotations.coco.json"


class SeveralFiles(DataError):
    """Several annotation files for one split."""


def roboflow(root: Path) -> dict[str, SplitSource]:
    folders = {name: [root / word for word in words] for name, words in SPLIT_WORDS.items()}
    there = {
        name: [path for path in paths if (path / ROBOFLOW).is_file()]
        for name, paths in folders.items()
    }
    return {
        name: SplitSource(paths[0] / ROBOFLOW, (paths[0], paths[0] / "images"))
        for name, paths in there.items()
        if paths
    }


def by_name(root: Path) -> dict[str, list[Path]]:
    """The files of `annotations` for each split, by the words in their names.

    COCO's own folder also has captions_ and person_keypoints_ files, of which only instances_ are
    meant.
    """
    by_split: dict[str, list[Path]] = {}
    for path in sorted((root / "annotations").glob("*.json")):
        # macOS companions
        spoken: list[str] = (
            [] if path.name.startswith("._") else re.findall("[a-z]+", path.stem.lower())
        )
        for name, words in SPLIT_WORDS.items():
            if any(word in spoken for word in words):
                by_split.setdefault(name, []).append(path)
    for name, paths in by_split.items():
        by_split[name] = [path for path in paths if "instances" in path.stem] or paths
    return {name: by_split[name] for name in SPLIT_WORDS if name in by_split}


def whole(root: Path) -> list[Path]:
    """The one file of a folder that is not divided."""
    paths = [
        p
        for folder in (root, root / "annotations")
        for p in sorted(folder.glob("*.json"))
        if looks_like_coco(p)
    ]
    return paths if len(paths) == 1 else []


def looks_like_coco(path: Path) -> bool:
    head = _shapes.head(path)
    ours = any(word in head for word in (b'"images"', b'"annotations"', b'"categories"'))
    return (
        path.suffix == ".json"
        and ours
        and not any(word in head for word in (b'"_via_', b'"shapes"'))
    )


def refuse_several(root: Path, name: str, files: list[Path]) -> None:
    several = f"several files for {name}: " + ", ".join(path.name for path in files)
    plan = (
        f"in the plan, data: {{{name}: {{annotations: {files[0]}, images: "
        f"{root / 'images'}}}, ...}}"
    )
    raise SeveralFiles(root / "annotations", several, "one, or the one that is meant by name", plan)
