"""The report of a run: one HTML file that needs no other file and loads none."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from segue.data.images import image_io
from segue.evaluation.bootstrap import Difference
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.outcome import StageOutcome
from segue.evaluation.overlay import as_picture, draw_detections, draw_truth
from segue.structures.channels import RGB, Channel
from segue.structures.detections import Detections

matplotlib.use("Agg")
matplotlib.rcParams["text.parse_math"] = False  # a name with $ in it is a name
SHOWN_IMAGES = 6
SHOWN_SCORE = 0.3
PICTURE_SIDE = 420


@dataclass(slots=True)
class StagePage:
    """What the report shows of one stage.

    outcome: its metrics.json. steps, epochs: rows of its CSV files. detections: of each record of
    metrics, in order. gains: against earlier stages.
    """

    name: str
    outcome: StageOutcome
    steps: list[dict[str, float]]
    epochs: list[dict[str, float]]
    metrics: CocoMetrics
    detections: list[Detections]
    channels: tuple[Channel, ...] = RGB
    gains: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def render(title: str, facts: dict[str, str], pages: Sequence[StagePage]) -> str:
    """The report as HTML. Everything that comes from files is escaped."""
    template = files("segue.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        title=title,
        facts=facts,
        stages=[_stage(page) for page in pages],
        pictures=_pictures(pages) if pages else [],
        stage_names=[page.name for page in pages],
        score=SHOWN_SCORE,
    )


def _stage(page: StagePage) -> dict[str, Any]:
    kinds = page.metrics.kinds
    rows = []
    for split, measured in page.outcome.splits():
        for kind in kinds:
            rows.append({"split": split, "kind": kind, "figures": _row(measured.figures, kind)})
    classes = [
        {
            "name": name,
            "values": [page.outcome.valid.ap_by_class[kind].get(name) for kind in kinds],
        }
        for name in page.metrics.class_names
    ]
    return {
        "name": page.name,
        "outcome": page.outcome,
        "kinds": kinds,
        "rows": rows,
        "classes": classes,
        "gains": [
            {"text": str(gain), "verdict": gain.verdict.replace(" ", "-")} for gain in page.gains
        ],
        "notes": page.notes,
        "parts": page.outcome.parts,
        "curves": [_loss_curve(page), _metric_curve(page)],
    }


def _row(figures: dict[str, Any], kind: str) -> list[str]:
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar")
    values = [figures[f"{kind}_{name}"] for name in names]
    return ["-" if value < 0 else f"{value:.3f}" for value in values]


def _loss_curve(page: StagePage) -> str:
    figure = Figure(figsize=(5.2, 2.6))
    axes = figure.subplots()
    steps = [row["step"] for row in page.steps]
    for name in page.steps[0] if page.steps else []:
        if name not in ("step", "epoch", "grad_norm", "images", "objects", "lr", "seconds"):
            width, color = (1.6, "black") if name == "loss" else (0.8, None)
            axes.plot(
                steps, [row[name] for row in page.steps], label=name, linewidth=width, color=color
            )
    axes.set(xlabel="step", title="training loss")
    axes.legend(fontsize=7, frameon=False)
    return svg(figure)


def _metric_curve(page: StagePage) -> str:
    figure = Figure(figsize=(5.2, 2.6))
    axes = figure.subplots()
    epochs = [row["epoch"] for row in page.epochs]
    for kind in page.metrics.kinds:
        for what, style in (("ap", "-"), ("ap50", "--")):
            axes.plot(
                epochs,
                [row[f"{kind}_{what}"] for row in page.epochs],
                style,
                label=f"{kind}_{what}",
            )
    axes.axvline(page.outcome.epoch, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="epoch", title="validation (dotted: selected)", ylim=(0, None))
    axes.legend(fontsize=7, frameon=False)
    return svg(figure)


def svg(figure: Figure) -> str:
    """A figure in the report's style, to be written into HTML."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
        axes.title.set_fontsize(9)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2]


def _pictures(pages: Sequence[StagePage]) -> list[dict[str, Any]]:
    """Validation images side by side: the ground truth, then each stage's detections."""
    last = pages[-1].metrics
    chosen = _varied(last)
    # channels from other folders are not in the image that is shown
    channels = [channel for channel in pages[-1].channels if channel.folder is None]
    rows = []
    for index in chosen:
        record = last.records[index]
        picture = as_picture(image_io.read_for_display(record.image), channels)
        truth = draw_truth(picture, record, last.class_names, "mask" in last.kinds)
        images = [truth]
        for page in pages:
            images.append(draw_detections(picture, page.detections[index].above(SHOWN_SCORE)))
        rows.append({"name": record.image.name, "images": [_data_uri(image) for image in images]})
    return rows


def _varied(metrics: CocoMetrics) -> list[int]:
    """Images with many, few and middling numbers of objects."""
    by_count = sorted(
        range(len(metrics.records)), key=lambda i: len(metrics.records[i].annotations), reverse=True
    )
    step = max(1, len(by_count) // SHOWN_IMAGES)
    return by_count[::step][:SHOWN_IMAGES]


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
