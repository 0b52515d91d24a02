"""What formats hand on: counts without crowds, names from the folder all images share, and errors
that keep their number.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.data.problems import Place, Problem
from segue.data.records import Annotation, Record, Split, names_in, refuse_errors
from segue.errors import DataError


def record(path: str, *annotations: Annotation) -> Record:
    return Record(Path(path), 8, 8, 1, annotations)


def test_crowds_are_no_objects():
    cell, crowd = (Annotation((0, 0, 4, 4), "cell", crowd=crowd) for crowd in (False, True))
    split = Split(
        "train", Path("x"), [record("a", cell, crowd, cell), record("b", crowd)], {"cell": 1}
    )
    assert split.class_counts() == {"cell": 2} and split.most_objects() == 2
    assert Split("train", Path("x"), [], {}).most_objects() == 0


def test_names_begin_below_the_folder_that_holds_all():
    assert names_in([record("/d/x/a.png"), record("/d/y/z/a.png")]) == ["x/a.png", "y/z/a.png"]
    assert names_in([record("/d/x/a.png")]) == ["a.png"] and names_in([]) == []


def test_the_first_error_is_raised_with_how_many_there_are_and_notes_are_not():
    note = Problem("category names alike", Place("a.json"), "cell, Cell")
    errors = [Problem("missing image", Place("a.json", image_id=n), "no such file") for n in (1, 2)]
    refuse_errors([note], "segue data info")
    with pytest.raises(
        DataError, match=r"a.json: image 1: no such file \(1 more errors\)"
    ) as raised:
        refuse_errors([note, *errors], "segue data info")
    assert raised.value.next_step == "segue data info"
