"""COCO files joined as they are, without their images: fields that segue does not know stay."""

from __future__ import annotations

from typing import Any

from segue.errors import DataError

Content = dict[str, Any]


def combined(first: Content, second: Content) -> Content:
    """Both files as one: categories united by name, images by file name.

    What the first file has keeps its ids; what only the second has gets the next free ones.

    Raises:
        DataError: if an image has another size in the other file, an entry has no id or name, or an
        annotation refers to an image or category that is not there.
    """
    content = {
        **second,
        **first,
        "images": list(first["images"]),
        "annotations": list(first["annotations"]),
    }
    content["categories"] = list(first["categories"])
    categories = _joined(content["categories"], second["categories"], "name")
    known = {image.get("file_name"): image for image in content["images"]}
    for image in second["images"]:
        same = known.get(image.get("file_name"), image)
        if any(same.get(side) != image.get(side) for side in ("height", "width")):
            sizes = [f"{entry.get('width')} x {entry.get('height')}" for entry in (same, image)]
            raise DataError(
                str(image.get("file_name")),
                " and ".join(sizes) + " pixels",
                "one size in both files",
            )
    images = _joined(content["images"], second["images"], "file_name")
    last = max(
        (entry["id"] for entry in content["annotations"] if isinstance(entry.get("id"), int)),
        default=0,
    )
    for number, entry in enumerate(second["annotations"], last + 1):
        if entry.get("image_id") not in images or entry.get("category_id") not in categories:
            ids = f"image_id {entry.get('image_id')!r}, category_id {entry.get('category_id')!r}"
            raise DataError(f"annotation {entry.get('id')}", ids, "ids that the file has")
        moved = {
            "image_id": images[entry["image_id"]],
            "category_id": categories[entry["category_id"]],
        }
        content["annotations"].append({**entry, "id": number, **moved})
    return content


def _joined(entries: list[dict[str, Any]], more: list[dict[str, Any]], key: str) -> dict[Any, int]:
    """Add to `entries` those of `more` whose `key` they lack; returns the new id of each id of
    `more`.
    """
    for entry in (*entries, *more):
        if not isinstance(entry.get("id"), int) or not isinstance(entry.get(key), str):
            raise DataError(
                "COCO file",
                f"an entry with id {entry.get('id')!r} and {key} {entry.get(key)!r}",
                "both",
            )
    known = {entry[key]: entry["id"] for entry in entries}
    ids: dict[Any, int] = {}
    next_id = max(known.values(), default=0) + 1
    for entry in more:
        if entry[key] not in known:
            known[entry[key]] = next_id
            entries.append({**entry, "id": next_id})
            next_id += 1
        ids[entry["id"]] = known[entry[key]]
    return ids
