"""COCO files joined as they are: ids of the first stay, the second's are new, fields are kept."""

from __future__ import annotations

import copy

import pytest

from segue.data.writing.coco_merge import combined
from segue.errors import DataError

FIRST = {
    "info": {"by": "me"},
    "images": [{"id": 5, "file_name": "a.png", "height": 8, "width": 9}],
    "annotations": [{"id": 40, "image_id": 5, "category_id": 3, "note": "kept"}],
    "categories": [{"id": 3, "name": "cell"}],
}
SECOND = {
    "images": [
        {"id": 5, "file_name": "b.png", "height": 8, "width": 9},
        {"id": 6, "file_name": "a.png", "height": 8, "width": 9},
    ],
    "annotations": [
        {"id": 1, "image_id": 5, "category_id": 1},
        {"id": 2, "image_id": 6, "category_id": 2},
    ],
    "categories": [{"id": 1, "name": "rod"}, {"id": 2, "name": "cell"}],
}


def test_entries_of_one_name_are_one_and_the_others_get_free_ids():
    first = copy.deepcopy(FIRST)
    both = combined(FIRST, SECOND)
    assert first == FIRST and both["info"] == {"by": "me"}
    assert [(image["id"], image["file_name"]) for image in both["images"]] == [
        (5, "a.png"),
        (6, "b.png"),
    ]
    assert [(entry["id"], entry["name"]) for entry in both["categories"]] == [
        (3, "cell"),
        (4, "rod"),
    ]
    assert both["annotations"] == [
        {"id": 40, "image_id": 5, "category_id": 3, "note": "kept"},
        {"id": 41, "image_id": 6, "category_id": 4},
        {"id": 42, "image_id": 5, "category_id": 3},
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["images"][1].update(width=7), "8 x 9 and 8 x 7 pixels|9 x 8 and 7 x 8 pixels"),
        (lambda c: c["annotations"][0].update(image_id=9), "image_id 9, category_id 1"),
        (lambda c: c["categories"][0].pop("name"), "an entry with id 1 and name None"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, words):
    second = copy.deepcopy(SECOND)
    change(second)
    with pytest.raises(DataError, match=words):
        combined(FIRST, second)
