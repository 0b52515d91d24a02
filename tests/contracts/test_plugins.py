"""Every family, format and recipe keeps the contract of its kind; each test says how many it
covered.
"""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from segue import models
from segue.base.settings import Settings
from segue.data import formats
from segue.errors import PlanError
from segue.labelling import kinds
from segue.models import ModelSpec, rfdetr
from segue.models.family import Family
from segue.models.parts.chain import Chain
from segue.plan import recipes
from segue.plan.reading import parse
from segue.run.runner import run_plan
from segue.structures.channels import RGB, Channel
from segue.training import checkpoint
from tests.conftest import segue, toy_plan, write_plan
from tests.toy import Console


def test_the_families_are_those_with_a_file() -> None:
    assert models.names() == ["detr", "mask2former", "rfdetr", "rgbx_rcnn"]


@pytest.mark.parametrize("name", models.names())
def test_a_family_has_all_that_the_engine_calls(name: Any) -> None:
    family = models.get(name)
    functions = [
        name for name, _ in inspect.getmembers(Family, inspect.isfunction) if name[0] != "_"
    ]
    assert len(functions) == 13
    for function in functions:
        assert callable(getattr(family, function)), function
        assert inspect.getdoc(getattr(family, function)), f"{function} is not documented"
        assert inspect.getdoc(getattr(Family, function)), f"{function} is not documented"
    assert issubclass(family.Options, Settings) and inspect.getdoc(family.Options)
    assert issubclass(family.ResolvedOptions, Settings)
    assert list(family.ResolvedOptions.model_fields) == list(family.Options.model_fields)
    assert inspect.getdoc(family)


SIZES = [(name, size) for name in models.names() for size in models.get(name).SIZES]


def test_all_sizes_are_covered() -> None:
    assert len(SIZES) == 33


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_size_is_a_chain_whose_parameters_belong_to_parts(name: Any, size: Any) -> None:
    family = models.get(name)
    options, _ = family.resolve_options(family.Options(), family.SIZES[size], 5, "cpu")
    channels = (*RGB, Channel(name="thermal"))
    spec = ModelSpec(
        family=name, size=size, classes=("a", "b"), channels=channels, options=options.model_dump()
    )
    with torch.device("meta"):
        chain = family.build(spec, masks=True)
    assert isinstance(chain, Chain) and chain.order == family.PARTS
    counted = sum(p.numel() for part in chain.order for p in chain.part(part).parameters())
    assert counted == sum(p.numel() for p in chain.parameters())
    names = dict(chain.named_parameters())
    firsts = family.input_convs(spec, chain.state_dict())
    assert firsts and all(
        names[first].shape[1] == len(channels) for first, channels in firsts.items()
    )
    assert all(names[head].shape[0] == 2 for head in family.class_heads(chain))
    height, width = family.input_size(spec)
    assert (height, width)[0] in family.multiscale_sides(spec, expanded=False)


@pytest.mark.parametrize("name", models.names())
def test_resolved_options_leave_nothing_open_but_what_none_is_a_choice_for(name: Any) -> None:
    family = models.get(name)
    options, _ = family.resolve_options(family.Options(), family.SIZES["pico"], 5, "cpu")
    chosen = {"points", "stream"}  # as the mask's size suggests; all streams
    assert {key for key, value in options.model_dump().items() if value is None} <= chosen
    with pytest.raises(ValueError, match="resolution"):
        family.ResolvedOptions()


def test_every_format_and_kind_keeps_its_contract() -> None:
    assert formats.names() == ["coco", "cvat", "labelme", "masks", "via", "voc", "yolo"]
    assert kinds.names() == ["blobs", "tubes"]
    loaded = [formats.get(name) for name in formats.names()]
    loaded += [kinds.get(name) for name in kinds.names()]
    assert len(loaded) == 9 and all(inspect.getdoc(module) for module in loaded)


