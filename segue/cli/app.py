"""The command line.

Each command imports what it needs when it runs, so that `segue --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from segue import __version__
from segue.cli.data import data
from segue.cli.guard import guarded
from segue.cli.head import head
from segue.cli.label import label
from segue.errors import show

app = App(
    name="segue",
    help="Train object detectors and instance-segmentation models in stages.",
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
)
app.command(head)
app.command(data)
app.command(label)
Quiet = Annotated[
    bool, Parameter(name=["--quiet", "-q"], negative="", help="Print only the result.")
]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""

    def command() -> None:
        app(arguments)

    return guarded(command, "segue")


@app.command
def demo(folder: Path = Path("segue-demo"), *, quick: bool = False, quiet: Quiet = False) -> None:
    """Render a small data set, train a detector and then masks on it, and write the report.

    Parameters
    ----------
    folder
        The folder for the data and the run.
    quick
        Train for a few steps only: shows that everything works, but hardly learns.
    """
    from segue.cli.commands.demo import run_demo

    run_demo(folder, quick, quiet)


@app.command
def init(recipe: str = "detector-then-masks") -> None:
    """Print a recipe, a plan to start from: segue init detector-then-masks > plan.yaml."""
    from segue.plan.recipes import text

    sys.stdout.write(text(recipe))


@app.command
def check(
    target: Path = Path("plan.yaml"), *overrides: str, json: bool = False, time: bool = False
) -> None:
    """Check a plan (or a data set folder) and everything it names; train nothing.

    Parameters
    ----------
    target
        A plan file, or the folder of a data set.
    overrides
        key=value, such as model.size=small or stages.masks.epochs=5.
    json
        Print the findings as JSON.
    time
        Estimate how long a plan's stages will take, from a few steps of each; none of them is kept.
    """
    from segue.cli.commands.check import check_target

    check_target(target, overrides, json, time)


@app.command
def run(
    plan: Path = Path("plan.yaml"),
    *overrides: str,
    stage: str | None = None,
    opts: Annotated[list[tuple[str, str]] | None, Parameter(consume_multiple=True)] = None,
    quiet: Quiet = False,
) -> None:
    """Run a plan, or resume it where it stopped.

    Parameters
    ----------
    plan
        A plan file.
    overrides
        key=value, such as model.size=small or stages.masks.epochs=5.
    stage
        Stop after this stage.
    opts
        The same as pairs: --opts stages.masks.epochs 5.
    """
    from segue.plan.reading import load_plan
    from segue.run.console import Console
    from segue.run.runner import run_plan

    pairs = tuple(f"{key}={value}" for key, value in opts or [])
    show(run_plan(load_plan(plan, (*overrides, *pairs)), Console(quiet), stage))


@app.command
def sweep(
    plan: Path,
    *overrides: str,
    on: Literal["here", "ray"] = "here",
    jobs: int | None = None,
    devices: str | None = None,
    threads: int | None = None,
    quiet: Quiet = False,
) -> None:
    """Train a plan with every combination of values, or resume a sweep; compare all in one table.

    Parameters
    ----------
    plan
        A plan file.
    overrides
        key=a,b,c for values to combine; key=a changes the plan of all members.
    on
        This machine, or a Ray cluster.
    jobs
        How many members to train at the same time; default: 1 here, as many as fit on Ray.
    devices
        Devices, each of which trains one member at a time, such as cuda:0,cuda:1.
    threads
        CPU threads of each member. A sweep keeps its first number: another one can change the last
        bits.
    """
    from segue.cli.commands.sweep import Where, sweep_plan
    from segue.run.console import Console

    where = Where(on, jobs, tuple(devices.split(",")) if devices else (), threads)
    show(sweep_plan(plan, overrides, where, Console(quiet)))


@app.command
def predict(
    checkpoint: Path,
    images: Path,
    *,
    out: Path = Path("predictions"),
    threshold: float = 0.5,
    device: str = "auto",
    tile: str | None = None,
    grid: str | None = None,
    overlap: float = 0.25,
    refine: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    scale: float | None = None,
    write: str = "overlays,coco",
) -> None:
    """Detect objects in images: write an overlay of each and predictions.coco.json, or other
    outputs.

    Parameters
    ----------
    checkpoint
        A checkpoint, stage or run folder, or a model_final.pth or .ckpt of scripts/.
    images
        A folder (with all folders below it) or one file.
    out
        The folder for the results.
    threshold
        Lowest score of a detection, 0..1.
    tile
        Cut images into tiles of this side in pixels, or auto (the model's input side); images are
        not cut otherwise.
    grid
        Cut images into ROWSxCOLUMNS tiles instead.
    overlap
        Smallest overlap of a tile with the next one, as a fraction of its side.
    refine
        name=value, such as area=50 holes=100 merge=0.7; also confidence, smoothing, most_area,
        aspect, unit=um.
    scale
        Micrometres per pixel; by default what each file says.
    write
        Some of overlays,coco,labels,rois,measurements.
    """
    from segue.cli.commands.predict import predict_to_folder
    from segue.cli.commands.prediction_files import PredictOptions

    options = PredictOptions.of(
        tile=tile,
        grid=grid,
        overlap=overlap,
        refine=refine or [],
        um_per_px=scale,
        write=write,
    )
    show(predict_to_folder(checkpoint, images, out, threshold, device, options))


@app.command
def evaluate(
    checkpoint: Path,
    data: Path,
    *,
    split: str = "valid",
    out: Path | None = None,
    json: bool = False,
    without: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    shift: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    any_class: bool = False,
) -> None:
    """Evaluate a checkpoint on a data set: COCO average precision of boxes and masks.

    Parameters
    ----------
    checkpoint
        A checkpoint, stage or run folder, or a file as predict takes.
    data
        A data set folder, an annotation file, or a plan, for its data.
    split
        Which split: train, valid or test; an annotation file is one split.
    out
        A folder for metrics.json and predictions.coco.json.
    json
        Print the figures as JSON.
    without
        Channels to leave out (thermal, or r+g+b together): for each, the change of AP with its
        interval.
    shift
        Channels to displace, NAME=X,Y in pixels to the right and down, such as thermal=3,-2; for
        each, the change of AP likewise.
    any_class
        Count all classes of the model and of the data as one: measure detection whatever the
        class.
    """
    from segue.cli.commands.evaluate import EvaluateOptions, evaluate_checkpoint

    evaluate_checkpoint(
        checkpoint, data, split, out, json, EvaluateOptions(without or (), shift or (), any_class)
    )


@app.command
def inspect(checkpoint: Path, *, json: bool = False) -> None:
    """Describe a checkpoint, find the model of a file of weights, or run a bad step again.

    A bad step is run to show where it was not finite.
    """
    from segue.cli.commands.inspect import describe_checkpoint

    show(describe_checkpoint(checkpoint, json))


@app.command
def report(
    *runs: Path, against: str | None = None, out: Path | None = None, json: bool = False
) -> None:
    """Write a run's report.html again, or compare runs or all members of a sweep in one table.

    Parameters
    ----------
    runs
        Folders of runs, or of a sweep.
    against
        The run to compare all others with; default: the one with the highest validation AP.
    out
        Where report.html, .csv and .json of several runs go: a sweep's folder, or else
        ./comparison.
    json
        Print the table as JSON.
    """
    from segue.cli.commands.report import report as write

    write(runs, against, out, json)


if __name__ == "__main__":
    sys.exit(main())
