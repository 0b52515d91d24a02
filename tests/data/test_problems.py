"""Problems are data: their kind says what is done about them, and their words are put together
here.
"""

from __future__ import annotations

import pytest

from segue.data.problems import (
    ACTIONS,
    KINDS,
    LONGEST,
    Place,
    Problem,
    by_kind,
    plain,
    refused,
    summary,
)


def problem(kind: str, listed: bool = False) -> Problem:
    return Problem(
        kind, Place("a.json", image_id=3, annotation_id=7), "found", "expected", "train", listed
    )


def test_every_kind_has_an_action_and_an_advice():
    assert len(KINDS) > 50
    assert all(kind.action in ACTIONS and kind.advice for kind in KINDS.values())


@pytest.mark.parametrize(
    ("kind", "listed", "action", "severity"),
    [
        ("missing image", False, "quarantine", "error"),
        ("missing image", True, "fixed", "dropped"),
        ("missing list", False, "error", "error"),
        ("path in a file name", False, "fixed", "fixed"),
        ("object twice", False, "doubtful", "note"),
        ("unheard of", False, "error", "error"),
    ],
)
def test_what_is_done_follows_from_the_kind_and_from_the_list(kind, listed, action, severity):
    assert (problem(kind, listed).action, problem(kind, listed).severity) == (action, severity)


def test_a_place_is_as_exact_as_it_is_known():
    assert str(Place("a.txt", line=4)) == "a.txt:4"
    assert str(Place("a.json", image_id=3, annotation_id=7)) == "a.json: image 3, annotation 7"
    assert str(Place("a.json", item="category 3")) == "a.json: category 3"
    assert str(Place("a.json")) == "a.json"


def test_texts_of_files_are_one_short_line():
    assert plain("a\nb\x1b") == "a\\nb\\x1b" and len(plain("x" * 5000)) == LONGEST
    assert str(problem("missing image")) == (
        "error: a.json: image 3, annotation 7: found; expected expected"
    )


def test_grave_kinds_come_before_frequent_ones():
    kinds = by_kind([problem("object twice"), problem("object twice"), problem("missing list")])
    assert list(kinds) == ["missing list", "object twice"]
    assert summary(kinds["object twice"]).startswith("doubtful: object twice, 2 times; ")


def test_only_what_no_list_names_keeps_data_from_being_trained_on():
    listed, other, note = (
        problem("missing image", True),
        problem("missing image"),
        problem("object twice"),
    )
    assert refused([listed, other, note]) == [other]


def test_an_entry_of_findings_has_kind_place_and_words_apart():
    entry = problem("missing image").as_dict()
    assert (entry["kind"], entry["image"], entry["annotation"], entry["part"]) == (
        "missing image",
        3,
        7,
        "train",
    )
    assert (entry["found"], entry["expected"], entry["settled"]) == ("found", "expected", False)
