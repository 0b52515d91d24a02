"""Objects found under other names: a model of one class against labels of many, and many against
many.
"""

from __future__ import annotations

import json

import pytest
import torch

from segue.cli.app import main
from segue.cli.commands.evaluate import ANY, _as_one_class
from segue.data.dataset import Data, read_splits
from segue.data.synthetic import CLASSES
from segue.evaluation.coco_metrics import CocoMetrics
from segue.models import ModelSpec, rfdetr
from segue.models.weights.card import Card
from segue.structures.detections import Detections
from segue.training import checkpoint


def truth_as(records, names) -> list[Detections]:
    """Every object's own box, as a detection of the last of some classes."""
    by_record = []
    for record in records:
        boxes = torch.tensor([a.box_xyxy for a in record.annotations], dtype=torch.float32).reshape(
            -1, 4
        )
        labels = torch.full((len(boxes),), len(names) - 1)
        by_record.append(
            Detections(boxes, torch.ones(len(boxes)), labels, names, (record.height, record.width))
        )
    return by_record


@pytest.mark.parametrize("names", [("thing",), ("thing", "cell", "other")])
def test_all_that_is_found_counts_whatever_it_is_called(rendered, names):
    part = read_splits(Data(root=rendered))["valid"]
    one = _as_one_class(part)
    assert {a.class_name for record in one.records for a in record.annotations} == {ANY}
    assert (
        len(part.class_counts()) > 1 and one.class_counts().total() == part.class_counts().total()
    )
    metrics = CocoMetrics(one.records, (ANY,), ("box",))
    for number, detections in enumerate(truth_as(part.records, names)):
        metrics.add(number, detections)
    assert metrics.figures()["box_ap"] == 1.0 and metrics.by_class("box") == {ANY: 1.0}
    apart = CocoMetrics(part.records, CLASSES, ("box",))
    for number, detections in enumerate(truth_as(part.records, CLASSES)):
        apart.add(number, detections)
    assert apart.figures()["box_ap"] < 0.5


def test_a_model_that_knows_none_of_the_classes_is_measured_with_any_class(
    rendered, tmp_path, capsys
):
    options, _ = rfdetr.resolve_options(rfdetr.Options(groups=1), rfdetr.SIZES["pico"], 9, "cpu")
    spec = ModelSpec(family="rfdetr", size="pico", classes=("blob",), options=options.model_dump())
    chain = rfdetr.build(spec, masks=False)
    checkpoint.write(tmp_path / "blobs", chain.state_dict(), Card(spec=spec, complete=True))
    line = ["evaluate", str(tmp_path / "blobs"), str(rendered)]
    assert main(line) == 2 and "--any-class" in capsys.readouterr().err
    assert main([*line, "--any-class", "--json", "--out", str(tmp_path / "out")]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["classes"] == ANY and 0 <= outcome["box_ap"] < 1 and outcome["images"] == 5
    entries = json.loads((tmp_path / "out" / "predictions.coco.json").read_text())
    assert entries and {entry["category_id"] for entry in entries} == {1}
    assert main([*line, "--any-class"]) == 0 and "all classes as one" in capsys.readouterr().out
