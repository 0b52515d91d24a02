"""A plan run from end to end, and what it leaves."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml

from segue.errors import DataError, HandoverError, PlanError
from segue.plan.reading import load_plan
from segue.plan.schema import Plan
from segue.run.folder import RunFolder
from segue.run.notes import read_note
from segue.training import checkpoint
from segue.training.journal import read_rows
from tests.conftest import toy_plan, write_plan
from tests.toy import run


@pytest.fixture(scope="module")
def finished(rendered, tmp_path_factory):
    return run(toy_plan(rendered, tmp_path_factory.mktemp("run")), drawn=True)


def test_a_run_leaves_what_the_readme_promises(finished):
    assert finished.name == "toy-1"
    for name in ("plan.yaml", "run.json", "report.html"):
        assert (finished / name).is_file()
    for stage in ("1-detector", "2-masks"):
        folder = finished / stage
        for name in ("steps.csv", "epochs.csv", "metrics.json", "predictions.coco.json"):
            assert (folder / name).is_file(), name
        assert list((folder / "tb").iterdir())
        for kind in ("selected", "last"):
            checkpoint.verify(folder / kind)
        assert not (folder / "cache").exists()


def test_the_resolved_plan_can_be_run_again(finished):
    plan = load_plan(finished / "plan.yaml")
    assert plan.stages[1].freeze == "decoder" and plan.stages[0].optimizer.lr == 1e-3


def test_the_detector_is_handed_over_whole_and_stays_frozen(finished, promise):
    detector = checkpoint.read(finished / "1-detector" / "selected")[1]
    for kind in ("selected", "last"):
        masks = checkpoint.read(finished / "2-masks" / kind)[1]
        assert len(detector) == sum(not name.startswith("mask_head.") for name in masks)
        assert all(torch.equal(masks[name], tensor) for name, tensor in detector.items())
    outcome = json.loads((finished / "2-masks" / "metrics.json").read_text())
    assert outcome["frozen"].startswith("frozen backbone, projector, decoder: ")
    promise("P13", 2, "stages with a frozen detector, compared to the bit")


def test_boxes_of_the_masks_stage_are_the_detectors_to_the_bit(finished):
    first, second = (
        json.loads((finished / stage / "predictions.coco.json").read_text())
        for stage in ("1-detector", "2-masks")
    )
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert {**a} == {key: value for key, value in b.items() if key != "segmentation"}


def test_the_card_tells_where_a_checkpoint_came_from(finished):
    detector = checkpoint.read_card(finished / "1-detector" / "selected")
    masks = checkpoint.read_card(finished / "2-masks" / "selected")
    assert detector.came_from == {} and detector.complete and masks.complete
    assert masks.came_from["weights_sha256"] == detector.files["weights.safetensors"]
    assert masks.data["classes"] == {"cell": 1, "rod": 2, "tube": 3}
    assert masks.parts["decoder"].frozen and not masks.parts["mask_head"].frozen


def test_the_same_plan_again_has_nothing_to_do(finished, rendered):
    before = (finished / "2-masks" / "steps.csv").stat().st_mtime_ns
    assert run(toy_plan(rendered, finished.parent)) == finished
    assert (finished / "2-masks" / "steps.csv").stat().st_mtime_ns == before


def test_a_changed_second_stage_reuses_the_first(finished, rendered, promise):
    again = run(toy_plan(rendered, finished.parent, masks={"epochs": 1}))
    assert again.name == "toy-2"
    note = read_note(again).stages
    assert note["detector"].reused_from == "toy-1" and note["masks"].reused_from is None
    assert [row["epoch"] for row in read_rows(again / "2-masks" / "epochs.csv")] == [0, 1]
    promise("P14", 1, "plans edited between two runs")


def test_settings_without_effect_on_the_result_do_not_start_a_new_run(finished, rendered):
    plan = toy_plan(
        rendered, finished.parent, detector={"images_per_forward": 3, "save_every_steps": 7}
    )
    assert run(plan) == finished


def test_a_stage_refuses_a_parent_that_is_not_complete(rendered, tmp_path, promise):
    first = run(toy_plan(rendered, tmp_path), only="detector")
    note = json.loads((first / "run.json").read_text())
    note["stages"]["detector"]["state"] = "interrupted"
    (first / "run.json").write_text(json.dumps(note))
    plan = Plan.model_validate(toy_plan(rendered, tmp_path))
    folder = RunFolder.read(first, plan)
    with pytest.raises(HandoverError, match="detector: is interrupted"):
        folder.complete_parent(plan.stages[0])
    promise("P14", 1, "parents that were not finished")


def test_an_unfinished_checkpoint_given_by_path_is_refused(finished, rendered, tmp_path, promise):
    unfinished = finished / "1-detector" / "last"
    plan = toy_plan(rendered, tmp_path, masks={"start": str(unfinished)})
    plan["stages"] = plan["stages"][1:]
    with pytest.raises(HandoverError, match="was not finished"):
        run(plan)
    promise("P14", 1, "parents that were not finished")


def test_a_damaged_parent_is_named_before_the_first_step(finished, rendered, tmp_path, promise):
    copy = tmp_path / "parent"
    shutil.copytree(finished / "1-detector" / "selected", copy)
    data = bytearray((copy / "weights.safetensors").read_bytes())
    data[-100] ^= 4
    (copy / "weights.safetensors").write_bytes(bytes(data))
    plan = toy_plan(rendered, tmp_path / "runs", masks={"start": str(copy)})
    plan["stages"] = plan["stages"][1:]
    with pytest.raises(HandoverError.__mro__[1], match="damaged"):
        run(plan)
    assert not list((tmp_path / "runs").glob("*/1-masks/steps.csv"))
    promise("P14", 1, "parents that were damaged")


def test_masks_need_masks_in_the_data(rendered, tmp_path):
    data = tmp_path / "boxes"
    shutil.copytree(rendered, data)
    for part in ("train", "valid", "test"):
        path = data / part / "_annotations.coco.json"
        content = json.loads(path.read_text())
        for entry in content["annotations"]:
            entry["segmentation"] = []
        path.write_text(json.dumps(content))
    with pytest.raises(
        DataError, match=r"none of \d+ objects has a mask \(first: annotation 1 of train_0000.png\)"
    ):
        run(toy_plan(data, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_test_data_are_optional_and_valid_data_are_not(rendered, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(rendered, data)
    shutil.rmtree(data / "test")
    folder = run(toy_plan(data, tmp_path / "runs", detector={"epochs": 1}), only="detector")
    assert "test" not in json.loads((folder / "1-detector" / "metrics.json").read_text())
    shutil.rmtree(data / "valid")
    with pytest.raises(DataError, match="no valid part"):
        run(toy_plan(data, tmp_path / "runs"))


def test_freezing_random_weights_is_refused(rendered, tmp_path):
    plan = toy_plan(rendered, tmp_path)
    plan["stages"] = [plan["stages"][1] | {"fresh": []}]
    with pytest.raises(PlanError, match="would freeze new, random weights"):
        run(plan)


def test_a_plan_in_a_file_is_the_same_plan(rendered, tmp_path):
    plan = toy_plan(rendered, tmp_path)
    path = write_plan(tmp_path / "plan.yaml", plan)
    assert load_plan(path) == Plan.model_validate(plan)
    assert load_plan(path, ("stages.masks.epochs=9",)).stages[1].epochs == 9
    assert yaml.safe_load(path.read_text())["stages"][1]["epochs"] == 2


def test_the_cache_changes_the_views_but_nothing_else(rendered, tmp_path):
    """With as many views as epochs a cached run would see what an uncached one sees, in half
    precision.
    """
    plain = run(toy_plan(rendered, tmp_path / "a", masks={"epochs": 3, "augment": None}))
    cached = run(
        toy_plan(
            rendered, tmp_path / "b", masks={"epochs": 3, "augment": None, "cache": {"views": 1}}
        )
    )
    a, b = (read_rows(folder / "2-masks" / "steps.csv") for folder in (plain, cached))
    assert [row["objects"] for row in a] == [row["objects"] for row in b]
    assert [row["loss"] for row in b] == pytest.approx([row["loss"] for row in a], rel=2e-2)
    assert not (cached / "2-masks" / "cache").exists()


def test_a_cache_that_cannot_pay_is_left_out(rendered, tmp_path):
    folder = run(toy_plan(rendered, tmp_path, masks={"epochs": 1, "cache": {"views": 4}}))
    assert not (folder / "2-masks" / "cache").exists()


def test_training_by_steps_stops_at_the_step(rendered, tmp_path):
    plan = toy_plan(rendered, tmp_path, detector={"epochs": None, "steps": 3})
    folder = run(plan, only="detector")
    assert [row["step"] for row in read_rows(folder / "1-detector" / "steps.csv")] == [1, 2, 3]
    assert [row["epoch"] for row in read_rows(folder / "1-detector" / "epochs.csv")] == [0, 1, 2]
