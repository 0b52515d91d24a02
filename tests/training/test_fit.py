"""A stage as a whole: when it ends, what it keeps, and the settings that change how it computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.models import rfdetr
from segue.models.parts.chain import Chain
from segue.plan.schema import Plan
from segue.run import build
from segue.run.console import Console
from segue.run.runner import run_plan
from segue.training import checkpoint
from segue.training.journal import read_rows
from segue.training.selection import kept as kept_in
from tests.conftest import toy_plan
from tests.toy import losses, run, run_until


def detector(rendered: Path, folder: Any, **changes: Any):
    plan = toy_plan(rendered, folder, detector=changes)
    plan["stages"] = plan["stages"][:1]
    return plan


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Let validation give these figures, one an epoch, from epoch 0 on."""

    def set_to(values: list[float]) -> None:
        left = iter(values)

        def evaluate(tick: Any):
            value = next(left)
            return {"box_ap": value, "box_ap50": value}

        monkeypatch.setattr(build, "evaluator", lambda *_: evaluate)

    return set_to


def test_a_stage_ends_when_its_metric_stops_rising_and_keeps_the_best_epoch(
    rendered: Path, tmp_path: Path, scores: Callable[[list[float]], None]
) -> None:
    # epoch 0 is what it was handed, and never selected
    scores([0.9, 0.1, 0.3, 0.2, 0.3, 0.25, 0.1])
    folder = run(detector(rendered, tmp_path, epochs=20, early_stop={"patience": 3})) / "1-detector"
    assert [row["epoch"] for row in read_rows(folder / "epochs.csv")] == [0, 1, 2, 3, 4, 5]
    card = checkpoint.read_card(folder / "selected")
    assert card.epoch == 2 and card.selected_by == "box_ap" and card.metrics["box_ap"] == 0.3
    assert checkpoint.read_card(folder / "last").epoch == 5


def test_of_equal_figures_the_earlier_weights_stay_unless_nothing_was_found_yet(
    rendered: Path, tmp_path: Path, scores: Callable[[list[float]], None]
) -> None:
    """Weights that found nothing are best where they have learned the longest."""
    for name, values, selected, kept in (
        ("nothing", [0.0, 0.0, 0.0, 0.0], 3, {2, 3}), ("found", [0.0, 0.0, 0.4, 0.4], 2, {2, 3}),
    ):  # fmt: skip
        scores(values)
        folder = run(detector(rendered, tmp_path / name, epochs=3, keep=2)) / "1-detector"
        assert checkpoint.read_card(folder / "selected").epoch == selected
        assert {card.epoch for _, card in kept_in(folder)} == kept and kept_in(folder)[0][
            1
        ].epoch == selected


