"""What is said of keys, lines and data of the noisy-then-manual recipe that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compat.noisy_then_manual.commands import rewrite, typed


@pytest.fixture
def refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """What a line that must not train says: one line, exit code 2, and no output folder."""

    def run(line: str) -> str:
        code, said = typed(line, place, monkeypatch, capsys)
        assert code == 2 and not list(place.glob("output*/runs"))
        (last,) = [line for line in said.splitlines() if not line.startswith("WARNING")]
        return last

    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"SOLVER.BASE_LRR": 1e-4},
            "SOLVER.BASE_LRR: unknown key 'BASE_LRR'; did you mean 'BASE_LR'?",
        ),
        ({"SOLVERS.BASE_LR": 1e-4}, "SOLVERS: unknown key 'SOLVERS'; did you mean 'SOLVER'?"),
        ({"SOLVER.MAX_ITER": 0}, "SOLVER.MAX_ITER: Input should be greater than 0"),
        ({"MODEL.MASK_FORMER.DROPOUT": 0.1}, "MODEL.MASK_FORMER.DROPOUT: 0.1; expected 0.0"),
        (
            {"SEGUE.NOISE.BOUNDRY": 2},
            "SEGUE.NOISE.BOUNDRY: unknown key 'BOUNDRY'; did you mean 'BOUNDARY'?",
        ),
        (
            {"SEGUE.CHANNEL.SCALE": "4095 levels"},
            "SEGUE.CHANNEL.SCALE: expected a number above 0, or percentile",
        ),
        (
            {"SEGUE.CHANNEL.PLANE": -1},
            "SEGUE.CHANNEL.PLANE: expected max, or the number of a plane, from 0",
        ),
        ({"_BASE_": "Base.yaml"}, "_BASE_: Base.yaml; expected all keys in one file"),
    ],
)
def test_a_key_that_cannot_be_is_one_line_with_its_place(
    refused: Callable[[str], str], place: Path, changes: dict[str, Any], words: str
) -> None:
    rewrite(place / "stage1_config.yaml", changes)
    said = refused("train_net.py --config-file stage1_config.yaml")
    lines = (place / "stage1_config.yaml").read_text().splitlines()
    key = next(iter(changes)).rpartition(".")[2] if "SOLVERS" not in said else "SOLVERS"
    number = 1 + next(i for i, line in enumerate(lines) if line.strip().startswith(key + ":"))
    assert f"stage1_config.yaml:{number}:" in said and words in said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "train_two_stage.py --stage 2",
            "output_stage1_algorithmic: no such folder; expected a finished stage",
        ),
        (
            "train_net.py --config-file stage2_config.yaml",
            "next: python train_two_stage.py --stage 1",
        ),
        (
            "train_net.py --config-file stage1_config.yaml --eval-only",
            "next: the same command without --eval-only",
        ),
        (
            "train_two_stage.py --dataset absent",
            "absent/images: not there; expected images/ and annotations/",
        ),
        (
            "train_two_stage.py --opts SOLVER.BASE_LRR 1",
            "command line: SOLVER.BASE_LRR: unknown key",
        ),
        (
            "train_two_stage.py --opts SOLVER.BASE_LR",
            "SOLVER.BASE_LR without a value; expected KEY VALUE pairs",
        ),
        ("train_two_stage.py --opts OUTPUT_DIR out", "for both stages; expected one stage with it"),
        (
            "train_two_stage.py --opts MODEL.BACKBONE.SIZE swin-bass",
            "swin-bass; expected one of pico, swin-tiny",
        ),
        (
            "train_two_stage.py --opts MODEL.SWIN.EMBED_DIM 96",
            "swin-base, but MODEL.SWIN is swin-tiny or swin-small",
        ),
        (
            "train_two_stage.py --stage 1 --opts DATASETS.TRAIN myotube_stage1_trian",
            "expected myotube_stage1_train?",
        ),
        ("train_two_stage.py --stage1-config absent.yaml", "absent.yaml: not readable"),
        (
            "train_net.py --config-file stage1_config.yaml --num-machines 2",
            "expected tcp://HOST:PORT of machine 0",
        ),
    ],
)
def test_a_line_that_cannot_work_says_what_to_type(
    refused: Callable[[str], str], line: str, words: str
) -> None:
    assert words in refused(line)


def test_a_data_set_in_another_layout_is_named_with_what_is_missing(
    refused: Callable[[str], str], place: Path
) -> None:
    (place / "myotube_dataset" / "annotations").rename(place / "myotube_dataset" / "labels")
    said = refused("train_two_stage.py")
    assert "algorithmic_train_annotations.json: not there" in said and said.endswith(
        "next: python setup_two_stage.py"
    )


def test_what_stage_2_lacks_is_said_before_stage_1_trains(
    refused: Callable[[str], str], place: Path
) -> None:
    (place / "myotube_dataset" / "annotations" / "manual_train_annotations.json").unlink()
    assert "manual_train_annotations.json: not there" in refused("train_two_stage.py")
