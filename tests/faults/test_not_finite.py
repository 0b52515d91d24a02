"""Numbers that become NaN or infinite: nothing of them reaches the disk, and the step can be run
again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.cli.commands.inspect import describe_checkpoint
from segue.errors import NonFiniteError
from segue.losses.criterion import Criterion
from segue.run import build
from segue.run.notes import read_note
from segue.training import bad_step, checkpoint, fit
from segue.training.journal import read_rows
from segue.training.loop import MOST_SKIPPED
from tests.conftest import Promise
from tests.toy import detector_only, losses, run, same_tensors


def tensors_in(values: object) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    within = (
        values.values()
        if isinstance(values, dict)
        else values
        if isinstance(values, (list, tuple))
        else ()
    )
    return [tensor for value in within for tensor in tensors_in(value)]


def all_finite(run_folder: Path) -> int:
    """How many tensors lie in all checkpoints of a run, after each was looked at."""
    count = 0
    for card in run_folder.rglob(checkpoint.CARD):
        _, found = checkpoint.read(card.parent)
        state = (
            checkpoint.read_state(card.parent) if (card.parent / checkpoint.STATE).exists() else {}
        )
        for tensor in tensors_in([found, state]):
            assert not tensor.is_floating_point() or bool(tensor.isfinite().all()), card.parent
            count += 1
    return count


def fails(plan: dict[str, Any], words: str) -> Path:
    """Run a plan that ends with numbers that are not finite; returns the step that was kept."""
    with pytest.raises(NonFiniteError, match=words) as error:
        run(plan)
    folder = Path(plan["runs"]) / "toy-1"
    assert (
        read_note(folder).stages["detector"].state == "failed" and "\n" not in error.value.message
    )
    kept = folder / "1-detector" / bad_step.FOLDER
    assert f"next: segue inspect {kept}" in error.value.message
    assert all_finite(folder) > 140
    return kept


def again(kept: Path) -> dict[str, Any]:
    return json.loads(describe_checkpoint(kept, True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_any_weight_moves(
    rendered: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: Any,
    promise: Promise,
) -> None:
    plan = detector_only(rendered, tmp_path)
    total = Criterion.total
    calls: list[Any] = []

    def poisoned(self: Any, sums: Any, counts: Any):
        calls.append(len(sums))
        return total(self, sums, counts) * (value if calls.count(3) >= 3 and len(sums) == 3 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(Criterion, "total", poisoned)
        kept = fails(plan, "epoch 1, step 3: loss became NaN or infinite")
        found = again(kept)
    assert (
        found["found"] == found["again"] == "loss became NaN or infinite" and found["first"] == ""
    )
    assert found["terms"]["loss"] == str(value) and found["terms"]["l1"] > 0
    folder = kept.parent
    assert checkpoint.verify(folder / "last").step == 2
    assert len(losses(folder)) == 2
    weights = [checkpoint.read(path)[1] for path in (kept, folder / "last")]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    assert again(kept)["again"] == "" and "everything is finite" in describe_checkpoint(kept, False)
    assert run(plan) == folder.parent  # the same command resumes, now that the cause is gone
    assert same_tensors(folder / "last", whole / "last")
    assert not kept.exists()
    promise("P9", 1, "losses that are NaN or infinite")


def test_a_gradient_that_is_not_finite_stops_too_and_is_named(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    build_model = build.build_model

    def built(*arguments: Any):
        chain = build_model(*arguments)
        dict(chain.named_parameters())["decoder.box_head.layers.2.bias"].register_hook(
            lambda g: g * float("nan")
        )
        return chain

    monkeypatch.setattr(build, "build_model", built)
    kept = fails(detector_only(rendered, tmp_path), "step 1: the gradient became NaN")
    assert not (kept.parent / "last").exists()
    promise("P9", 1, "gradients that are NaN")


def test_a_rate_that_is_far_too_high_ends_with_the_images_and_the_module_it_began_in(
    rendered: Path, tmp_path: Path, promise: Promise
) -> None:
    kept = fails(
        detector_only(rendered, tmp_path, optimizer={"lr": 1e30, "clip": 0}),
        "epoch 1, step 2: .* became NaN",
    )
    found = again(kept)
    assert found["again"] == found["found"] and found["first"]
    text = describe_checkpoint(kept, False)
    assert f"begins in  {found['first']}" in text
    names = [image["file"] for image in found["images"]]
    assert len(names) == 4 and all(Path(name).is_file() for name in names)
    promise("P9", 1, "rates of learning that are far too high")


def test_weights_that_overflow_before_an_evaluation_are_not_kept(
    rendered: Path, tmp_path: Path, promise: Promise
) -> None:
    """One step an epoch, so that the model is evaluated with them before another step could find
    out.
    """
    sgd = {"kind": "sgd", "lr": 3e38, "momentum": 0, "clip": 0}
    plan = detector_only(
        rendered, tmp_path, optimizer=sgd, images_per_step=16, save_every_steps=None
    )
    with pytest.raises(
        NonFiniteError, match=r"NaN or infinit.*; expected finite values; next: .*lower opt"
    ) as e:
        run(plan)
    assert all_finite(tmp_path / "toy-1") == 0 and "\n" not in e.value.message
    promise("P9", 1, "weights that overflow")


def scaled_loss(monkeypatch: pytest.MonkeyPatch, factors: dict[int, float]) -> None:
    """Multiply the loss of some steps, counted from 1."""
    total = Criterion.total
    calls: list[Any] = []

    def scaled(self: Any, sums: Any, counts: Any):
        calls.append(len(sums))
        return total(self, sums, counts) * (
            factors.get(calls.count(3), 1.0) if len(sums) == 3 else 1.0
        )

    monkeypatch.setattr(Criterion, "total", scaled)


def test_an_overflow_of_half_precision_skips_the_step_and_halves_the_scale(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    scaled_loss(monkeypatch, {3: 1e6, 4: 1e6})
    folder = run(detector_only(rendered, tmp_path, precision="fp16")) / "1-detector"
    rows = read_rows(folder / "steps.csv")
    overflowed = [not row["grad_norm"] < float("inf") for row in rows]
    assert sum(overflowed) and not any(overflowed[-2:])
    assert all_finite(folder.parent) > 200
    state = checkpoint.read_state(folder / "last")
    assert (
        state["scaler"]["scale"] == 2.0 ** (16 - sum(overflowed))
        and state["progress"]["skipped"] == 0
    )
    promise("P9", sum(overflowed), "steps that overflow half precision")


def test_half_precision_that_overflows_however_small_the_scale_ends_the_stage(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    scaled_loss(monkeypatch, dict.fromkeys(range(1, 100), 1e20))
    long = {"epochs": None, "steps": 30, "evaluate_every_steps": 30, "save_every_steps": 19}
    kept = fails(
        detector_only(rendered, tmp_path, precision="fp16", **long), "the gradient became NaN"
    )
    assert len(losses(kept.parent)) == MOST_SKIPPED
    assert again(kept)["again"] == "the gradient became NaN or infinite"
    promise("P9", MOST_SKIPPED + 1, "steps that overflow half precision")


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("family", ["rfdetr", "detr", "mask2former", "rgbx_rcnn"])
def test_a_model_that_puts_out_nan_ends_in_words_in_every_family(
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    measured: bool,
    promise: Promise,
) -> None:
    """Whether it is measured or trained first: no traceback of the matcher's, and no measure of
    nothing.
    """
    build_model = build.build_model

    def built(*arguments: Any):
        chain = build_model(*arguments)
        with torch.no_grad():
            for parameter in chain.parameters():
                parameter.mul_(1e25)  # finite, as all that is read from files is
        return chain

    monkeypatch.setattr(build, "build_model", built)
    plan = detector_only(rendered, tmp_path, task="joint" if family == "mask2former" else "boxes")
    plan["model"] = {"family": family, "size": "pico", "resolution": 128}
    if measured:  # R-CNN drops what is NaN, so that nothing is found; its loss is not finite then
        words = (
            "step 1: loss"
            if family == "rgbx_rcnn"
            else "valid_0000.png: the model puts out scores or boxes that"
        )
        with pytest.raises(NonFiniteError, match=words):
            run(plan)
    else:
        monkeypatch.setattr(fit, "_before_training", lambda *arguments: None)
        found = again(fails(plan, "epoch 1, step 1: .* became NaN or infinite"))
        assert found["again"] == found["found"] and found["first"]
    promise("P9", 1, "models that put out NaN boxes, scores or masks")
