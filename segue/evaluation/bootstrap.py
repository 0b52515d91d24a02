"""Is one model better than another? Paired bootstrap over the images both were measured on.

Images are drawn with replacement, the same ones for both models, and AP is computed of each draw
(Efron and Tibshirani 1993). Pairing takes away what makes some images harder than others, so that
small differences show on few images.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import hotcoco

from segue.evaluation.coco_metrics import CocoMetrics

RESAMPLES = 1000
# Fewer images than this hold too little of what new ones would bring, and intervals are too narrow.
FEW = 20
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two models in the AP of one kind (box or mask).

    first, second: AP of the models, 0..1. low, high: the 95 % interval of second - first. images:
    how many both were measured on.
    """

    kind: str
    first: float
    second: float
    low: float
    high: float
    images: int

    @property
    def gain(self) -> float:
        """second - first; above 0 where the second is better."""
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """What may be said of the second model: better, worse, unchanged, or no evidence, where the
        interval holds 0.
        """
        # Equal figures with an interval of no width: the same detections, not just an equal AP.
        if self.first == self.second and self.low == self.high:
            return "unchanged"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no evidence"

    def __str__(self) -> str:
        few = "few images, take it as a hint: " if self.images < FEW else ""
        return (
            f"{self.kind}_ap {self.first:.3f} -> {self.second:.3f} ({self.gain:+.3f}, "
            f"95 % interval {self.low:+.3f} to {self.high:+.3f}, {self.images} images): "
            f"{few}{self.verdict}"
        )


def compare(first: CocoMetrics, second: CocoMetrics, kind: str, seed: int = 0) -> Difference:
    """The difference in AP of one kind (box or mask) between two models measured on the same
    records, in the same order; seed: of the draws.
    """
    assert [r.image for r in first.records] == [r.image for r in second.records]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about max_dets, which every report states anyway
        result = hotcoco.compare(
            first.evaluated(kind),
            second.evaluated(kind),
            n_bootstrap=RESAMPLES,
            seed=seed,
            confidence=CONFIDENCE,
        )
    interval = result["ci"]["AP"]
    values = (
        result["metrics_a"]["AP"],
        result["metrics_b"]["AP"],
        interval["lower"],
        interval["upper"],
    )
    return Difference(kind, *map(float, values), images=len(first.records))
