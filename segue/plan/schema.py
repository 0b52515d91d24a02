"""A plan is data: what to train on, which model, and the stages, one after another.

Everything is validated before anything is imported that could train. `segue.plan.reading` reads
YAML into this and adds file, line and the nearest name to complaints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from segue import models
from segue.base.settings import Settings
from segue.data.dataset import Data
from segue.plan import rules
from segue.plan.stage import StagePlan

SUFFIXES = (".yaml", ".yml")  # of plan files
# Settings that change how a stage runs but not what comes out of it; they may differ when it
# resumes.
WITHOUT_EFFECT = {"workers", "images_per_forward", "save_every_steps", "save_every_minutes"}


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
            or not isinstance(listed, (list, tuple))
        ):
            return content

        def seen(stage: Any) -> Any:
            settings = stage.get("data") if isinstance(stage, dict) else None
            return (
                {**stage, "data": {"channels": data["channels"], **settings}}
                if isinstance(settings, dict)
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
        for stage in self.stages:
            with rules.in_stage(stage.name):
                rules.task_is_trainable(stage, self.model.family)
                rules.loss_terms_exist(stage, self.model.family)
                rules.parts_exist(stage, self.model.family)
                rules.something_learns(stage, self.model.family)
        return self

    @model_validator(mode="after")
    def _thaws_something(self) -> Plan:
        for stage in self.stages:
            with rules.in_stage(stage.name):
                rules.thaws_follow(stage, self.model.family)
        return self

    @model_validator(mode="after")
    def _drops_channels_there_are(self) -> Plan:
        for stage in self.stages:
            with rules.in_stage(stage.name):
                rules.dropped_channels_exist(stage, self.data_of(stage).channels)
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
        """What a stage starts from: an earlier stage's name, weights, or None for new weights."""
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
