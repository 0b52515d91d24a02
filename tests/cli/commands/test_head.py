"""`segue head`: rows of the classes that are kept, bit by bit, and never in place of anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segue import models
from segue.cli.commands.head import keep_classes, strip_heads
from segue.data.synthetic import CLASSES
from segue.errors import PlanError
from segue.models.weights.card import Card
from segue.models.weights.rfdetr import read, rfdetr_file
from segue.training import checkpoint
from tests.models.pico import build


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    chain = build("rfdetr", masks=False)
    folder = tmp_path_factory.mktemp("head")
    checkpoint.write(folder / "ckpt", chain.state_dict(), Card(spec=chain.spec, complete=True))
    torch.save(rfdetr_file(chain.state_dict(), CLASSES, {"size": "pico"}), folder / "file.pth")
    return folder


def test_rows_of_a_folder_are_kept_in_the_order_asked_for(source, tmp_path):
    assert "3 -> 2 classes" in keep_classes(source / "ckpt", tmp_path / "new", ["tube", "cell"])
    (old, before), (card, after) = (checkpoint.read(p) for p in (source / "ckpt", tmp_path / "new"))
    assert card.spec.classes == ("tube", "cell")
    assert card.came_from["weights_sha256"] == old.files[checkpoint.WEIGHTS]
    heads = models.get("rfdetr").class_heads(build("rfdetr", masks=False))
    assert heads and all(torch.equal(after[n], before[n][[2, 0]]) for n in heads if n in before)
    assert all(torch.equal(after[name], before[name]) for name in before if name not in heads)


def test_a_file_of_the_rfdetr_package_stays_one(source, tmp_path):
    keep_classes(source / "file.pth", tmp_path / "new.pth", ["rod"])
    assert [name for name in read(tmp_path / "new.pth").classes if name] == ["rod"]
    assert "tensors of class heads removed" in strip_heads(source / "file.pth", tmp_path / "no.pth")


def test_a_stripped_folder_has_no_class_rows(source, tmp_path):
    strip_heads(source / "ckpt", tmp_path / "new")
    card, tensors = checkpoint.read(tmp_path / "new")
    assert card.spec.classes == ()
    heads = models.get("rfdetr").class_heads(build("rfdetr", masks=False))
    assert all(len(tensors[name]) == 0 for name in heads if name in tensors)


@pytest.mark.parametrize(
    ("classes", "words"),
    [((), "no class named"), (("fly",), "no class fly; expected cell, rod, tube")],
)
@pytest.mark.parametrize("name", ["ckpt", "file.pth"])
def test_classes_there_are_not_are_refused(source, tmp_path, classes, words, name):
    with pytest.raises(PlanError, match=words):
        keep_classes(source / name, tmp_path / "new", classes)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["ckpt", "file.pth"])
def test_what_is_there_is_never_replaced(source, tmp_path, name):
    (tmp_path / "mine").write_text("thesis")
    for write in (
        lambda t: keep_classes(source / name, t, ["rod"]),
        lambda t: strip_heads(source / name, t),
    ):
        with pytest.raises(PlanError, match="exists; expected a name that is free"):
            write(tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "thesis"
