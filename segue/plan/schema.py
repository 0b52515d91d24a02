"""A plan is data: what to train on, which model, and the stages, one after another.

Everything is validated before anything is imported that could train. `segue.plan.reading` reads
YAML into this and adds file, line and the nearest name to complaints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from segue import models
from segue.base.settings import Settings
from segue.data.dataset import Data
from segue.data.pipeline.transforms import Augment
from segue.errors import PlanError
from segue.evaluation.coco_metrics import FIGURES
from segue.losses.noise import Noise
from segue.models.parts.chain import span
from segue.structures.channels import rows_of
from segue.training.cache import Cache
from segue.training.optim import Optimizer, Schedule, Thaw
from segue.training.stage import Training

Task = Literal["boxes", "masks", "joint"]
SUFFIXES = (".yaml", ".yml")  # of plan files
METRICS = {"boxes": "box_ap", "masks": "mask_ap", "joint": "mask_ap"}
MASK_TERMS = ("mask_bce", "dice", "mask")
# Settings that change how a stage runs but not what comes out of it; they may differ when it
# resumes.
WITHOUT_EFFECT = {"workers", "images_per_forward", "save_every_steps", "save_every_minutes"}


class Monitor(Settings):
    """Which validation images are looked at between epochs: `images` of them from number `start`
    on.
    """

    images: int = Field(1000, gt=0)
    start: int = Field(0, ge=0)


class Model(Settings):
    """The model, the same in all stages but for its classes and mask head.

    weights: what the first stage starts from: a segue checkpoint folder, a file or folder of the
    family's other formats, or a hub id. weights_classes: names for its class rows, in order, if it
    has none itself. Further keys are the family's own options.
    """

    model_config = ConfigDict(extra="allow")

    family: str = "rfdetr"
    size: str = "nano"
    weights: str | None = None
    weights_classes: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _known_to_the_family(self) -> Model:
        family = models.get(self.family)
        models.size_of(family, self.size)
        family.Options(**self.options)
        return self


class StagePlan(Training):
    """One stage. What is left out of a stage has the default written here, never the previous
    stage's value.

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
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("needs either epochs or steps")
        kinds = ("box",) if self.task == "boxes" else ("box", "mask")
        known = [f"{kind}_{figure[0]}" for kind in kinds for figure in FIGURES]
        if self.metric not in known:
            raise ValueError(
                f"select: no figure '{self.metric}' in task: {self.task}; there are "
                f"{', '.join(known)}"
            )
        if self.noise.missed is not None and self.task != "joint":
            raise ValueError(
                f"noise.missed looks at masks and classes, but this is task: {self.task}; use "
                "task: joint"
            )
        if self.noise.boundary and self.task == "boxes":
            raise ValueError("noise.boundary is of masks, but this is task: boxes")
        plateau = self.schedule.kind == "plateau"
        if plateau and 0 < self.early_stop.patience <= self.schedule.patience:
            raise ValueError(
                "schedule.patience has to be less than early_stop.patience, or the rate never falls"
            )
        if self.cache is not None and self.freeze is None:
            raise ValueError("cache keeps what frozen parts compute, but freeze is not set")
        if self.cache is not None and "." in (self.freeze or ""):
            raise ValueError(
                f"cache keeps what whole parts compute, but freeze: {self.freeze} is only some "
                "blocks"
            )
        if self.cache is not None and self.multi_scale != "off":
            raise ValueError("cache keeps one input size, so multi_scale has to be off")
        return self


