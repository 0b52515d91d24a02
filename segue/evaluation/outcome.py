"""metrics.json: what came out of a stage, read and written here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_serializer, model_validator

from segue.base.files import read_typed, write_json
from segue.base.settings import Settings
from segue.evaluation.coco_metrics import CocoMetrics
from segue.models.weights.card import PartSummary

METRICS = "metrics.json"
COUNTED, BY_CLASS = "detections_counted", "_ap_by_class"


class SplitFigures(Settings):
    """COCO's figures of one dataset split; in the file they stand side by side.

    figures: by name, such as box_ap, 0 to 1; -1 is COCO's word for "no such objects".
    detections_counted: how many detections of an image count, at most. ap_by_class: by kind ("box",
    "mask") and class, for classes with objects.
    """

    figures: dict[str, float]
    detections_counted: int
    ap_by_class: dict[str, dict[str, float]] = Field(default_factory=dict)

    @classmethod
    def of(cls, metrics: CocoMetrics) -> SplitFigures:
        return cls(
            figures=metrics.figures(),
            detections_counted=metrics.most,
            ap_by_class={kind: metrics.by_class(kind) for kind in metrics.kinds},
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """What was measured: boxes, and masks if there were any."""
        return ("box", "mask") if "mask_ap" in self.figures else ("box",)

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "figures" in content:
            return content
        figures: dict[str, Any] = {}
        by_class: dict[str, Any] = {}
        for name, value in content.items():
            if name.endswith(BY_CLASS):
                by_class[name.removesuffix(BY_CLASS)] = value
            elif name != COUNTED:
                figures[name] = value
        counted = {COUNTED: content[COUNTED]} if COUNTED in content else {}
        return {"figures": figures, "ap_by_class": by_class, **counted}

    @model_serializer
    def _as_file(self) -> dict[str, Any]:
        by_class = {f"{kind}{BY_CLASS}": values for kind, values in self.ap_by_class.items()}
        return {**self.figures, COUNTED: self.detections_counted, **by_class}


class StageOutcome(Settings):
    """What came out of a stage, measured with its selected weights.

    metric: the one that selected them; epoch, step: when. frozen: the proof that what was frozen
    did not move. saving: what freezing saves here, empty if nothing is frozen or it was not
    measured. test: only where the data have such a split.
    """

    model_config = ConfigDict(extra="ignore")  # what a later version may add

    stage: str
    task: str
    metric: str
    epoch: int
    step: int
    frozen: str
    saving: str
    parts: dict[str, PartSummary]
    valid: SplitFigures
    test: SplitFigures | None = None

    def splits(self) -> list[tuple[str, SplitFigures]]:
        """The splits that were measured, each with its name."""
        both = (("valid", self.valid), ("test", self.test))
        return [(name, figures) for name, figures in both if figures is not None]


def read_outcome(stage: Path) -> StageOutcome:
    """metrics.json of a finished stage's folder.

    Raises:
        CheckpointError: if it is missing, damaged, or no stage's outcome.
    """
    return read_typed(stage / METRICS, StageOutcome, "a stage's figures")


def write_outcome(stage: Path, outcome: StageOutcome) -> None:
    """Replace metrics.json in one rename.

    Raises:
        OSError: if the disk is full or fails; what was there is kept.
    """
    write_json(stage / METRICS, outcome.model_dump(mode="json", exclude_none=True), indent=2)
