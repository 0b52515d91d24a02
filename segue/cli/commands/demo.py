"""`segue demo`: the whole of segue in a few minutes on a CPU, on a data set it renders itself."""

from __future__ import annotations

from pathlib import Path

from segue.data.synthetic import render_dataset
from segue.errors import show
from segue.plan.reading import parse
from segue.run.console import Console
from segue.run.runner import run_plan

IMAGES = {"train": 320, "valid": 40, "test": 40}
QUICK_IMAGES = {"train": 12, "valid": 4, "test": 4}
PLAN = """\
name: demo
runs: {folder}/runs
data: {{root: {folder}/dataset}}
model: {{family: rfdetr, size: pico, mask_head: attention-nano}}
stages:
  - name: detector
    task: boxes
    epochs: {detector_epochs}
    images_per_step: 8
    optimizer: {{lr: 2e-3}}
    schedule: {{warmup_epochs: 0.5}}
    augment: {{crop: 0.0, vertical_flip: 0.5}}
    workers: 0
  - name: masks
    task: masks
    freeze: decoder
    fresh: [mask_head]
    epochs: {masks_epochs}
    images_per_step: 8
    optimizer: {{lr: 3e-3, clip: 1.0}}
    augment: {{crop: 0.0, vertical_flip: 0.5}}
    cache: {{views: 3}}
    workers: 0
"""


def run_demo(folder: Path, quick: bool, quiet: bool) -> Path:
    """Render the data (once), run the two-stage plan in `folder/plan.yaml`, and say where
    everything is.
    """
    console = Console(quiet)
    images = QUICK_IMAGES if quick else IMAGES
    dataset = folder / "dataset"
    if not (dataset / "test" / "_annotations.coco.json").is_file():
        console.say(f"rendering {sum(images.values())} images into {dataset}")
        render_dataset(dataset, images)
    epochs = (
        {"detector_epochs": 1, "masks_epochs": 1}
        if quick
        else {"detector_epochs": 12, "masks_epochs": 5}
    )
    text = PLAN.format(folder=folder.as_posix(), **epochs)
    (folder / "plan.yaml").write_text(text, encoding="utf-8")
    run = run_plan(parse(text, str(folder / "plan.yaml")), console)
    checkpoint = run / "2-masks" / "selected"
    console.say("")
    console.say(f"data         {dataset}")
    console.say(f"plan         {folder / 'plan.yaml'}")
    console.say(f"run          {run}")
    console.say(f"checkpoint   {checkpoint}")
    console.say(
        f"try          segue predict {checkpoint} {dataset / 'test'} --out {folder / 'predictions'}"
    )
    show(run / "report.html")
    return run
