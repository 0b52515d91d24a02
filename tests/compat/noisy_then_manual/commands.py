"""What the tests of the noisy-then-manual recipe share: commands typed in this process, short
configurations, data in the text's layout.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "scripts" / "noisy-then-manual"
OUT = {1: "output_stage1_algorithmic", 2: "output_stage2_manual"}
KINDS = {1: "algorithmic", 2: "manual"}
SHORT = {
    "MODEL": {
        "RECOMPUTE": False,
        "BACKBONE": {"SIZE": "pico"},
        "MASK_FORMER": {"NUM_OBJECT_QUERIES": 15, "TRAIN_NUM_POINTS": 200},
    },
    "INPUT": {"IMAGE_SIZE": 128},
    "SOLVER": {"BASE_LR": 0.001, "MAX_ITER": 4, "STEPS": [3], "WARMUP_ITERS": 1},
    "TEST": {"EVAL_PERIOD": 2},
    "DATALOADER": {"NUM_WORKERS": 0},
}


def merged(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return content | {
        k: merged(content[k], v) if isinstance(v, dict) else v for k, v in changes.items()
    }


def files_of(data: Path, rendered: Path, parts: dict[str, tuple[str, slice]]) -> Path:
    """Images of the rendered data in the text's layout: for each file, images of a split."""
    (data / "images").mkdir(parents=True, exist_ok=True)
    for name, (part, chosen) in parts.items():
        content = json.loads((rendered / part / "_annotations.coco.json").read_text())
        content["images"] = content["images"][chosen]
        ids = {image["id"] for image in content["images"]}
        content["annotations"] = [
            entry for entry in content["annotations"] if entry["image_id"] in ids
        ]
        (data / "annotations").mkdir(exist_ok=True)
        (data / "annotations" / f"{name}_annotations.json").write_text(json.dumps(content))
        for image in content["images"]:
            shutil.copy(rendered / part / image["file_name"], data / "images")
    return data


def rewrite(path: Path, changes: dict[str, Any]) -> None:
    content = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        *sections, last = key.split(".")
        here = content
        for section in sections:
            here = here.setdefault(section, {})
        here[last] = value
    path.write_text(yaml.safe_dump(content))


def write_configs(folder: Path) -> None:
    for number in (1, 2):
        content = merged(yaml.safe_load((FOLDER / f"stage{number}_config.yaml").read_text()), SHORT)
        if number == 1:
            content["MODEL"]["WEIGHTS"] = ""
            content["SOLVER"]["CHECKPOINT_PERIOD"] = 2
        (folder / f"stage{number}_config.yaml").write_text(yaml.safe_dump(content))


def typed(
    line: str, cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit code of a line typed in a folder, in this process, and what it said."""
    name, *arguments = line.split(" ")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.chdir(cwd)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    return int(end.value.code or 0), "".join(capsys.readouterr())


def stage(folder: Path, number: int, run: int = 1) -> Path:
    return folder / OUT[number] / "runs" / f"{KINDS[number]}-{run}" / f"1-{KINDS[number]}"
