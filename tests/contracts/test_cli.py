"""The command line: every verb, how fast it answers, and how it says that something is wrong."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
from PIL import Image

from segue.cli.app import app, head, main
from tests.conftest import segue, toy_plan, write_plan

VERBS = {
    "demo",
    "init",
    "check",
    "run",
    "sweep",
    "predict",
    "evaluate",
    "inspect",
    "report",
    "head",
    "label",
    "data",
}


def test_the_verbs_are_these():
    """Each is run by a test: demo, init, check, run, ...

    below and in tests/contracts/test_readme.py.
    """
    found = {name for name in app if not name.startswith("-")}
    assert found == VERBS
    assert {name for name in head if not name.startswith("-")} == {"keep", "strip"}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself_without_loading_torch(verb):
    code = (
        f"import sys; from segue.cli import main; main(['{verb}', '--help']); assert 'torch' "
        "not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"Usage: segue {verb}" in done.stdout and len(done.stdout.splitlines()) >= 5


def test_importing_segue_does_not_import_torch():
    code = "import segue, sys; assert 'torch' not in sys.modules; assert 'load' in dir(segue)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def processor_seconds(code: str) -> float:
    """The least of five runs of a Python process."""
    taken = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def test_help_costs_little_more_than_the_library_it_stands_on():
    """A ratio, because machines differ; seconds are in docs/benchmarks.md (0.11, and the promise is
    0.3).
    """
    library = processor_seconds("import cyclopts")
    assert processor_seconds("from segue.cli import main; main(['--help'])") < 4 * library


@pytest.fixture
def typed(capfd):
    """A command line in this process, which has torch already; `finished` has one of its own."""

    def command(*arguments: object) -> subprocess.CompletedProcess:
        capfd.readouterr()
        code = main([*map(str, arguments)])
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return command


def test_the_demo_runs_to_its_report(tmp_path, typed):
    done = typed("demo", tmp_path / "demo", "--quick")
    assert done.returncode == 0, done.stderr
    report = tmp_path / "demo" / "runs" / "demo-1" / "report.html"
    assert done.stdout.strip() == str(report) and report.is_file()
    assert "values unchanged" in done.stderr and "segue predict" in done.stderr


@pytest.fixture(scope="module")
def finished(rendered, tmp_path_factory):
    """A run made by the command line from a plan file."""
    folder = tmp_path_factory.mktemp("cli")
    write_plan(folder / "plan.yaml", toy_plan(rendered, folder / "runs"))
    done = segue("run", "plan.yaml", "--opts", "stages.masks.epochs", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "runs" / "toy-1")
    return folder / "runs" / "toy-1"


def test_run_stops_after_the_stage_asked_for(rendered, tmp_path, typed):
    write_plan(tmp_path / "plan.yaml", toy_plan(rendered, tmp_path / "runs"))
    done = typed("run", tmp_path / "plan.yaml", "stages.detector.epochs=1", "--stage", "detector")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "runs" / "toy-1" / "2-masks").exists()


def test_check_lists_data_models_and_hand_overs_and_trains_nothing(rendered, tmp_path, typed):
    write_plan(tmp_path / "plan.yaml", toy_plan(rendered, tmp_path / "runs"))
    done = typed("check", tmp_path / "plan.yaml")
    assert done.returncode == 0, done.stderr
    for words in (
        "torch ",
        "train: 16 images",
        "parameters handed over",
        "frozen",
        "4 steps of 8 images",
        "ready",
    ):
        assert words in done.stdout, done.stdout
    assert not (tmp_path / "runs").exists()
    as_json = json.loads(typed("check", rendered, "--json").stdout)
    assert as_json["errors"] == [] and "classes: cell, rod, tube" in as_json["sections"]["data"]


def test_inspect_tells_parts_and_true_counts(finished, typed):
    done = typed("inspect", finished)
    assert done.returncode == 0, done.stderr
    assert (
        "mask_head" in done.stdout
        and "learned" in done.stdout
        and "1-detector/selected" in done.stdout
    )
    card = json.loads(typed("inspect", finished / "1-detector", "--json").stdout)
    assert card["spec"]["classes"] == ["cell", "rod", "tube"] and card["complete"]


def test_evaluate_gives_the_figures_the_run_wrote(finished, rendered, tmp_path, typed):
    done = typed("evaluate", finished, rendered, "--json", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    written = json.loads((finished / "2-masks" / "metrics.json").read_text())["valid"]
    assert {name: figures[name] for name in written} == written
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == figures
    assert "mask_ap50" in typed("evaluate", finished, rendered, "--split", "test").stdout


def test_predict_writes_overlays_and_a_complete_coco_file(finished, rendered, tmp_path, typed):
    done = typed(
        "predict", finished, rendered / "test", "--out", tmp_path / "out", "--threshold", 0.05
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "predictions.coco.json").read_text())
    assert len(result["images"]) == 3 and len(result["categories"]) == 3
    assert all(0.05 <= entry["score"] <= 1 for entry in result["annotations"])
    for entry in result["images"]:
        with Image.open((tmp_path / "out" / entry["file_name"]).with_suffix(".png")) as overlay:
            assert overlay.size == (entry["width"], entry["height"])


def test_the_report_can_be_written_again(finished, typed):
    before = (finished / "report.html").read_text()
    (finished / "report.html").unlink()
    assert typed("report", finished).returncode == 0
    assert (finished / "report.html").read_text().count("<img") == before.count("<img") > 0


def test_heads_are_kept_and_stripped(finished, tmp_path, typed):
    done = typed("head", "keep", finished / "1-detector", tmp_path / "two", "tube", "cell")
    assert done.returncode == 0 and "3 -> 2 classes" in done.stdout
    assert "classes    tube, cell" in typed("inspect", tmp_path / "two").stdout
    assert typed("head", "strip", finished / "1-detector", tmp_path / "none").returncode == 0
    wrong = typed("head", "keep", finished / "1-detector", tmp_path / "wrong", "tubes")
    assert wrong.returncode == 2 and "no class tubes; expected cell, rod, tube" in wrong.stderr


def test_head_and_predict_never_replace_what_is_there(finished, rendered, tmp_path, typed):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.txt").write_text("mine")
    for verb in (
        ("keep", finished / "1-detector", tmp_path / "data", "cell"),
        ("strip", finished, tmp_path / "data"),
    ):
        done = typed("head", *verb)
        assert done.returncode == 2 and "data: exists; expected a name that is free" in done.stderr
    assert (tmp_path / "data" / "precious.txt").read_text() == "mine"
    done = typed("predict", finished, rendered / "test", "--out", rendered / "test")
    assert done.returncode == 2 and "is the folder of the images" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "absent.yaml"), "absent.yaml: no such file"),
        (("sweep", "absent.yaml", "model.size=pico,nano"), "absent.yaml: no such file"),
        (("init", "detector-then-mask"), "detector-then-masks?"),
        (("inspect", "nowhere"), "nowhere"),
        (("evaluate", "nowhere", "data"), "nowhere"),
        (("predict", "nowhere", "data"), "nowhere"),
        (("check", "nowhere"), "nowhere"),
        (("report", "nowhere"), "nowhere"),
        (("head", "strip", "nowhere", "out"), "nowhere"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_2(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.strip().splitlines()) == 1, said
    assert list(tmp_path.iterdir()) == []
