"""Checkpoints of one file: both kinds come back, go on in a plan, and nothing else is taken for
one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import segue
from segue.errors import CheckpointError, HandoverError
from segue.models import ModelSpec, rfdetr
from segue.models.parts.chain import Chain
from segue.models.weights.card import Card
from segue.plan.schema import Model
from segue.run.opening import open_weights
from segue.training import single_file
from tests.conftest import Promise


@pytest.fixture
def chain() -> Chain:
    options, _ = rfdetr.resolve_options(
        rfdetr.Options(groups=2, queries=10), rfdetr.SIZES["pico"], 5, "cpu"
    )
    spec = ModelSpec(family="rfdetr", size="pico", classes=("a", "b"), options=options.model_dump())
    torch.manual_seed(0)
    return rfdetr.build(spec, masks=False)


@pytest.mark.parametrize("write", [single_file.write, single_file.write_weights])
def test_what_was_written_comes_back_to_the_bit(
    chain: Chain, tmp_path: Path, write: Any, promise: Promise
) -> None:
    path, tensors = tmp_path / "model.pth", chain.state_dict()
    write(path, Card(spec=chain.spec, epoch=3), tensors)
    loaded = segue.load(path, "cpu")
    assert loaded.card.epoch == 3 and loaded.class_names == ("a", "b")
    assert all(
        torch.equal(loaded.chain.state_dict()[name], tensor) for name, tensor in tensors.items()
    )
    weights = open_weights(str(path), Model(family="rfdetr", size="pico"))
    assert (
        weights.classes == ("a", "b")
        and weights.card
        and len(weights.came_from["weights_sha256"]) == 64
    )
    with pytest.raises(HandoverError, match="other class names"):
        open_weights(str(path), Model(family="rfdetr", size="pico", weights_classes=("b", "a")))
    promise("P14", 1, "class names that are not those of the weights")


def test_weights_alone_are_a_state_dict_and_a_complete_file_says_more(
    chain: Chain, tmp_path: Path
) -> None:
    single_file.write_weights(tmp_path / "alone.pth", Card(spec=chain.spec), chain.state_dict())
    chain.load_state_dict(torch.load(tmp_path / "alone.pth"))
    single_file.write(tmp_path / "all.pth", Card(spec=chain.spec), chain.state_dict(), loss=0.5)
    content = torch.load(tmp_path / "all.pth")  # the safe default
    assert content["loss"] == 0.5 and set(content) == {"model_state_dict", "loss", "card"}


def test_a_file_without_a_card_is_refused_with_what_would_do(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "theirs.pth"
    torch.save(chain.state_dict(), path)
    with pytest.raises(
        CheckpointError, match="a file of weights alone, without the model they are of"
    ):
        segue.load(path)
    assert single_file.as_weights(path) is None and single_file.as_weights(tmp_path) is None
