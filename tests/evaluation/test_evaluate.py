"""Measuring a model: every image once, in any batch, and no value that cannot be ranked."""

from __future__ import annotations

import pytest
import torch

from segue import models
from segue.data.dataset import Data, read_dataset
from segue.data.synthetic import CLASSES
from segue.errors import NonFiniteError
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.evaluate import evaluate, input_size
from tests.models.pico import build


@pytest.fixture(scope="module")
def records(rendered):
    return read_dataset(Data(root=rendered)).splits["valid"].records


def measured(records, images: int, ticks: list | None = None) -> CocoMetrics:
    chain = build("rfdetr", masks=False)
    metrics = CocoMetrics(records, CLASSES, ("box",), 100)
    return evaluate(chain, records, metrics, images, tick=lambda: ticks is None or ticks.append(1))


def test_figures_do_not_depend_on_the_batch_size(records):
    ticks: list[int] = []
    one, all_at_once = measured(records, 1, ticks), measured(records, len(records))
    assert len(ticks) == len(records) == 5
    assert {entry["image_id"] for entry in one.results} == set(range(5))
    assert [e["image_id"] for e in one.results] == sorted(e["image_id"] for e in one.results)
    scores = [torch.tensor([e["score"] for e in m.results]).sort()[0] for m in (one, all_at_once)]
    torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-3)


def test_the_frame_is_the_families():
    chain = build("rfdetr", masks=False)
    assert input_size(chain) == models.get("rfdetr").input_size(chain.spec)


def test_values_that_are_not_finite_name_the_image(records, monkeypatch):
    family = models.get("rfdetr")
    whole = family.postprocess

    def spoiled(*arguments):
        answers = whole(*arguments)
        answers[0].scores[0] = float("nan")
        return answers

    monkeypatch.setattr(family, "postprocess", spoiled)
    with pytest.raises(NonFiniteError, match="valid_0000.png: the model puts out scores or boxes"):
        measured(records, 2)
