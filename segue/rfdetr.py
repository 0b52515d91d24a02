"""A small facade for code written against `rfdetr`:
RFDETRNano(pretrain_weights=...).predict([image]).

Reads segue checkpoints as well as the rfdetr package's files. For anything else use `segue.load`
and plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from segue.errors import PlanError
from segue.inference.loading import from_weights, load
from segue.inference.predict import Picture
from segue.models.weights.rfdetr import read
from segue.structures.detections import Detections


@dataclass(frozen=True, slots=True)
class Prediction:
    """The objects in one image, under the original's names.

    boxes: (N, 4) xyxy in pixels. scores: (N,) from 0 to 1. class_ids: (N,) from 0, in the order of
    `class_names`. masks: (N, H, W) bool, None without a mask head. detections: the same as segue
    has them.
    """

    boxes: Tensor
    scores: Tensor
    class_ids: Tensor
    masks: Tensor | None
    detections: Detections


Found = Prediction  # the name it had in 0.1.0


class _RFDETR:
    """A model of one size. masks: keep the mask head the weights have; false leaves it out.

    num_classes and class_names, if given, must be those of the weights: rows are never renamed.

    Raises:
        PlanError: if they are not. CheckpointError: if the weights cannot be used or are of another
        size.
    """

    size: ClassVar[str]

    def __init__(
        self,
        pretrain_weights: str | Path,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        masks: bool = False,
        device: str = "auto",
    ) -> None:
        path = Path(pretrain_weights)
        if path.is_dir():
            self.predictor = load(path, device)
        else:
            self.predictor = from_weights(read(path), "rfdetr", self.size, masks, device)
        spec = self.predictor.chain.spec
        if spec.size != self.size:
            raise PlanError(
                path, f"a {spec.size} model", f"{self.size}, as in {type(self).__name__}"
            )
        if num_classes is not None and num_classes != len(spec.classes):
            raise PlanError(
                "num_classes", f"{num_classes}", f"{len(spec.classes)}: " + ", ".join(spec.classes)
            )
        if class_names is not None and tuple(class_names) != spec.classes:
            raise PlanError(
                "class_names",
                ", ".join(class_names),
                ", ".join(spec.classes) + ", as in the weights",
            )
        if masks and "mask_head" not in self.predictor.chain.order:
            raise PlanError(path, "no mask head", "weights of a masks stage, or masks=False")

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.predictor.class_names

    def predict(
        self, images: Picture | Sequence[Picture], threshold: float = 0.5
    ) -> Prediction | list[Prediction]:
        """Objects in one image or a list of them; a list of one gives one result, as the original
        does.

        threshold: least score, from 0 to 1.

        Raises:
            DataError: if an image cannot be read or has other channels than the model.
        """
        if isinstance(images, Sequence) and not isinstance(images, str):
            pictures, alone = list(images), len(images) == 1
        else:
            pictures, alone = [images], True
        predictions = [
            Prediction(d.boxes_xyxy, d.scores, d.labels, d.masks, d)
            for d in self.predictor.predict(pictures, threshold)
        ]
        return predictions[0] if alone else predictions


class RFDETRPico(_RFDETR):
    size = "pico"


class RFDETRNano(_RFDETR):
    size = "nano"


class RFDETRSmall(_RFDETR):
    size = "small"


class RFDETRMedium(_RFDETR):
    size = "medium"


class RFDETRBase(_RFDETR):
    size = "base"


class RFDETRLarge(_RFDETR):
    size = "large"
