"""How many queries a model has, and which rows of a table are kept."""

from __future__ import annotations

import pytest
import torch

from segue.errors import HandoverError, PlanError
from segue.models.parts.queries import QueryLayout, keep_queries, resolve_queries


@pytest.mark.parametrize(
    ("chosen", "objects", "most", "queries", "noted"),
    [
        (None, 10, None, 100, False),
        (None, 200, None, 250, True),  # a quarter more than the fullest image
        (None, 200, 220, 220, True),
        (None, 10, 40, 40, True),
        (30, 10, None, 30, False),
    ],
)
def test_the_fullest_image_decides_where_the_plan_does_not(chosen, objects, most, queries, noted):
    number, notes = resolve_queries(chosen, 100, objects, most)
    assert number == queries and bool(notes) == noted


@pytest.mark.parametrize(
    ("most", "step"), [(None, "set model.queries"), (60, "or raise resolution")]
)
def test_fewer_queries_than_objects_are_refused(most, step):
    with pytest.raises(
        PlanError, match="for an image with 80 objects; expected at least 80"
    ) as error:
        resolve_queries(None if most else 50, 100, 80, most)
    assert step in error.value.next_step


def test_the_first_rows_of_the_first_groups_are_kept():
    weights = {"table": torch.arange(12.0)[:, None], "other": torch.zeros(3)}
    notes = keep_queries(weights, ["table"], QueryLayout(4, 3), QueryLayout(2, 2))
    assert weights["table"][:, 0].tolist() == [0, 1, 4, 5] and len(weights["other"]) == 3
    assert notes == ["groups 3 -> 2: the first 2 kept", "queries 4 -> 2: the first 2 kept"]


def test_the_same_layout_changes_and_says_nothing():
    table = torch.arange(4.0)
    weights = {"table": table}
    assert keep_queries(weights, ["table"], QueryLayout(4), QueryLayout(4)) == []
    assert weights["table"] is table


def test_rows_are_not_made_up():
    with pytest.raises(HandoverError, match="model.queries: 5, but the weights have 4"):
        keep_queries({}, [], QueryLayout(4), QueryLayout(5))
