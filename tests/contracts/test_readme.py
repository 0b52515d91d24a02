"""Every command, plan and sample of the README runs as it stands there; only training is made
shorter.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from segue.plan.reading import parse
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = dict(re.findall(r"<!-- (\w+) -->\n```\w+\n(.*?)\n```", README, flags=re.DOTALL))
SHORT = "model.size=pico device=cpu stages.detector.epochs=1 stages.masks.epochs=1"


def test_every_block_of_code_is_one_that_a_test_runs() -> None:
    assert set(BLOCKS) == {"demo", "tests", "plan", "commands", "python"}
    assert README.count("```") == 2 * len(BLOCKS) + 2  # and the tree of what a run leaves


def test_the_first_screen_has_what_a_newcomer_needs() -> None:
    screen = README.splitlines()[:60]
    text = "\n".join(screen)
    assert "docs/demo.png" in text and (ROOT / "docs" / "demo.png").stat().st_size > 10_000
    assert "<!-- demo -->" in text and "<!-- tests -->" in text and "<!-- plan -->" in text
    assert len(BLOCKS["plan"].splitlines()) == 12


def test_ci_runs_the_two_commands_as_they_stand_in_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "readme_command tests" in script and "readme_command demo" in script
    assert "constraints.txt" in BLOCKS["demo"] and (ROOT / "constraints.txt").is_file()


def test_figures_were_written_by_the_command() -> None:
    figures = README.partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]
    rows = [line for line in figures.splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    values = rows[-1].split("|")
    assert float(values[4]) > 0.5 and float(values[6]) > 0.5  # box_ap50 and mask_ap50


def test_the_plan_is_a_plan() -> None:
    plan = parse(BLOCKS["plan"], "README.md")
    assert [stage.task for stage in plan.stages] == ["boxes", "masks"]


@pytest.fixture(scope="module")
def place(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "dataset").symlink_to(rendered)
    return folder


def shell(line: str, cwd: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        line, shell=True, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.slow
def test_the_commands_run_one_after_another(place: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in BLOCKS["commands"].splitlines()]
    assert [line.split()[1] for line in lines] == [
        "init",
        "check",
        "run",
        "inspect",
        "evaluate",
        "predict",
    ]
    for line in lines:
        shell(line + (f" {SHORT}" if line.split()[1] in ("check", "run") else ""), place)
    tree = README.partition("```text\n")[2].partition("```")[0]
    run = place / "runs" / "detector-then-masks-1"
    for name in re.findall(r"[a-z]+(?:\.coco)?\.(?:yaml|json|html|csv|safetensors|pt)", tree):
        assert list(run.rglob(name)), name
    assert len(list((place / "predictions").glob("*.png"))) == 3


def test_the_python_sample_runs(place: Path) -> None:
    if not (place / "runs").exists():
        pytest.skip("the commands did not run")
    Image.open(next((place / "dataset" / "test").glob("*.png"))).convert("RGB").save(
        place / "photo.jpg"
    )
    pytest.importorskip("supervision")
    (place / "sample.py").write_text(BLOCKS["python"])
    shell(f"{sys.executable} sample.py", place)


def test_the_recipe_that_the_commands_start_from_differs_from_the_plan_in_length_only() -> None:
    from segue.plan.recipes import text

    shown, recipe = (
        yaml.safe_load(source) for source in (BLOCKS["plan"], text("detector-then-masks"))
    )
    assert [s["name"] for s in shown["stages"]] == [s["name"] for s in recipe["stages"]]
    assert shown["model"]["mask_head"] == recipe["model"]["mask_head"]


def test_the_api_page_is_what_the_docstrings_say() -> None:
    command = [sys.executable, ROOT / "docs" / "api.py", "--check"]
    assert subprocess.run(command).returncode == 0, "next: python docs/api.py"
