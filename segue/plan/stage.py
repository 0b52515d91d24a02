"""One stage of a plan: its settings, and which of them contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field, model_validator

from segue.base.settings import Settings
from segue.data.dataset import Data
from segue.data.pipeline.transforms import Augment
from segue.evaluation.coco_metrics import FIGURES
from segue.losses.noise import Noise
from segue.training.cache import Cache
from segue.training.optim import Optimizer, Schedule, Thaw
from segue.training.stage import Training

Task = Literal["boxes", "masks", "joint"]
METRICS = {"boxes": "box_ap", "masks": "mask_ap", "joint": "mask_ap"}


class Monitor(Settings):
    """Which validation images are looked at between epochs: `images` of them from number `start`
    on.
    """

    images: int = Field(1000, gt=0)
    start: int = Field(0, ge=0)


class StagePlan(Training):
    """One stage. What is left out has the default written here, never the previous stage's value.

    task: boxes trains the detector, masks the mask head alone, joint both. start: the stage or
    weights it starts from; the previous stage if left out. freeze: the last part that does not
    learn; all before it do not either. thaw: {epoch: part}: after so many epochs, this part and all
    behind it learn, too. The backbone may be divided: backbone.first_half (quarter, third) and
    backbone.last_half (third, quarter) are places for both. fresh: parts that start with new
    weights. drop: parts of the start that are left behind. noise: what is known to be wrong with
    the labels of training. loss: weights of loss terms that differ from the family's. select: the
    metric that picks the checkpoint. monitor: fewer validation images between epochs; at the end
    all of them count.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    task: Task = "boxes"
    start: str | None = None
    freeze: str | None = None
    thaw: dict[int, Thaw] = Field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    data: Data | None = None
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augment: Augment | None = Augment()
    noise: Noise = Noise()
    loss: dict[str, float] = Field(default_factory=dict)
    cache: Cache | None = None
    select: str | None = None
    monitor: Monitor | None = None

    @property
    def metric(self) -> str:
        return self.select or METRICS[self.task]

    @property
    def with_masks(self) -> bool:
        return self.task != "boxes"

    def places(self) -> Iterator[tuple[str, str]]:
        """Every part, or place in one, that a setting names."""
        used: dict[str, Iterable[str]] = {
            "freeze": [self.freeze] if self.freeze else [],
            "thaw": [thaw.part for thaw in self.thaw.values()],
            "fresh": self.fresh,
            "drop": self.drop,
            "optimizer.lr_factors": self.optimizer.lr_factors,
        }
        return ((key, name) for key, names in used.items() for name in names)

    @model_validator(mode="after")
    def _makes_sense(self) -> StagePlan:
        _one_length(self)
        _metric_exists(self)
        _noise_fits_the_task(self)
        _plateau_comes_before_the_stop(self)
        _cache_has_frozen_parts(self)
        return self


def _one_length(stage: StagePlan) -> None:
    if (stage.epochs is None) == (stage.steps is None):
        raise ValueError("needs either epochs or steps")


def _metric_exists(stage: StagePlan) -> None:
    kinds = ("box", "mask") if stage.with_masks else ("box",)
    known = [f"{kind}_{figure[0]}" for kind in kinds for figure in FIGURES]
    if stage.metric not in known:
        raise ValueError(
            f"select: no figure '{stage.metric}' in task: {stage.task}; there are "
            f"{', '.join(known)}"
        )


def _noise_fits_the_task(stage: StagePlan) -> None:
    if stage.noise.missed is not None and stage.task != "joint":
        raise ValueError(
            f"noise.missed looks at masks and classes, but this is task: {stage.task}; use "
            "task: joint"
        )
    if stage.noise.boundary and not stage.with_masks:
        raise ValueError("noise.boundary is of masks, but this is task: boxes")


def _plateau_comes_before_the_stop(stage: StagePlan) -> None:
    plateau = stage.schedule.kind == "plateau"
    if plateau and 0 < stage.early_stop.patience <= stage.schedule.patience:
        raise ValueError(
            "schedule.patience has to be less than early_stop.patience, or the rate never falls"
        )


def _cache_has_frozen_parts(stage: StagePlan) -> None:
    """The cache keeps what whole frozen parts compute, for one input size."""
    if stage.cache is None:
        return
    if stage.freeze is None:
        raise ValueError("cache keeps what frozen parts compute, but freeze is not set")
    if "." in stage.freeze:
        raise ValueError(
            f"cache keeps what whole parts compute, but freeze: {stage.freeze} is only some blocks"
        )
    if stage.multi_scale != "off":
        raise ValueError("cache keeps one input size, so multi_scale has to be off")
