"""The rfdetr package's own way of asking works on our checkpoints and on its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from segue import rfdetr as facade
from segue.errors import PlanError
from segue.models.weights.rfdetr import rfdetr_file
from segue.training import checkpoint
from tests.optional import checked

CLASSES = ["cell", "rod", "tube"]


def test_the_original_sample_works_on_our_checkpoints_and_on_its_files(
    short_run: Path, picture: Any, tmp_path: Path
) -> None:
    """RFDETRNano(...).predict([image], threshold=0.5) of the original text, here with pico for
    speed.
    """
    selected = short_run / "2-masks" / "selected"
    image = Image.open(picture)
    card, tensors = checkpoint.read(selected)
    torch.save(rfdetr_file(tensors, card.spec.classes, {"size": "pico"}), tmp_path / "best.pt")
    predicted: list[Any] = []
    for weights in (selected, tmp_path / "best.pt"):
        model = facade.RFDETRPico(
            pretrain_weights=str(weights), num_classes=3, class_names=CLASSES, masks=True
        )
        predicted.append(model.predict([image], threshold=0.02))
    for one in predicted:
        assert one.masks.shape[0] == len(one.boxes) == len(one.scores) == len(one.class_ids) > 0
        assert [
            model.class_names[number] for number in one.class_ids.tolist()
        ] == one.detections.names
    assert torch.equal(predicted[0].class_ids, predicted[1].class_ids)
    torch.testing.assert_close(predicted[0].boxes, predicted[1].boxes, atol=1e-3, rtol=1e-4)
    assert len(checked(list, model.predict([image, image], threshold=0.02))) == 2
    without: Any = facade.RFDETRPico(pretrain_weights=tmp_path / "best.pt").predict(
        image, threshold=0.02
    )
    assert without.masks is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_classes": 4}, "num_classes: 4; expected 3: cell, rod, tube"),
        ({"class_names": ["a", "b", "c"]}, "class_names: a, b, c; expected cell, rod, tube"),
    ],
)
def test_names_that_the_weights_do_not_have_are_refused(
    short_run: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(PlanError, match=words):
        facade.RFDETRPico(pretrain_weights=short_run / "1-detector" / "selected", **changes)


def test_weights_of_another_size_or_without_masks_are_refused(short_run: Path) -> None:
    with pytest.raises(PlanError, match="a pico model; expected nano, as in RFDETRNano"):
        facade.RFDETRNano(pretrain_weights=short_run / "2-masks" / "selected")
    with pytest.raises(PlanError, match="no mask head"):
        facade.RFDETRPico(pretrain_weights=short_run / "1-detector" / "selected", masks=True)
