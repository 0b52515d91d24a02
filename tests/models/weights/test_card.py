"""What a file of weights says of itself."""

from __future__ import annotations

import pytest
from torch import nn

from segue.errors import CheckpointError
from segue.models import ModelSpec
from segue.models.weights.card import Card, PartSummary, card_in

SPEC = ModelSpec(family="rfdetr", size="pico", classes=("cell",))


def test_what_it_came_from_is_listed_nearest_first():
    base = {"source": "rf-detr-nano.pth", "weights_sha256": "b"}
    card = Card(
        spec=SPEC, came_from={"checkpoint": "1-detector", "weights_sha256": "a", "came_from": base}
    )
    assert card.lineage() == [("1-detector", "a"), ("rf-detr-nano.pth", "b")]
    assert Card(spec=SPEC).lineage() == []


def test_the_manifest_of_its_data_is_empty_where_it_does_not_say():
    assert Card(spec=SPEC, data={"sha256": "x"}).manifest == "x" and Card(spec=SPEC).manifest == ""


def test_a_card_comes_back_as_it_was_written():
    card = Card(
        spec=SPEC, metrics={"box_ap": 0.5}, parts={"head": PartSummary.of(nn.Linear(3, 2), True)}
    )
    assert Card.model_validate_json(card.model_dump_json()) == card
    assert card.parts["head"] == PartSummary(tensors=2, parameters=8, frozen=True)


@pytest.mark.parametrize(
    "spec", [None, [], {"family": "rfdetr"}, {**SPEC.model_dump(), "colour": 1}]
)
def test_a_foreign_file_that_describes_no_model_is_refused_by_name(spec):
    with pytest.raises(CheckpointError, match="a.pth: describes no model that can be built"):
        card_in("a.pth", spec)
    assert card_in("a.pth", SPEC.model_dump(), stage="x").stage == "x"
