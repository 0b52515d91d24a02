"""The training commands of the noisy-then-manual recipe, typed as its text has them, on short
configurations.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.compat.noisy_then_manual import run as stage_run
from segue.models import mask2former
from segue.training import checkpoint
from segue.training.journal import Journal
from tests.compat.noisy_then_manual.commands import (
    FOLDER,
    OUT,
    files_of,
    stage,
    typed,
    write_configs,
)
from tests.toy import Stopped, losses, same_tensors

# Every line of the text that trains or evaluates, in an order a person could type them; --num-gpus
# has its own test.
LINES = (
    "train_two_stage.py",
    "train_two_stage.py --stage 1",
    "train_two_stage.py --stage 2",
    "train_two_stage.py --dataset /path/to/myotube_dataset",
    "train_net.py --config-file stage1_config.yaml --eval-only",
    "train_net.py --config-file stage2_config.yaml --eval-only",
    "train_two_stage.py --stage 1 --resume",
    "train_two_stage.py --stage 2 --resume",
    "train_two_stage.py --stage 1 --opts SOLVER.BASE_LR 0.0001",
    "train_two_stage.py --stage 2 --opts SOLVER.MAX_ITER 1500",
    "train_two_stage.py --opts SOLVER.IMS_PER_BATCH 6",
    "train_two_stage.py --opts SOLVER.IMS_PER_BATCH 2",
)


@pytest.fixture(scope="module")
def project(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configurations, shortened, and a data set in the text's layout, without
    manual_test.
    """
    folder = tmp_path_factory.mktemp("noisy")
    algorithmic = {
        "algorithmic_train": ("train", slice(6)),
        "algorithmic_test": ("valid", slice(2)),
    }
    files_of(
        folder / "myotube_dataset", rendered, {**algorithmic, "manual_train": ("test", slice(3))}
    )
    write_configs(folder)
    return folder


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Path
) -> Callable[..., tuple[int, str]]:
    """Types a line in a folder, in this process; gives its exit code and what it said."""

    return lambda line, cwd=project: typed(line, cwd, monkeypatch, capsys)


def lines_of(folder: Path, number: int) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (folder / OUT[number] / "metrics.json").read_text().splitlines()
    ]


@pytest.fixture
def trained(here: Callable[..., tuple[int, str]], project: Path) -> dict[str, str]:
    """Every line of the text, typed once; what each said."""
    note = project / "said.json"
    if not note.exists():
        shutil.copytree(project / "myotube_dataset", project / "elsewhere" / "myotube_dataset")
        said = {}
        for line in LINES:
            typed = line.replace("/path/to", "elsewhere").replace("MAX_ITER 1500", "MAX_ITER 3")
            code, said[line] = here(typed)
            assert code == 0, said[line]
            if line == "train_two_stage.py":
                shutil.copytree(
                    project, project / "after-the-first", ignore=shutil.ignore_patterns("after*")
                )
        note.write_text(json.dumps(said))
    return json.loads(note.read_text())


def test_all_twelve_lines_run_and_train_only_what_is_not_there_yet(
    project: Path, trained: dict[str, str]
) -> None:
    assert len(trained) == len(LINES) == 12
    kept = {line: said.count("complete, kept") for line, said in trained.items()}
    assert [kept[line] for line in LINES] == [0, 1, 1, 2, 0, 0, 1, 1, 0, 0, 0, 1]
    assert [len(list((project / out / "runs").glob("*-*"))) for out in OUT.values()] == [3, 4]
    assert (
        "2 of 3 images" not in trained[LINES[0]]
        and "1 of 3 images of manual_train" in trained[LINES[0]]
    )


def test_both_stages_leave_what_the_text_promises(project: Path, trained: dict[str, str]) -> None:
    place = project / "after-the-first"
    for number, out in OUT.items():
        folder = place / out
        promised = (
            "log.txt",
            "last_checkpoint",
            "config.yaml",
            "inference/coco_instances_results.json",
        )
        assert all((folder / name).is_file() for name in promised) and list(folder.glob("events.*"))
        content = torch.load(folder / "model_final.pth")  # the safe default
        tensors = checkpoint.read(stage(place, number) / "selected")[1]
        read = mask2former.import_weights(str(folder / "model_final.pth"))
        assert read.tensors.keys() == tensors.keys() and read.classes == ("cell", "rod", "tube")
        assert all(torch.equal(read.tensors[name], tensor) for name, tensor in tensors.items())
        assert "sem_seg_head.predictor.query_feat.weight" in content["model"]
        steps = [row for row in lines_of(place, number) if "total_loss" in row]
        figures = [
            row for row in lines_of(place, number) if "segm/AP" in row and "segm/AP50" in row
        ]
        assert [row["iteration"] for row in steps] == [0, 1, 2, 3] and [
            r["iteration"] for r in figures
        ] == [1, 3]
        assert [row["total_loss"] for row in steps] == losses(stage(place, number))
        assert f"selected step {content['iteration']}," in (folder / "log.txt").read_text()
    assert {path.name for path in (place / OUT[1]).glob("model_0*.pth")} == {
        "model_0000001.pth",
        "model_0000003.pth",
    }


