"""Every family, format and recipe keeps the contract of its kind; each test says how many it
covered.
"""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from segue import models
from segue.base.settings import Settings
from segue.data import formats
from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.plan import recipes
from segue.plan.reading import parse
from segue.run.runner import run_plan
from segue.structures.channels import RGB, Channel
from segue.training import checkpoint
from tests.conftest import toy_plan
from tests.toy import Console

FAMILY_FUNCTIONS = (
    "resolve_options", "with_pretraining_stats", "build", "criterion", "predictions", "postprocess",
    "input_size", "multiscale_sides", "class_heads", "input_convs", "import_weights",
    "options_from_weights", "adapt_weights",
)  # fmt: skip


def test_the_families_are_those_with_a_file():
    assert models.names() == ["detr", "mask2former", "rfdetr", "rgbx_rcnn"]


@pytest.mark.parametrize("name", models.names())
def test_a_family_has_all_that_the_engine_calls(name):
    family = models.get(name)
    for function in FAMILY_FUNCTIONS:
        assert callable(getattr(family, function)), function
        assert inspect.getdoc(getattr(family, function)), f"{function} is not documented"
    assert issubclass(family.Options, Settings) and inspect.getdoc(family.Options)
    assert inspect.getdoc(family)


SIZES = [(name, size) for name in models.names() for size in models.get(name).SIZES]


def test_all_sizes_are_covered():
    assert len(SIZES) == 33


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_size_is_a_chain_whose_parameters_belong_to_parts(name, size):
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


def test_every_format_has_the_three_functions():
    assert formats.names() == ["coco", "cvat", "labelme", "masks", "via", "voc", "yolo"]
    for name in formats.names():
        module = formats.get(name)
        assert all(callable(getattr(module, function)) for function in ("detect", "splits", "read"))


def test_the_recipes_are_those_listed():
    assert recipes.names() == ["detector-then-masks", "noisy-then-manual", "rgbx-sweep", "thaw"]


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_a_plan_and_explains_itself(name):
    text = recipes.text(name)
    plan = parse(text, f"{name}.yaml")
    assert plan.name == name and plan.stages
    assert text.count("#") >= 8


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_runs_with_nothing_changed_but_size_and_length(name, rendered, tmp_path):
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


def pico_weights(model: dict, folder: Path) -> Path:
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


def test_a_family_of_somebody_elses_is_found_by_its_dotted_path(rendered, tmp_path, monkeypatch):
    source = inspect.getsourcefile(models.get("rfdetr"))
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
