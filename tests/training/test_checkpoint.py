from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.errors import CheckpointError, NonFiniteError
from segue.models import ModelSpec
from segue.models.weights.card import Card
from segue.training import checkpoint
from tests.optional import present

SPEC = ModelSpec(family="rfdetr", size="pico", classes=("a", "b"))


def write(
    folder: Any, step: int = 1, value: float = 1.0, state: Any = None, keep_previous: bool = True
):
    tensors = {"x": torch.full((5, 3), value), "n": torch.arange(4)}
    return checkpoint.write(folder, tensors, Card(spec=SPEC, step=step), state, keep_previous)


def flip_a_bit(path: Any, at: int = -3):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = {"optimizer": {"state": {0: {"m": torch.ones(3)}}}, "position": [1, 2], "best": None}
    write(tmp_path / "last", state=state)
    card, tensors = checkpoint.read(tmp_path / "last")
    assert (
        card.spec == SPEC
        and torch.equal(tensors["x"], torch.ones(5, 3))
        and tensors["n"].dtype == torch.int64
    )
    assert checkpoint.read_state(tmp_path / "last")["position"] == [1, 2]
    assert sorted(p.name for p in (tmp_path / "last").iterdir()) == [
        "card.json",
        "state.pt",
        "weights.safetensors",
    ]


def test_a_person_can_read_the_card(tmp_path: Path) -> None:
    write(tmp_path / "last")
    content = json.loads((tmp_path / "last" / "card.json").read_text())
    assert (
        content["spec"]["classes"] == ["a", "b"]
        and len(content["files"]["weights.safetensors"]) == 64
    )


def test_the_state_is_read_by_torch_under_its_safe_default(tmp_path: Path) -> None:
    write(tmp_path / "last", state={"rng": torch.get_rng_state()})
    assert "rng" in torch.load(tmp_path / "last" / "state.pt")


@pytest.mark.parametrize("name", ["weights.safetensors", "state.pt", "card.json"])
def test_a_flipped_bit_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "last", state={"a": torch.ones(100)})
    flip_a_bit(tmp_path / "last" / name)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        checkpoint.verify(tmp_path / "last")


def test_a_missing_or_cut_file_is_found(tmp_path: Path) -> None:
    write(tmp_path / "last")
    path = tmp_path / "last" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(tmp_path / "last")
    path.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.read(tmp_path / "last")
    with pytest.raises(CheckpointError, match=r"no card\.json"):
        checkpoint.read(tmp_path)


def test_the_newest_whole_version_is_recovered_and_damage_is_said(tmp_path: Path) -> None:
    last = tmp_path / "last"
    write(last, step=1)
    write(last, step=2)
    assert checkpoint.recover(last) == (checkpoint.read_card(last), [])
    flip_a_bit(last / "weights.safetensors")
    card, said = checkpoint.recover(last)
    assert present(card).step == 1 and len(said) == 2 and "going back to step 1" in said[1]
    assert checkpoint.verify(last).step == 1
    assert (tmp_path / "last.damaged").is_dir()


def test_an_unfinished_version_is_not_mistaken_for_a_checkpoint(tmp_path: Path) -> None:
    last = tmp_path / "last"
    write(last, step=1)
    (tmp_path / "last.writing").mkdir()
    (tmp_path / "last.writing" / "weights.safetensors").write_bytes(b"half")
    card, said = checkpoint.recover(last)
    assert present(card).step == 1 and said == []
    write(last, step=2)
    assert not (tmp_path / "last.writing").exists()


def test_killed_between_the_renames_the_new_version_is_used(tmp_path: Path) -> None:
    last = tmp_path / "last"
    write(last, step=1)
    write(tmp_path / "next", step=2)
    last.rename(tmp_path / "last.previous")
    (tmp_path / "next").rename(tmp_path / "last.writing")
    card, _ = checkpoint.recover(last)
    assert present(card).step == 2 and checkpoint.verify(last).step == 2


def test_nothing_to_recover_is_no_error(tmp_path: Path) -> None:
    assert checkpoint.recover(tmp_path / "last") == (None, [])


def test_weights_that_are_not_finite_never_reach_the_disk(tmp_path: Path) -> None:
    write(tmp_path / "last", step=1)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(NonFiniteError, match="x holds NaN or infinity"):
            write(tmp_path / "last", step=2, value=bad)
        with pytest.raises(NonFiniteError, match=r"state.ema.0.x holds NaN or infinity"):
            checkpoint.write(
                tmp_path / "last",
                {},
                checkpoint.Card(spec=SPEC),
                {"ema": [{"x": torch.tensor(bad)}]},
            )
    assert checkpoint.verify(tmp_path / "last").step == 1


def test_only_the_version_before_is_kept(tmp_path: Path) -> None:
    for step in range(5):
        write(tmp_path / "last", step=step)
        write(tmp_path / "selected", step=step, keep_previous=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "last.previous", "selected"]


def test_a_finished_stage_marks_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / "selected")
    assert not checkpoint.read_card(tmp_path / "selected").complete
    checkpoint.mark_complete(tmp_path / "selected")
    assert checkpoint.verify(tmp_path / "selected").complete