def test_stage_2_starts_from_what_stage_1_selected_last(
    project: Path, trained: dict[str, str]
) -> None:
    parents = {
        run: checkpoint.read_card(stage(project, 2, run) / "selected").came_from for run in (1, 2)
    }
    for run, number in ((1, 1), (2, 2)):  # the second of stage 2 was trained after another stage 1
        card = checkpoint.read_card(stage(project, 1, number) / "selected")
        assert parents[run]["weights_sha256"] == card.files["weights.safetensors"] and card.complete
    assert len(losses(stage(project, 2, 2))) == 3


def test_evaluation_is_of_what_was_trained_or_of_weights_that_are_given(
    project: Path, trained: dict[str, str], here: Callable[..., tuple[int, str]]
) -> None:
    figures = json.loads((stage(project / "after-the-first", 1) / "metrics.json").read_text())[
        "valid"
    ]
    assert (
        f"segm: AP {100 * figures['mask_ap']:.2f}, AP50 {100 * figures['mask_ap50']:.2f}"
        in trained[LINES[4]]
    )
    place = project / "after-the-first"
    line = "train_net.py --config-file stage1_config.yaml --eval-only MODEL.WEIGHTS "
    code, of_file = here(f"{line}{OUT[1]}/model_final.pth", place)
    assert code == 0 and of_file == here(line.removesuffix(" MODEL.WEIGHTS "), place)[1]
    code, said = here("train_two_stage.py --eval-only", place)
    assert (
        code == 0
        and said.startswith("stage 1")
        and of_file.splitlines()[0] in said
        and "stage 2" in said
    )


def test_killed_in_both_stages_and_between_it_goes_on_to_the_bit(
    project: Path,
    trained: dict[str, str],
    here: Callable[..., tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(project / "myotube_dataset", tmp_path / "myotube_dataset")
    write_configs(tmp_path)
    note = Journal.step

    # as if killed before the last step is noted; `last` is of the evaluation after step 2
    def deadly(self: Any, row: Any):
        if row["step"] == 4:
            raise Stopped
        note(self, row)

    for number in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(Journal, "step", deadly)
            here("train_two_stage.py", tmp_path)
        assert checkpoint.read_card(stage(tmp_path, number) / "last").step == 2
        if number == 1:
            code, said = here("train_two_stage.py --stage 2 --resume", tmp_path)
            assert code == 2 and "is not finished (running after step 2)" in said
            assert said.strip().endswith("next: python train_two_stage.py --stage 1")
            # between: complete, its files not yet left
            with monkeypatch.context() as patch, pytest.raises(Stopped):
                patch.setattr(
                    stage_run, "leave", lambda run, config: (_ for _ in ()).throw(Stopped)
                )
                here("train_two_stage.py", tmp_path)
    assert here("train_two_stage.py --resume", tmp_path)[0] == 0
    for number in (1, 2):
        first, second = stage(tmp_path, number), stage(project / "after-the-first", number)
        assert losses(first) == losses(second) and len(losses(first)) == 4
        assert all(same_tensors(first / kind, second / kind) for kind in ("last", "selected"))
        timeless = [
            [{k: v for k, v in row.items() if k != "time"} for row in lines_of(folder, number)]
            for folder in (tmp_path, project / "after-the-first")
        ]
        assert timeless[0] == timeless[1]


def test_an_unfinished_run_with_other_settings_is_kept_and_said(
    project: Path,
    trained: dict[str, str],
    here: Callable[..., tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(project / "after-the-first" / "myotube_dataset", tmp_path / "myotube_dataset")
    write_configs(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Journal, "step", lambda self, row: (_ for _ in ()).throw(Stopped))
        here("train_two_stage.py --stage 1", tmp_path)
    other = "train_two_stage.py --stage 1 --opts SOLVER.MAX_ITER 1"
    code, said = here(f"{other} --resume", tmp_path)
    assert (
        code == 2
        and "algorithmic-1 ended at its beginning with other settings: " in said
        and "steps 4 -> 1" in said
    )
    code, said = here(other, tmp_path)
    assert code == 0 and "it is kept; this is a new run next to it" in said
    assert [stage(tmp_path, 1, run).is_dir() for run in (1, 2)] == [True, True]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(
    project: Path, trained: dict[str, str], tmp_path: Path
) -> None:
    place = project / "after-the-first"
    shutil.copytree(place / "myotube_dataset", tmp_path / "myotube_dataset")
    write_configs(tmp_path)
    line = [sys.executable, "-W", "ignore", str(FOLDER / "train_two_stage.py"), "--num-gpus", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    # once for each stage
    assert torch.cuda.device_count() > 1 or done.stderr.count("the CPU stands in") == 2
    for number in (1, 2):
        ours, theirs = losses(stage(tmp_path, number)), losses(stage(place, number))
        assert ours[0] == pytest.approx(theirs[0], rel=1e-5 if number == 1 else 1e-3)
        assert ours == pytest.approx(theirs, rel=1e-3)
        assert (tmp_path / OUT[number] / "model_final.pth").is_file()
