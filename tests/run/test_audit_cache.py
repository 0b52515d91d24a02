"""The audit as a run's first step: before anything is trained, and once for the same bytes."""

from __future__ import annotations

import json
import shutil

import pytest

from segue.cli.commands.check import check_target
from segue.errors import DataError
from segue.plan.schema import Plan
from segue.run import audit_cache
from segue.run.console import Console
from segue.run.data import read_all_data
from tests.conftest import toy_plan, write_plan


@pytest.fixture
def data(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / "data")


def looked(monkeypatch) -> list[int]:
    calls: list[int] = []
    real = audit_cache.audit
    monkeypatch.setattr(
        audit_cache, "audit", lambda *arguments: (calls.append(1), real(*arguments))[1]
    )
    return calls


def test_the_second_run_does_not_repeat_it_and_says_the_same(data, tmp_path, monkeypatch, capsys):
    calls = looked(monkeypatch)
    shutil.copy(data / "test" / "test_0000.png", data / "train" / "extra.png")
    plan = Plan.model_validate(toy_plan(data, tmp_path / "runs"))
    read_all_data(plan, Console())
    first = capsys.readouterr().err
    read_all_data(plan, Console())
    assert (
        len(calls) == 1
        and capsys.readouterr().err == first
        and "unlabelled image, 1 times" in first
    )
    kept = list((tmp_path / "runs" / audit_cache.FOLDER).iterdir())
    assert len(kept) == 1 and len(json.loads(kept[0].read_text())["lines"]) >= 1


def test_other_bytes_are_looked_at_again_and_what_is_refused_is_not_kept(
    data, tmp_path, monkeypatch
):
    calls = looked(monkeypatch)
    plan = Plan.model_validate(toy_plan(data, tmp_path / "runs"))
    read_all_data(plan, Console(quiet=True))
    image = data / "train" / "train_0002.png"
    image.write_bytes(image.read_bytes()[:300])
    for count in (2, 3):
        with pytest.raises(DataError, match=r"train_0002\.png.*next: segue check"):
            read_all_data(plan, Console(quiet=True))
        assert len(calls) == count
    assert len(list((tmp_path / "runs" / audit_cache.FOLDER).iterdir())) == 1


def test_what_another_version_found_does_not_count(data, tmp_path, monkeypatch):
    calls = looked(monkeypatch)
    plan = Plan.model_validate(toy_plan(data, tmp_path / "runs"))
    read_all_data(plan, Console(quiet=True))
    path = next((tmp_path / "runs" / audit_cache.FOLDER).iterdir())
    path.write_text(path.read_text().replace('"segue": "', '"segue": "0.0.0-'))
    read_all_data(plan, Console(quiet=True))
    path.write_text("not JSON")
    read_all_data(plan, Console(quiet=True))
    assert len(calls) == 3


def test_sides_are_spoken_of_only_where_a_stage_mirrors_images(data, tmp_path, capsys):
    for part in ("train", "valid", "test"):
        path = data / part / "_annotations.coco.json"
        path.write_text(
            path.read_text().replace('"cell"', '"left wing"').replace('"rod"', '"right wing"')
        )
    plan = toy_plan(data, tmp_path / "runs")
    read_all_data(Plan.model_validate(plan), Console())
    assert "set augment.flip: 0" in capsys.readouterr().err
    still = {"augment": {"flip": 0}}
    plan["stages"] = [{**stage, **still} for stage in plan["stages"]]
    read_all_data(Plan.model_validate(plan), Console())
    assert "augment.flip" not in capsys.readouterr().err
    check_target(write_plan(tmp_path / "plan.yaml", plan), (), False)
    assert "augment.flip" not in capsys.readouterr().out
