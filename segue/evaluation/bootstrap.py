"""Is one model better than another? Paired bootstrap over the images both were measured on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import hotcoco

from segue.evaluation.coco_metrics import CocoMetrics

RESAMPLES = 1000
FEW = 20  # images: with fewer, resampling them tells less than it seems to
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Difference:
    """second - first in one figure, with its interval; verdict: better, worse, unchanged or no
    evidence.
    """

    kind: str
    first: float
    second: float
    low: float
    high: float
    images: int

    @property
    def gain(self) -> float:
        return self.second - self.first

    @property
    def verdict(self) -> str:
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
    """AP of one kind, first against second, on the same records.

    Images are drawn anew with both models' results.
    """
    assert [r.image for r in first.records] == [r.image for r in second.records]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about maxDets, which reports state anyway
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