class Plan(Settings):
    """A plan. seed: everything random follows from it. device: auto takes a GPU if there is one.

    data: of all stages but those that have their own; its channels are those of all, unless a stage
    says others.
    """

    name: str = Field("plan", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = 0
    device: str = "auto"
    runs: Path = Path("runs")
    wandb: str | None = None
    data: Data
    model: Model = Model()
    stages: tuple[StagePlan, ...]

    @model_validator(mode="before")
    @classmethod
    def _one_camera(cls, content: Any) -> Any:
        """A stage's own data have the plan's channels, unless it says others."""
        data, listed = (
            (content.get(key) for key in ("data", "stages"))
            if isinstance(content, dict)
            else (None, None)
        )
        if (
            not isinstance(data, dict)
            or "channels" not in data
            or not isinstance(listed, list | tuple)
        ):
            return content

        def seen(stage: Any) -> Any:
            own = stage.get("data") if isinstance(stage, dict) else None
            return (
                {**stage, "data": {"channels": data["channels"], **own}}
                if isinstance(own, dict)
                else stage
            )

        return {**content, "stages": [seen(stage) for stage in listed]}

    @field_validator("stages")
    @classmethod
    def _named_apart(cls, stages: tuple[StagePlan, ...]) -> tuple[StagePlan, ...]:
        if not stages:
            raise ValueError("needs at least one stage")
        names = [stage.name for stage in stages]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two stages are called {', '.join(sorted(twice))}")
        return stages

    @model_validator(mode="after")
    def _fits_the_family(self) -> Plan:
        family = models.get(self.model.family)
        parts = family.PARTS
        for stage in self.stages:
            if stage.task not in family.TASKS:
                hint = " or ".join(f"task: {task}" for task in family.TASKS)
                raise ValueError(
                    f"stage {stage.name}: task: {stage.task}: {self.model.family} has {hint}"
                )
            terms = [t for t in family.TERMS if stage.with_masks or t not in MASK_TERMS]
            for name, weight in stage.loss.items():
                if name not in terms or weight < 0:
                    hint = f"task: {stage.task} has {', '.join(terms)}, at least 0 each"
                    raise ValueError(f"stage {stage.name}: loss: {name}: {weight}; {hint}")
            for key, name in stage.places():
                try:
                    span(name, parts)
                except PlanError as error:
                    raise ValueError(
                        f"stage {stage.name}: {key}: {error.found}; {error.expected}"
                    ) from None
                if "." in name and key not in ("freeze", "thaw"):
                    raise ValueError(
                        f"stage {stage.name}: {key}: {name} is only some blocks of a part"
                    )
            if stage.task == "masks" and stage.freeze != parts[-2]:
                hint = f"freeze: {parts[-2]}, or task: joint to train both"
                raise ValueError(
                    f"stage {stage.name}: task: masks trains the mask head alone; {hint}"
                )
            # a family that finds boxes only has no mask head to leave out
            headless = tuple(family.TASKS) == ("boxes",)
            last = parts[-1] if stage.with_masks or headless else parts[-2]
            if stage.freeze and span(stage.freeze, parts)[1] > parts.index(last):
                raise ValueError(
                    f"stage {stage.name}: freeze: {stage.freeze} leaves nothing that learns"
                )
            random = [
                p
                for p in stage.fresh
                if stage.freeze and parts.index(p) < span(stage.freeze, parts)[1]
            ]
            if random:
                raise ValueError(
                    f"stage {stage.name}: fresh: {random[0]} would be frozen with new, random "
                    "weights"
                )
        return self

    @model_validator(mode="after")
    def _thaws_something(self) -> Plan:
        parts = models.get(self.model.family).PARTS
        for stage in self.stages:
            frozen = 0.0 if stage.freeze is None else span(stage.freeze, parts)[1]
            for epoch, thaw in sorted(stage.thaw.items()):
                where = f"stage {stage.name}: thaw: {epoch}: {thaw.part}"
                if stage.task == "masks":
                    raise ValueError(
                        f"{where}: task: masks has no loss for the detector; use task: joint"
                    )
                if epoch < 1 or (stage.epochs is not None and epoch >= stage.epochs):
                    raise ValueError(
                        f"{where} never happens: the stage has epochs 1 to {stage.epochs}"
                    )
                position, _ = span(thaw.part, parts)
                if position >= frozen:
                    raise ValueError(f"{where}: {thaw.part} is not frozen then")
                frozen = position
        return self

    @model_validator(mode="after")
    def _drops_channels_there_are(self) -> Plan:
        for stage in self.stages:
            channels = self.data_of(stage).channels
            for name in stage.augment.drop if stage.augment else ():
                try:
                    every = len(rows_of(name, channels)) == len(channels)
                except PlanError as error:
                    raise ValueError(
                        f"stage {stage.name}: augment.drop: {error.found}; {error.expected}"
                    ) from None
                if every:
                    raise ValueError(
                        f"stage {stage.name}: augment.drop: {name} would leave no channel"
                    )
        return self

    @model_validator(mode="after")
    def _starts_from_earlier(self) -> Plan:
        names = [stage.name for stage in self.stages]
        for number, stage in enumerate(self.stages):
            if stage.start in names[number:]:
                raise ValueError(
                    f"stage {stage.name}: start: {stage.start} is not an earlier stage"
                )
        return self

    def stage(self, name: str) -> StagePlan | None:
        return next((stage for stage in self.stages if stage.name == name), None)

    def start_of(self, stage: StagePlan) -> str | None:
        """What a stage starts from: the name of an earlier stage, weights, or None for new weights."""
        number = self.stages.index(stage)
        if stage.start is not None:
            return stage.start
        return self.stages[number - 1].name if number else self.model.weights

    def data_of(self, stage: StagePlan) -> Data:
        return stage.data or self.data

    def flips(self, data: Data) -> bool:
        """Whether any stage on these data mirrors images left to right."""
        return any(
            s.augment is not None and s.augment.flip > 0
            for s in self.stages
            if self.data_of(s) == data
        )

    def identity(self, stage: StagePlan) -> dict[str, Any]:
        """All settings that decide what comes out of a stage, as plain values."""
        settings = stage.model_dump(mode="json", exclude=WITHOUT_EFFECT | {"name", "start"})
        return {
            "seed": self.seed,
            "model": self.model.model_dump(mode="json", exclude={"weights"}),
            **settings,
        }
