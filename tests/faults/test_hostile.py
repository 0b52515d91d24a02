"""Files that try to do harm, at every door: nothing runs, nothing breaks, one line says why."""

from __future__ import annotations

import json
import re
import resource
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segue
from segue import models
from segue.cli.app import main
from segue.data.synthetic import render_dataset
from segue.errors import PlanError, SegueError
from segue.models import ModelSpec, rfdetr
from segue.rfdetr import RFDETRPico
from segue.training import checkpoint
from tests.conftest import ROOT, Promise, toy_plan, write_plan
from tests.faults.payloads import MODULE, PAYLOADS, SCRIPT

# FILE and FOLDER are the payload; CKPT, DATA, LABELS, PLAN are good; OUT is a new name.
COMMANDS = """
check FILE
check FOLDER
check FOLDER/plan.yaml
check PLAN model.weights=FILE
check PLAN model.weights=FOLDER
check PLAN data={root:FOLDER}
check PLAN data.quarantine=FILE
check PLAN model.family=mask2former model.weights=FILE
run FILE
run FOLDER/plan.yaml
run PLAN data={root:FOLDER}
sweep FOLDER/plan.yaml model.size=pico,nano
predict FILE DATA/test
predict FOLDER DATA/test
predict CKPT FOLDER --out OUT --threshold 0
evaluate FILE DATA
evaluate FOLDER DATA
evaluate CKPT FOLDER --split train
evaluate CKPT FOLDER/plan.yaml
inspect FILE
inspect FOLDER
report FOLDER
report FOLDER FOLDER
head strip FILE OUT
head strip FOLDER OUT
head keep FILE OUT cell
head keep FOLDER OUT cell
label auto FOLDER --kind blobs --out OUT
label auto FILE --kind tubes --out OUT
label pick FOLDER --count 1 --kind blobs --out OUT
label import FILE --into DATA
label import FOLDER --into DATA
label import FILE --into DATA --picked FOLDER
data info FILE
data info FOLDER
data audit FOLDER --out OUT
data audit FILE --quick
data merge FOLDER DATA --out OUT
data split FOLDER --out OUT
data scale FOLDER --factor 0.5 --out OUT
data convert FOLDER --to coco --out OUT
data convert FOLDER --to cvat --out OUT
data convert FOLDER --to labelme --out OUT
""".strip().splitlines()
WITHOUT_FILES = {"demo": "reads no file", "init": "names a recipe of the package"}
SCRIPTS = {
    "detector-then-masks/strip_class_heads.py": "FILE OUT",
    "detector-then-masks/shrink_head.py": "--in_ckpt FILE --out_ckpt OUT --keep cell",
    "detector-then-masks/validate_setup.py": "--dataset FOLDER",
    "noisy-then-manual/utils/combine_coco_annotations.py": "-f1 FILE -f2 FILE -o OUT",
    "noisy-then-manual/utils/scale_coco_annotations.py": "-i FILE -d FOLDER -o OUT",
    "noisy-then-manual/register_two_stage_datasets.py": "--dataset_root FOLDER",
}
CALLS: dict[str, Callable[[Path], object]] = {
    "segue.load": lambda path: segue.load(path, "cpu"),
    "segue.load_plan": lambda path: segue.load_plan(path),
    "RFDETRPico": lambda path: RFDETRPico(path, device="cpu"),
    **{
        f"{name}.import_weights": lambda path, n=name: models.get(n).import_weights(str(path))
        for name in models.names()
    },
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("good")
    data = render_dataset(folder / "data", {"train": 2, "valid": 1, "test": 1}, side=64, seed=1)
    options = rfdetr.resolve_options(
        rfdetr.Options(resolution=64, queries=10, groups=1), rfdetr.SIZES["pico"], 5, "cpu"
    )[0]
    spec = ModelSpec(family="rfdetr", size="pico", classes=("cell",), options=options.model_dump())
    checkpoint.write(
        folder / "ckpt", rfdetr.build(spec, masks=False).state_dict(), checkpoint.Card(spec=spec)
    )
    plan = write_plan(folder / "plan.yaml", toy_plan(data, folder / "runs"))
    return {"CKPT": folder / "ckpt", "DATA": data, "PLAN": plan}


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The marker. It is made by every payload that runs, and by the import that a card names."""
    marker = tmp_path / "marker"
    (tmp_path / "code" / MODULE).mkdir(parents=True)
    (tmp_path / "code" / MODULE / "__init__.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    (tmp_path / "code" / MODULE / "model.py").write_text(
        "SIZES = PARTS = TASKS = Options = build = ()"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.chdir(tmp_path)
    yield marker
    for name in (f"{MODULE}.model", MODULE):
        sys.modules.pop(name, None)


def filled(line: str, path: Path, folder: Path, good: dict[str, Path], out: Path) -> list[str]:
    places = {**good, "FILE": path, "FOLDER": folder, "OUT": out}
    return [
        re.sub(r"\b(FILE|FOLDER|OUT|CKPT|DATA|PLAN)\b", lambda m: str(places[m[1]]), word)
        for word in line.split()
    ]


def outcome(code: object, stderr: str, printed: str) -> str:
    """What is wrong with how a command ended; nothing, if it went well or said in one line why
    not.
    """
    wrong = [c for c in stderr + printed if not c.isprintable() and c != "\n"]
    errors = re.findall(r"^\S+: error: .*", stderr, re.MULTILINE)
    if (
        code not in (0, 1, 2, 3)
        or "Traceback" in stderr
        or wrong
        or (code in (2, 3) and len(errors) != 1)
    ):
        return f"exit code {code}, {errors or stderr[-300:]}, {wrong[:3]}"
    return ""


def tried(run: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    began = time.process_time()
    try:
        code = run()
    except Exception as error:  # noqa: BLE001  whatever it is, it is a traceback
        capsys.readouterr()
        return f"{type(error).__name__}: {str(error)[:200]}"
    printed = capsys.readouterr()
    seconds = time.process_time() - began
    return outcome(code, printed.err, printed.out) or (f"{seconds:.0f} s" if seconds > 10 else "")


def called(call: Callable[[Path], object], path: Path) -> int:
    try:
        call(path)
    except SegueError as error:
        assert error.message.isprintable() or "\n" in error.message
    return 0


def script(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a script as it is run, in this process."""
    path = ROOT / "scripts" / name
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize("name", PAYLOADS)
def test_no_payload_runs_wherever_it_is_given(
    name: Any,
    good: dict[str, Path],
    trap: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    promise: Promise,
) -> None:
    folder = tmp_path / "payload"
    folder.mkdir()
    path = PAYLOADS[name](folder, trap)
    before = {str(p): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # A plan that a person names is a program of theirs; the run that lies around it is not.
    lines = [line for line in COMMANDS if name != "card" or "plan.yaml" not in line]
    wrong: dict[str, str] = {}
    for number, line in enumerate(lines):
        words = filled(line, path, folder, good, tmp_path / f"out-{number}")
        wrong[line] = tried(lambda words=words: main(words), capsys)
    for file, line in SCRIPTS.items():
        words = filled(line, path, folder, good, tmp_path / ("out-" + Path(file).stem))
        wrong[file] = tried(lambda file=file, words=words: script(file, words, monkeypatch), capsys)
    for what, call in CALLS.items():
        for given in (path, folder):
            wrong[f"{what} {given.name}"] = tried(
                lambda call=call, given=given: called(call, given), capsys
            )
    assert {line: found for line, found in wrong.items() if found} == {}
    assert not trap.exists() and f"{MODULE}.model" not in sys.modules
    assert {str(p): p.stat().st_size for p in folder.rglob("*") if str(p) in before} == before
    # kB: no bomb went off
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000
    pairs = len(wrong)
    assert pairs == (59 if name == "card" else 63)
    promise("hostile", pairs, f"ways to give {name} to segue")


def test_every_verb_is_given_payloads() -> None:
    from tests.contracts.test_cli import VERBS

    assert {line.split()[0] for line in COMMANDS} | set(WITHOUT_FILES) == VERBS
    assert len(PAYLOADS) >= 12


def test_the_payloads_are_harmful(trap: Path, tmp_path: Path) -> None:
    """Read as careless programs read them they do leave the marker, so that its absence means
    something.
    """
    import pickle

    done = []
    for name in ("archive", "legacy", "nested", "plain_pickle", "object_array"):
        folder = tmp_path / name
        folder.mkdir()
        path = PAYLOADS[name](folder, trap)
        if path.suffix == ".npy":
            np.load(path, allow_pickle=True)
        elif path.suffix == ".pkl":
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
        assert trap.exists(), name
        trap.rmdir()
        done.append(name)
    __import__(MODULE)
    assert trap.exists() and len(done) == 5


def test_markup_and_control_characters_reach_no_page_and_no_terminal(
    trap: Path,
    tmp_path: Path,
    good: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "payload"
    folder.mkdir()
    PAYLOADS["names"](folder, trap)
    assert main(["data", "audit", str(folder), "--out", "audit"]) in (0, 2)
    assert main(["data", "info", str(folder)]) == 0
    assert main(["predict", str(good["CKPT"]), str(folder), "--out", "found"]) == 0
    assert main(
        ["label", "auto", str(folder), "--kind", "blobs", "--class", SCRIPT, "--out", "labels"]
    ) in (0, 2)
    printed = capsys.readouterr()
    assert (
        all(c.isprintable() or c == "\n" for c in printed.out + printed.err)
        and "\\x1b" in printed.out
    )
    pages = {path.name: path.read_text() for path in tmp_path.glob("*/*.html")}
    assert set(pages) == {"audit.html", "sheet.html"}
    assert all("<script" not in page and "<b " not in page for page in pages.values())
    assert all("&lt;script&gt;" in page for page in pages.values())
    content = json.loads((tmp_path / "found" / "predictions.coco.json").read_text())
    assert len(content["images"]) == 1


def test_a_module_that_a_card_names_is_used_only_where_its_user_allows_it(
    trap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "payload"
    folder.mkdir()
    PAYLOADS["card"](folder, trap)
    assert main(["inspect", str(folder)]) == 2
    said = capsys.readouterr().err
    assert (
        f"family {MODULE}.model" in said
        and f"SEGUE_MODULES={MODULE}.model" in said
        and not trap.exists()
    )
    assert main(["report", str(folder)]) == 2 and not trap.exists()
    monkeypatch.setenv("SEGUE_MODULES", f"other,{MODULE}.model")
    assert checkpoint.read_card(folder).spec.family == f"{MODULE}.model"
    with pytest.raises(PlanError, match="ResolvedOptions is missing; .*build is no function"):
        models.get(f"{MODULE}.model")
    assert trap.exists()
