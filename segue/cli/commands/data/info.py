"""`segue data info`: what is in a data set, counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from segue.data.dataset import Data, read_splits
from segue.data.formats import coco
from segue.data.images import image_io
from segue.data.records import Split, names_in
from segue.data.scene_groups import groups
from segue.errors import DataError


def describe_data(root: Path, pattern: str | None, as_json: bool) -> str:
    """Text or JSON of the figures of each split, of groups in several splits, and of the problems
    met.

    Several annotation files for one split (of two sources, say) are counted file by file. pattern:
    see `scene_groups.group_of`.

    Raises:
        DataError: if there is no data set that can be read.
    """
    splits = _read(root)
    parts = {name: part_figures(split, pattern) for name, split in splits.items()}
    homes: dict[str, list[str]] = {}
    for name, split in splits.items():
        for group in groups(names_in(split.records), pattern):
            homes.setdefault(group, []).append(name)
    shared = {group: names for group, names in homes.items() if len(names) > 1}
    problems = [str(problem) for split in splits.values() for problem in split.problems]
    if as_json:
        return json.dumps({"parts": parts, "groups_in_several_parts": shared, "problems": problems})
    lines = [line for name, figures in parts.items() for line in _lines(name, figures)]
    if shared:
        first = ", ".join(
            f"{group} ({', '.join(names)})" for group, names in list(shared.items())[:3]
        )
        lines.append(f"{len(shared)} groups are in several splits: {first}")
    return "\n".join([*lines, *problems])


def _read(root: Path) -> dict[str, Split]:
    try:
        return read_splits(Data(root=root))
    except DataError:
        files = coco.read_files(root)
        if not files:
            raise
        return files


def part_figures(split: Split, pattern: str | None = None) -> dict[str, Any]:
    """Exact counts of one split.

    Crowds are counted separately; image headers are read for the bits of a value.
    """
    objects = [a for record in split.records for a in record.annotations if not a.crowd]
    return {
        "images": len(split.records),
        "groups": len(groups(names_in(split.records), pattern)),
        "objects": len(objects),
        "classes": dict(Counter(a.class_name for a in objects)),
        "sources": dict(Counter(a.source for a in objects)),
        "with_masks": sum(a.mask is not None for a in objects),
        "crowds": sum(a.crowd for record in split.records for a in record.annotations),
        "empty_images": sum(not record.annotations for record in split.records),
        "most_objects": split.most_objects(),
        "sizes": dict(
            Counter(f"{record.width} x {record.height}" for record in split.records).most_common()
        ),
        "bits": _bits(split),
    }


def _bits(split: Split) -> dict[str, Any]:
    """How many images have values of how many bits, and the largest value of those with more than
    8.
    """
    counts: Counter[str] = Counter()
    largest = 0.0
    for record in split.records:
        try:
            depth = image_io.bits(record.image)
            # the only ones that must be decoded to see how many of their bits are used
            if depth > 8:
                largest = max(largest, float(image_io.read_stack(record.image).max()))
        except DataError:
            counts["unreadable"] += 1
            continue
        counts[str(depth)] += 1
    return {**counts, **({"largest_value": largest} if largest else {})}


def _lines(name: str, figures: dict[str, Any]) -> list[str]:
    listed = {
        key: ", ".join(f"{what} {count}" for what, count in figures[key].items())
        for key in ("classes", "sources")
    }
    sizes = ", ".join(f"{size} ({count})" for size, count in list(figures["sizes"].items())[:5])
    depth = dict(figures["bits"])
    largest = depth.pop("largest_value", None)
    bits = ", ".join(
        f"{bits} bits ({count})" if bits.isdigit() else f"{bits} ({count})"
        for bits, count in depth.items()
    )
    crowds = f", {figures['crowds']} crowd regions" if figures["crowds"] else ""
    return [
        f"{name}: {figures['images']} images in {figures['groups']} groups, {figures['objects']} "
        f"objects{crowds}",
        f"  classes: {listed['classes'] or 'none'}",
        f"  sources: {listed['sources'] or 'none'}; {figures['with_masks']} objects have masks",
        f"  at most {figures['most_objects']} objects in an image, {figures['empty_images']} "
        "images without any",
        f"  pixels: {sizes or 'none'}; {bits}"
        + (f", largest value {largest:g}" if largest else ""),
    ]