BROKEN = [
    (models.get, "PARTS = ()\ndef build(spec): ...", "SIZES is missing; TASKS is missing; "
     "Options is missing; ResolvedOptions is missing; resolve_options is missing; "
     "criterion is missing; predictions is missing; postprocess is missing; "
     "build takes (spec), not (spec, masks); "
     "expected all that segue.models.family.Family lists; next: docs/extending.md"),
    (formats.get, "detect = 1", "splits is missing; read is missing; detect is no function"),
    (kinds.get, "CLASS = 'a'\ndef find(): ...", "LENGTH is missing; Settings is missing; "
     "find takes (), not (image, settings, pixels_per_unit, show)"),
    (models.get, "import nowhere_at_all", "cannot be imported (ModuleNotFoundError: "
     "No module named 'nowhere_at_all', "),
    (formats.get, "def detect(:", "cannot be imported (SyntaxError: "),
    (kinds.get, "1 / 0", "cannot be imported (ZeroDivisionError: division by zero, "),
]  # fmt: skip


@pytest.mark.parametrize(("get", "code", "message"), BROKEN)
def test_a_module_without_its_contract_is_one_error_that_lists_all_of_it(
    get: Any, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "plugin.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    monkeypatch.delitem(sys.modules, "broken.plugin", raising=False)
    with pytest.raises(PlanError, match="broken.plugin") as caught:
        get("broken.plugin")
    assert message in caught.value.message


def test_segue_check_says_what_a_family_lacks_and_shows_no_traceback(
    rendered: Path, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "mine.py").write_text("PARTS = ('a',)\ndef build(spec, masks): ...")
    content = toy_plan(rendered, tmp_path / "runs") | {"model": {"family": "theirs.mine"}}
    done = segue("check", write_plan(tmp_path / "plan.yaml", content), cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "family theirs.mine: SIZES is missing; TASKS is missing; " in done.stderr


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_a_plan_and_explains_itself(name: Any) -> None:
    text = recipes.text(name)
    plan = parse(text, f"{name}.yaml")
    assert plan.name == name and plan.stages
    assert text.count("#") >= 8


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_runs_with_nothing_changed_but_size_and_length(
    name: Any, rendered: Path, tmp_path: Path
) -> None:
    """And, where it starts from weights on the hub, with weights of that size."""
    content = yaml.safe_load(recipes.text(name))
    overrides = [f"data={{root: {rendered}}}", f"runs={tmp_path}", "model.size=pico", "device=cpu"]
    if content["model"].pop("resolution", None):  # the size's own
        overrides.append("model.resolution=")
    if content["model"].get("weights"):
        overrides.append(f"model.weights={pico_weights(content['model'], tmp_path / 'pico')}")
    for stage in content["stages"]:
        thaws = list(stage.get("thaw", {}).values())
        # a stage's own data: the same
        changes = {"epochs": 1 + len(thaws), "steps": "", "workers": 0, "data": ""}
        overrides += [f"stages.{stage['name']}.{key}={value}" for key, value in changes.items()]
        if thaws:
            overrides.append(f"stages.{stage['name']}.thaw={json.dumps(dict(enumerate(thaws, 1)))}")
    plan = parse(recipes.text(name), name, tuple(overrides))
    folder = run_plan(plan, Console(quiet=True))
    assert (folder / "report.html").stat().st_size > 10_000


def pico_weights(model: dict[str, Any], folder: Path) -> Path:
    """A checkpoint of the recipe's model in the size for CPUs, of other classes."""
    family = models.get(model["family"])
    own = {key: value for key, value in model.items() if key in family.Options.model_fields}
    options, _ = family.resolve_options(family.Options(**own), family.SIZES["pico"], 5, "cpu")
    spec = ModelSpec(
        family=model["family"], size="pico", classes=("person", "rod"), options=options.model_dump()
    )
    card = checkpoint.Card(spec=spec, stage="pretrained", complete=True)
    checkpoint.write(folder, family.build(spec, masks=False).state_dict(), card)
    return folder


def test_a_family_of_somebody_elses_is_found_by_its_dotted_path(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = inspect.getsourcefile(rfdetr)
    assert source is not None
    (tmp_path / "theirs").mkdir()
    shutil.copy(source, tmp_path / "theirs" / "detector.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = toy_plan(rendered, tmp_path / "runs", detector={"epochs": 1})
    content["model"]["family"] = "theirs.detector"
    plan = parse(yaml.safe_dump(content), "plan.yaml")
    folder = run_plan(plan, Console(quiet=True), "detector")
    assert (folder / "1-detector" / "selected" / "card.json").read_text().count(
        "theirs.detector"
    ) == 1
