"""What the tests of the thaw recipe share: the text's configurations, and commands as a person
types them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.conftest import ROOT
from tests.typed import in_process

FOLDER = ROOT / "scripts" / "thaw"
COMMANDS = {"train.py", "inference.py", "coco_eval_val2017.py"}
CHECKPOINTS = "lightning_logs/version_{}/checkpoints"
# As in the text; it goes on from the checkpoint that the example without one leaves.
EXAMPLES = {
    "scratch": """
train:
  checkpoint_path: null  # No checkpoint, train from scratch
  freeze_backbone: true
  unfreeze_backbone_at_epoch: -1
  epochs: 20
""",
    "frozen": """
train:
  checkpoint_path: "lightning_logs/version_0/checkpoints/last.ckpt"
  freeze_backbone: true
  unfreeze_backbone_at_epoch: -1
  epochs: 20
  learning_rate: 0.0001
""",
    "full": """
train:
  checkpoint_path: "lightning_logs/version_0/checkpoints/last.ckpt"
  freeze_backbone: false
  unfreeze_backbone_at_epoch: -1
  epochs: 20
  learning_rate: 0.00005  # Lower LR for full fine-tuning
""",
    "progressive": """
train:
  checkpoint_path: "lightning_logs/version_0/checkpoints/last.ckpt"
  freeze_backbone: true
  unfreeze_backbone_at_epoch: 10
  epochs: 20
  learning_rate: 0.0001
""",
}


def command(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What a command returns and says; the first of a module should have `a_process_of_its_own`."""
    return in_process(FOLDER / name, *arguments, cwd=cwd)


def a_process_of_its_own(
    name: str, *arguments: object, cwd: Path
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-W", "ignore", str(FOLDER / name), *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=600)


def write_config(place: Path, name: str, text: str, data: Path, **train: Any) -> Path:
    """A configuration: the text's, shortened, with this test's data and a backbone for CPUs."""
    content = yaml.safe_load(text)
    short = {"epochs": 2, "batch_size": 8, "num_workers": 0}
    if content["train"].get("unfreeze_backbone_at_epoch", -1) > 0:
        short["unfreeze_backbone_at_epoch"] = 1
    content["train"] |= {**short, **train}
    content["data"] = {
        f"{part}_{key}": str(data / split / file)
        for part, split in (("train", "train"), ("val", "valid"))
        for key, file in (("data_dir", ""), ("ann_file", "_annotations.coco.json"))
    }
    content["model"] = {"backbone": "test_vit", "backbone_weights": str(place / "test_vit.pth")}
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def backbone(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path)  # the safe default
    return {name: t for name, t in content["state_dict"].items() if name.startswith("backbone.")}


def moved(before: Path, after: Path) -> bool:
    first, second = backbone(before), backbone(after)
    assert first.keys() == second.keys() and len(first) > 50
    return any(not torch.equal(first[name], second[name]) for name in first)