def test_patience_begins_where_something_is_found_and_a_stop_is_said(
    rendered: Path,
    tmp_path: Path,
    scores: Callable[[list[float]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores([0.0, 0.0, 0.0, 0.0005, 0.2, 0.2, 0.2, 0.2, 0.2])
    plan = detector(rendered, tmp_path, epochs=8, early_stop={"patience": 2})
    run_plan(Plan.model_validate(plan), Console())
    assert checkpoint.read_card(tmp_path / "toy-1" / "1-detector" / "last").epoch == 6
    said = (
        "stopped early after epoch 6: box_ap has not improved for 2 evaluations "
        "(early_stop.patience; 0 never stops)"
    )
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_rise_smaller_than_min_delta_is_kept_but_does_not_count(
    rendered: Path, tmp_path: Path, scores: Callable[[list[float]], None]
) -> None:
    scores([0.0, 0.1, 0.1004, 0.1008, 0.5])
    stop = {"patience": 2, "min_delta": 0.001}
    folder = run(detector(rendered, tmp_path, epochs=20, early_stop=stop)) / "1-detector"
    assert checkpoint.read_card(folder / "selected").epoch == 3


def test_a_stage_in_steps_is_evaluated_every_so_many_of_them_and_at_its_end(
    rendered: Path,
    tmp_path: Path,
    scores: Callable[[list[float]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores([0.0, 0.1, 0.3, 0.2, 0.3, 0.2])
    steps = {
        "epochs": None,
        "steps": 5,
        "evaluate_every_steps": 3,
        "save_every_steps": 1,
        "keep": 2,
    }
    plan = detector(rendered, tmp_path, **steps)  # epochs end after steps 2, 4 and 5
    run_until(plan, 3, monkeypatch)  # dies before step 4: the evaluation after step 3 was saved
    folder = run(plan) / "1-detector"
    rows = read_rows(folder / "epochs.csv")
    assert [(row["epoch"], row["step"], row["box_ap"]) for row in rows] == [
        (0, 0, 0),
        (2, 3, 0.1),
        (3, 5, 0.3),
    ]
    card = checkpoint.read_card(folder / "selected")
    assert (card.epoch, card.step) == (3, 5) and checkpoint.read_card(folder / "last").step == 5
    assert {path.name for path in (folder / "best").iterdir()} == {
        "epoch-2-step-3",
        "epoch-3-step-5",
    }


def test_a_plateau_lowers_the_rate(
    rendered: Path, tmp_path: Path, scores: Callable[[list[float]], None]
) -> None:
    scores([0.0, 0.5, 0.1, 0.1, 0.1])
    schedule = {"kind": "plateau", "patience": 1, "factor": 0.5}
    folder = run(detector(rendered, tmp_path, epochs=4, schedule=schedule)) / "1-detector"
    rates = [row["lr"] for row in read_rows(folder / "steps.csv")]
    assert rates == pytest.approx([1e-3] * 4 + [5e-4] * 2 + [2.5e-4] * 2)


def sides_seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    forward = Chain.forward
    seen: list[Any] = []

    def noting(self: Any, inputs: Any, start: int = 0):
        if self.training:
            seen.append(tuple(inputs["images"].shape[::3]))
        return forward(self, inputs, start)

    monkeypatch.setattr(Chain, "forward", noting)
    return seen


def test_multi_scale_draws_one_size_for_a_whole_step_however_it_is_split(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sides_seen(monkeypatch)
    whole = run(detector(rendered, tmp_path / "a", epochs=3, multi_scale="expanded"))
    sides = [side for _, side in seen]
    allowed = rfdetr.multiscale_sides(
        checkpoint.read_card(whole / "1-detector" / "selected").spec, expanded=True
    )
    assert len(set(sides)) > 2 and set(sides) <= set(allowed)
    seen.clear()
    split = run(
        detector(rendered, tmp_path / "b", epochs=3, multi_scale="expanded", images_per_forward=4)
    )
    assert [side for _, side in seen] == [side for side in sides for _ in range(2)]
    assert losses(split / "1-detector")[:2] == pytest.approx(
        losses(whole / "1-detector")[:2], rel=1e-5
    )


def test_bfloat16_trains_and_stores_float32(rendered: Path, tmp_path: Path) -> None:
    folder = run(detector(rendered, tmp_path / "half", precision="bf16")) / "1-detector"
    exact = run(detector(rendered, tmp_path / "full")) / "1-detector"
    assert losses(folder) != losses(exact) and losses(folder) == pytest.approx(
        losses(exact), rel=0.1
    )
    tensors = checkpoint.read(folder / "selected")[1]
    assert all(t.dtype == torch.float32 for t in tensors.values() if t.is_floating_point())


def test_without_an_average_the_weights_themselves_are_kept(rendered: Path, tmp_path: Path) -> None:
    folder = run(detector(rendered, tmp_path, ema=None, epochs=1)) / "1-detector"
    selected, last = (checkpoint.read(folder / kind)[1] for kind in ("selected", "last"))
    assert all(torch.equal(selected[name], tensor) for name, tensor in last.items())
    averaged = run(detector(rendered, tmp_path / "ema", epochs=1)) / "1-detector"
    selected, last = (checkpoint.read(averaged / kind)[1] for kind in ("selected", "last"))
    assert not all(torch.equal(selected[name], tensor) for name, tensor in last.items())


@pytest.mark.parametrize("head", ["attention", "attention-nano"])
def test_every_mask_head_learns_on_the_frozen_detector(
    rendered: Path, tmp_path: Path, head: str
) -> None:
    model = {"size": "pico", "resolution": 64, "queries": 30, "groups": 2, "mask_head": head}
    folder = run(
        toy_plan(rendered, tmp_path, model=model, detector={"epochs": 1}, masks={"epochs": 6})
    )
    values = losses(folder / "2-masks")
    assert sum(values[-2:]) < sum(values[:2])
    assert (
        "values unchanged"
        in json.loads((folder / "2-masks" / "metrics.json").read_text())["frozen"]
    )
